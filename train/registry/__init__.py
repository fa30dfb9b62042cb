"""The adapter registry: immutable adapter versions in a folder, published by training, read by serving."""

from train.registry.adapter_config import AdapterConfig, read_adapter_config
from train.registry.applying import remove_specialist, write_specialist
from train.registry.checks import check_manifest, check_servable, check_tensors, check_verified
from train.registry.manifest import (
    AdapterManifest,
    DatasetRecord,
    FileRecord,
    Provenance,
    TrainingRecord,
)
from train.registry.names import AdapterRef, check_name, parse_ref
from train.registry.publishing import publish_adapter
from train.registry.registry import AdapterRegistry, AdapterSummary

__all__ = [
    "AdapterConfig",
    "AdapterManifest",
    "AdapterRef",
    "AdapterRegistry",
    "AdapterSummary",
    "DatasetRecord",
    "FileRecord",
    "Provenance",
    "TrainingRecord",
    "check_manifest",
    "check_name",
    "check_servable",
    "check_tensors",
    "check_verified",
    "parse_ref",
    "publish_adapter",
    "read_adapter_config",
    "remove_specialist",
    "write_specialist",
]
