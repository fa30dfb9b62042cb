"""Settings of the serving graph, and the arguments of its application builder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

from indexer.settings import IndexerSettings
from serve.keys.settings import KeysSettings
from serve.quota.settings import QuotaSettings
from serve.telemetry.settings import TelemetrySettings
from train.engine.builds import LORA_RANKS
from train.registry.cache import DEFAULT_CACHE_BYTES
from train.registry.place import RegistryPlace

# Where replicas find secrets: Serve writes the arguments of an app into its logs.
MILVUS_TOKEN_VARIABLE = "GRAFTWORK_INDEXER__MILVUS_TOKEN"
QUOTA_STORAGE_VARIABLE = "GRAFTWORK_SERVE__QUOTA__STORAGE"

# Engine arguments that other settings own; naming them twice would let the two disagree.
OWNED_ENGINE_ARGUMENTS = {
    "model": "train.base_model",
    "served_model_name": "serve.base_name",
    "enable_lora": "serve.max_adapters",
    "max_loras": "serve.max_adapters",
    "max_cpu_loras": "serve.max_adapters",
    "max_lora_rank": "serve.max_lora_rank",
}

# vLLM's own max_num_seqs where nothing sets it (vllm/engine/arg_utils.py; it takes more on the largest GPUs).
VLLM_SEQUENCES = 256


def engine_sequences(engine: Mapping[str, JsonValue]) -> int:
    """Sequences that the engine works on at once, by its arguments."""
    given = engine.get("max_num_seqs")
    return given if isinstance(given, int) and given > 0 else VLLM_SEQUENCES


class AutoscalingSettings(BaseModel):
    """How many engine replicas there are, where that follows the load."""

    model_config = ConfigDict(extra="forbid")

    min_replicas: int = Field(1, ge=1, description="Replicas at least.")
    max_replicas: int = Field(ge=1, description="Replicas at most.")
    target_requests: int | None = Field(
        None,
        ge=1,
        description="Requests, waiting ones included, that a replica should have; by default three quarters of "
        "engine.max_num_seqs.",
    )
    upscale_delay_s: float = Field(30.0, ge=0, description="Seconds of more before one is added.")
    downscale_delay_s: float = Field(600.0, ge=0, description="Seconds of less before one is taken away.")

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> Self:
        if self.max_replicas < self.min_replicas:
            raise ValueError(f"max_replicas {self.max_replicas} is below min_replicas {self.min_replicas}")
        return self


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
    replicas: int = Field(1, ge=1, description="Number of engine replicas; without `autoscaling`.")
    autoscaling: AutoscalingSettings | None = Field(
        None, description="Let the number of engine replicas follow the requests that are there."
    )
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
    allow_unverified: bool = Field(
        False,
        description="Serve adapters, too, that were published without the engine check of training "
        "(`graftwork train --skip-engine-check`).",
    )
    adapter_wait_s: float = Field(
        30.0, gt=0, description="Seconds a request waits for a place for its adapter before it is refused."
    )
    poll_interval_s: float = Field(1.0, gt=0, description="Seconds between two looks at the registry's index.")
    adapter_cache_dir: Path | None = Field(
        None,
        description="Folder on each node that adapters of a registry in a bucket are fetched to; by default one among "
        "the temporary files.",
    )
    adapter_cache_bytes: int = Field(
        DEFAULT_CACHE_BYTES,
        ge=0,
        description="Bytes of adapters in adapter_cache_dir above which the least recently used are deleted; those "
        "that an engine of the node has or loads stay. 0 keeps no others.",
    )
    adapter_cycle_s: float = Field(
        2.0, gt=0, description="Seconds an adapter may be in use before it gives way to others that wait for a place."
    )
    adapter_check_s: float = Field(
        5.0,
        gt=0,
        description="Seconds between two comparisons of the engine's adapters with those that should be there.",
    )
    route_by_body: bool = Field(
        False,
        description="Let HAProxy show requests' bodies to its router, for affinity without a header; it buffers them.",
    )
    keys: KeysSettings = Field(default_factory=KeysSettings, description="API keys: who may call.")
    engine: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="Arguments passed to vLLM as they are: max_model_len, tensor_parallel_size, quantization, ...",
    )
    engine_environment: dict[str, str] = Field(
        default_factory=dict,
        description="Environment variables of the engine processes, such as VLLM_CPU_KVCACHE_SPACE.",
    )
    retriever: Literal["deployment", "in_process"] = Field(
        "deployment",
        description="Where questions are embedded and collections searched: in replicas of their own, which all engine "
        "replicas share and which take a GPU, or in the process of each engine replica, which spares a call.",
    )
    retriever_replicas: int = Field(1, ge=1, description="Replicas of the retriever deployment.")
    retriever_cpus: float = Field(1.0, ge=0, description="Logical CPUs that a retriever replica asks Ray for.")
    retriever_gpus: float = Field(
        0.0, ge=0, description="GPUs (or a share of one) that a retriever replica asks Ray for."
    )
    retriever_batch: int = Field(
        32, ge=1, description="Queries embedded at once at most: those that came while the ones before were answered."
    )
    retriever_cache: int = Field(
        1024, ge=0, description="Queries whose vectors a retriever keeps, and as many results; 0 keeps none."
    )
    retriever_results_s: float = Field(
        0.0,
        ge=0,
        description="Seconds for which a question that a tenant asks again the same way gets the same passages, unless "
        "the collection has a new generation; what was indexed meanwhile is found that much later. 0 asks every time.",
    )
    retrieval_timeout_s: float = Field(10.0, gt=0, description="Seconds after which a retrieval is given up.")
    max_concurrent_requests: int = Field(
        default_factory=lambda fields: 2 * engine_sequences(fields.get("engine", {})),
        ge=1,
        description="Requests that one replica works on at once; by default twice engine.max_num_seqs, for some search "
        "or wait for their adapter meanwhile. Further ones wait for their turn.",
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
        60.0,
        ge=0,
        description="Seconds running requests get to finish when a replica stops, after those in which it stays "
        "reachable (deploy.drain_s); what still runs then ends with an error.",
    )
    stop_file: Path | None = Field(
        None,
        description="File that is touched before the machine of a replica is ended, as by Kubernetes' preStop: upon it "
        "the replica finishes what runs, as when Serve stops it.",
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

    @model_validator(mode="after")
    def _retriever_in_process_takes_no_gpu(self) -> Self:
        if self.retriever == "in_process" and self.retriever_gpus > 0:
            raise ValueError(
                f"retriever_gpus is {self.retriever_gpus:g} but retriever is in_process, and the process of an engine "
                "replica has no GPU of its own; set retriever to deployment, or retriever_gpus to 0"
            )
        return self

    @property
    def resident_adapters(self) -> int:
        """Adapters a replica keeps loaded at most; never below `max_adapters`."""
        return max(self.max_adapters, self.max_resident_adapters or self.max_adapters)

    @property
    def first_replicas(self) -> int:
        """Replicas that there are at the start."""
        return self.autoscaling.min_replicas if self.autoscaling is not None else self.replicas

    @property
    def retrievers(self) -> int:
        """Replicas of the retriever deployment, 0 where there is none."""
        return self.retriever_replicas if self.retriever == "deployment" else 0

    @property
    def most_replicas(self) -> int:
        """Replicas that there may be."""
        return self.autoscaling.max_replicas if self.autoscaling is not None else self.replicas

    @property
    def serve_limit(self) -> int:
        """Requests at once that Serve passes to a replica: more than our gate ever holds, refusals included."""
        return 4 * (self.max_concurrent_requests + self.max_queued_requests) + 1024


class AppArgs(BaseModel):
    """Arguments of `serve.app:build`, as they stand under `args` in a Serve config."""

    model_config = ConfigDict(extra="forbid")

    base_model: str = Field(description="Name of the embedded base model, or the path or name of a Hugging Face model.")
    models_dir: Path = Field(description="Folder that embedded models are written to; shared by all nodes.")
    registry: RegistryPlace = Field(
        description="Where the adapter registry lies: a folder that all nodes share, or s3://, gs:// or "
        "az://bucket/prefix."
    )
    indexer: IndexerSettings = Field(description="Where the collections are and which embedder asks them.")
    serve: ServeSettings = Field(default_factory=ServeSettings, description="The serving graph.")
