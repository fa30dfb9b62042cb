"""What the check asks Ray for, decided from the settings and from what the cluster's nodes have. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from indexer.errors import UnavailableError
from train.settings import TrainSettings

GIB = 2**30
SKIP = "`graftwork train --skip-engine-check` publishes without the check"
# Beside the weights: libraries, the cache of keys and values, what a forward pass takes. SmolLM2-135M in float32, 0.5
# GiB of weights, took 1.1 GiB in PEFT and 2.0 GiB in vLLM on a CPU.
_BESIDE_WEIGHTS = 3 * GIB
# As multiples of the weights' files: these are mapped while they are read, and on a CPU they are in float32 as well.
_WEIGHTS_ON_GPU, _WEIGHTS_ON_CPU = 1.25, 3.5


@dataclass(frozen=True, slots=True)
class Place:
    """What the check's task reserves on one node.

    Attributes:
        cpus: CPUs, and threads of the arithmetic.
        gpus: GPUs.
        memory_bytes: Memory, to which the task holds itself.
    """

    cpus: float
    gpus: int
    memory_bytes: int


def memory_for(weights_bytes: int, *, gpu: bool, settings: TrainSettings) -> int:
    """Return the memory in bytes that a side of the check may have, by the size of the base model's files."""
    if settings.engine_check_memory_gib is not None:
        return round(settings.engine_check_memory_gib * GIB)
    return _BESIDE_WEIGHTS + round(weights_bytes * (_WEIGHTS_ON_GPU if gpu else _WEIGHTS_ON_CPU))


def find_place(nodes: Sequence[Mapping[str, float]], *, gpus: int, memory_bytes: int, settings: TrainSettings) -> Place:
    """Choose what to reserve: as many CPUs as training on one machine has, on the node that has most of those that fit.

    Args:
        nodes: What each node of the cluster has, by Ray's names; memory in bytes.
        gpus: GPUs that the engine runs on.
        memory_bytes: Memory that it may have.
        settings: The training settings.

    Raises:
        UnavailableError: No node has all of it.
    """
    wanted = {"CPU": settings.cpus_per_worker, "GPU": float(gpus), "memory": float(memory_bytes)}
    fitting = [node for node in nodes if all(node.get(kind, 0.0) >= least for kind, least in wanted.items())]
    if not fitting:
        most = {kind: max((node.get(kind, 0.0) for node in nodes), default=0.0) for kind in wanted}
        raise UnavailableError(
            f"The engine check wants {settings.cpus_per_worker:g} CPUs, {gpus} GPUs and {memory_bytes / GIB:.1f} GiB "
            f"of memory on one node, and no node of the Ray cluster has that (at most {most['CPU']:g}, "
            f"{most['GPU']:g} and {most['memory'] / GIB:.1f} GiB); set train.engine_check_memory_gib if that is too "
            f"much. {SKIP}."
        )
    largest = max(node["CPU"] for node in fitting)
    return Place(min(settings.workers * settings.cpus_per_worker, largest), gpus, memory_bytes)
