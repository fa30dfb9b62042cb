"""Settings of the serving graph, and the arguments of its application builder."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from indexer.settings import IndexerSettings
from serve.keys.settings import KeysSettings
from serve.quota.settings import QuotaSettings
from serve.telemetry.settings import TelemetrySettings

# Where replicas find secrets: Serve writes the arguments of an app into its logs.
MILVUS_TOKEN_VARIABLE = "GRAFTWORK_INDEXER__MILVUS_TOKEN"
QUOTA_STORAGE_VARIABLE = "GRAFTWORK_SERVE__QUOTA__STORAGE"

# vLLM compiles its LoRA kernels for these ranks only (vllm/config/lora.py, MaxLoRARanks).
LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)

# Engine arguments that other settings own; naming them twice would let the two disagree.
OWNED_ENGINE_ARGUMENTS = {
    "model": "train.base_model",
    "served_model_name": "serve.base_name",
    "enable_lora": "serve.max_adapters",
    "max_loras": "serve.max_adapters",
    "max_cpu_loras": "serve.max_adapters",
    "max_lora_rank": "serve.max_lora_rank",
}


class ServeSettings(BaseModel):
    """The `serve` section of the settings file."""

    model_config = ConfigDict(extra="forbid")

    host: str = Field("127.0.0.1", description="Address that the HTTP ingress listens on.")
    port: int = Field(8000, ge=1, le=65535, description="Port that the HTTP ingress listens on.")
    haproxy: bool = Field(
        True,
        description="Serve through HAProxy with direct streaming; false takes Serve's proxy, for development.",
    )
    base_name: str = Field(
        "base",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$",
        description="Model name under which clients reach the base model alone.",
    )
    replicas: int = Field(1, ge=1, description="Number of engine replicas.")
    accelerator: Literal["auto", "cpu", "gpu"] = Field(
        "auto", description="Where the engine runs; auto follows the installed vLLM build."
    )
    accelerator_type: str | None = Field(
        None, description="Ray accelerator type that a replica must be placed on, such as 'H100'; none takes any GPU."
    )
    cpus_per_replica: float = Field(1.0, ge=0, description="Logical CPUs that a replica asks Ray for.")
    max_adapters: int = Field(
        4, ge=1, description="Adapters that may be active in one engine batch (vLLM's max_loras)."
    )
    max_resident_adapters: int | None = Field(
        None, ge=1, description="Adapters kept in host memory by a replica; by default as many as max_adapters."
    )
    max_lora_rank: int = Field(16, description="Largest adapter rank that the engine accepts; larger costs throughput.")
    adapter_wait_s: float = Field(
        30.0, gt=0, description="Seconds a request waits for a place for its adapter before it is refused."
    )
    poll_interval_s: float = Field(1.0, gt=0, description="Seconds between two looks at the registry's revision.")
    keys: KeysSettings = Field(default_factory=KeysSettings, description="API keys: who may call.")
    engine: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="Arguments passed to vLLM as they are: max_model_len, tensor_parallel_size, quantization, ...",
    )
    engine_environment: dict[str, str] = Field(
        default_factory=dict,
        description="Environment variables of the engine processes, such as VLLM_CPU_KVCACHE_SPACE.",
    )
    retriever_replicas: int = Field(1, ge=1, description="Replicas of the retriever deployment.")
    retriever_cpus: float = Field(1.0, ge=0, description="Logical CPUs that a retriever replica asks Ray for.")
    retriever_gpus: float = Field(
        0.0, ge=0, description="GPUs (or a share of one) that a retriever replica asks Ray for."
    )
    retriever_batch: int = Field(32, ge=1, description="Queries embedded at once at most.")
    retriever_batch_wait_s: float = Field(0.002, ge=0, description="Seconds the retriever waits to fill a batch.")
    retrieval_timeout_s: float = Field(10.0, gt=0, description="Seconds after which a retrieval is given up.")
    max_concurrent_requests: int = Field(
        256, ge=1, description="Requests that one replica works on at once; further ones wait for their turn."
    )
    max_queued_requests: int = Field(
        256, ge=0, description="Requests that wait for their turn at a replica at most; further ones get 429."
    )
    request_timeout_s: float = Field(
        600.0, gt=0, description="Seconds from a request's arrival to its end, its stream included."
    )
    body_timeout_s: float = Field(30.0, gt=0, description="Seconds a client has to send its request's body.")
    max_body_bytes: int = Field(8 * 2**20, ge=1024, description="Longest body of a request, in bytes.")
    embedder_name: str = Field(
        "embedder",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$",
        description="Model name under which clients reach the embedder, for POST /v1/embeddings.",
    )
    quota: QuotaSettings = Field(default_factory=QuotaSettings, description="How the limits of keys are counted.")
    telemetry: TelemetrySettings = Field(
        default_factory=TelemetrySettings, description="What the app tells of its requests."
    )
    shutdown_grace_s: float = Field(
        10.0, ge=0, description="Seconds running requests get to finish when a replica stops."
    )

    @field_validator("max_lora_rank")
    @classmethod
    def _rank_is_compiled(cls, value: int) -> int:
        if value not in LORA_RANKS:
            raise ValueError(f"max_lora_rank {value} is not one of vLLM's ranks: {', '.join(map(str, LORA_RANKS))}")
        return value

    @field_validator("engine")
    @classmethod
    def _engine_leaves_owned_arguments(cls, value: dict[str, JsonValue]) -> dict[str, JsonValue]:
        for key in value:
            if key in OWNED_ENGINE_ARGUMENTS:
                raise ValueError(f"engine.{key} is set by {OWNED_ENGINE_ARGUMENTS[key]}; set that instead")
        return value

    @property
    def resident_adapters(self) -> int:
        """Adapters a replica keeps loaded at most; never below `max_adapters`."""
        return max(self.max_adapters, self.max_resident_adapters or self.max_adapters)

    @property
    def serve_limit(self) -> int:
        """Requests at once that Serve passes to a replica: more than our gate ever holds, refusals included."""
        return 4 * (self.max_concurrent_requests + self.max_queued_requests) + 1024


class AppArgs(BaseModel):
    """Arguments of `serve.app:build`, as they stand under `args` in a Serve config."""

    model_config = ConfigDict(extra="forbid")

    base_model: str = Field(description="Name of the embedded base model, or the path or name of a Hugging Face model.")
    models_dir: Path = Field(description="Folder that embedded models are written to; shared by all nodes.")
    registry: Path = Field(description="Root of the adapter registry; shared by all nodes.")
    indexer: IndexerSettings = Field(description="Where the collections are and which embedder asks them.")
    serve: ServeSettings = Field(default_factory=ServeSettings, description="The serving graph.")
