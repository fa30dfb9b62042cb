"""The `deploy` section of the settings file: what `graftwork up` starts on this machine."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

# Ray refuses an object store below this size (ray_constants.OBJECT_STORE_MINIMUM_MEMORY_BYTES is 75 MiB).
SMALLEST_OBJECT_STORE_MIB = 80
# Ports that only an instance with HAProxy opens.
HAPROXY_PORTS = frozenset({"serve_fallback", "haproxy_metrics", "haproxy_stats"})
# One request for one token, right after the start: on a slow machine the first forward pass takes long.
FIRST_TOKEN_TIMEOUT_S = 120.0


def _default_logical_cpus() -> int:
    return max(8, os.cpu_count() or 1)


class PortSettings(BaseModel):
    """Ports besides the ingress (`serve.port`) and Milvus (`indexer.milvus_uri`); 0 takes a free one."""

    model_config = ConfigDict(extra="forbid")

    ray: int = Field(0, ge=0, le=65535, description="Port of Ray's control service, which drivers connect to.")
    ray_client: int = Field(0, ge=0, le=65535, description="Port of Ray Client; Ray opens it whether used or not.")
    dashboard: int = Field(8265, ge=0, le=65535, description="Port of Ray's dashboard and REST API.")
    dashboard_agent: int = Field(0, ge=0, le=65535, description="HTTP port of Ray's per-node agent.")
    metrics: int = Field(
        0, ge=0, le=65535, description="Prometheus port of Ray's node: Ray's, Serve's, vLLM's and Graftwork's metrics."
    )
    serve_fallback: int = Field(
        0, ge=0, le=65535, description="Port of the Python proxy that stands behind HAProxy while no replica is ready."
    )
    haproxy_metrics: int = Field(
        0, ge=0, le=65535, description="Prometheus port of HAProxy; HAProxy opens it on all interfaces."
    )
    haproxy_stats: int = Field(
        0, ge=0, le=65535, description="Statistics page of HAProxy; HAProxy opens it on all interfaces."
    )


class DeploySettings(BaseModel):
    """The `deploy` section of the settings file."""

    model_config = ConfigDict(extra="forbid")

    ports: PortSettings = Field(default_factory=PortSettings, description="Ports of the local cluster.")
    run_dir: Path | None = Field(
        None, description="Folder of the instance's state, token and logs; <home>/run by default."
    )
    milvus_data: Path | None = Field(
        None, description="Data folder of the milvus-lite server; <home>/milvus by default."
    )
    start_milvus: bool | None = Field(
        None,
        description="Whether to start a milvus-lite server; by default yes if indexer.milvus_uri names this machine.",
    )
    logical_cpus: int = Field(
        default_factory=_default_logical_cpus,
        ge=1,
        description="CPUs declared to Ray, for its bookkeeping only: roles share cores, threads are set apart.",
    )
    gpus: int | None = Field(None, ge=0, description="GPUs declared to Ray; by default those that Ray finds.")
    object_store_mib: int = Field(
        1024, ge=SMALLEST_OBJECT_STORE_MIB, description="Largest size of Ray's shared-memory object store, in MiB."
    )
    min_free_memory_mib: int | None = Field(
        None, ge=0, description="Free memory in MiB that `up` asks for; by default an estimate from model and replicas."
    )
    start_timeout_s: float = Field(
        600.0,
        gt=0,
        description="Seconds the app may take from its deployment until every replica runs; then the base and each "
        f"specialist have {FIRST_TOKEN_TIMEOUT_S:g} s more for their first token.",
    )
    stop_timeout_s: float = Field(30.0, gt=0, description="Seconds processes get to end before they are killed.")
    drain_s: float = Field(1.0, ge=0, description="Seconds a replica behind HAProxy drains at least before it stops.")
    stream_limit_s: int = Field(
        3600,
        ge=1,
        description="Seconds after which HAProxy cuts streams that were open when its configuration changed.",
    )
