"""How many engines there are for an offline run, and what they are started with. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from indexer.errors import UnavailableError
from train.examples.request import Offline

# The key-value cache on CPU where nothing sizes it; vLLM would claim most of the machine's memory.
_CPU_CACHE_BYTES = 2**30
# What sizes it instead: arguments of vLLM, and the variable that its CPU build reads before any of them.
_CACHE_ARGUMENTS, _CACHE_VARIABLE = ("kv_cache_memory_bytes", "gpu_memory_utilization"), "VLLM_CPU_KVCACHE_SPACE"
# A context's length is rounded up to whole blocks of the cache on CPU (vllm/platforms/cpu.py).
_BLOCK_TOKENS = 128
# Batches of a full engine's requests: a batch is written down when all of it has come, so smaller ones lose less.
_BATCHES_PER_ENGINE = 4
_NO_USAGE = {"VLLM_NO_USAGE_STATS": "1", "VLLM_DO_NOT_TRACK": "1", "RAY_USAGE_STATS_ENABLED": "0"}


@dataclass(frozen=True, slots=True)
class EnginePlan:
    """What a stage is run by.

    Attributes:
        engines: How many.
        gpus: GPUs that each takes; 0 runs it on the CPU.
    """

    engines: int
    gpus: int


def plan_engines(offline: Offline, *, free: Mapping[str, float]) -> EnginePlan:
    """Place the engines: one on each free GPU (or group of them, with `tensor_parallel_size`), one on a CPU.

    Args:
        offline: What is asked for.
        free: What Ray has free, by resource.

    Raises:
        UnavailableError: There is less.
    """
    if offline.accelerator == "cpu":
        wanted = offline.engines or 1
        if free.get("CPU", 0) < wanted:
            raise UnavailableError(
                f"{wanted} engines take a CPU of Ray each, and {free.get('CPU', 0):g} are free; wait for what runs, or "
                "raise deploy.logical_cpus."
            )
        return EnginePlan(wanted, gpus=0)
    each = _size(offline.engine, "tensor_parallel_size") * _size(offline.engine, "pipeline_parallel_size")
    room = int(free.get("GPU", 0) // each)
    wanted = offline.engines or room
    if room < max(1, wanted):
        raise UnavailableError(
            f"{max(1, wanted)} engines take {each} GPU{'s' if each > 1 else ''} each, and Ray has "
            f"{free.get('GPU', 0):g} free; wait for what runs, or give --engines."
        )
    return EnginePlan(wanted, gpus=each)


def engine_arguments(offline: Offline, *, context_tokens: int) -> dict[str, JsonValue]:
    """What vLLM is started with: the user's arguments, and what they leave open.

    On CPU nothing is compiled: that takes minutes and a C++ compiler.

    Args:
        offline: What is asked for.
        context_tokens: Of the longest prompt with its answer.
    """
    ours: dict[str, JsonValue] = {
        "max_model_len": context_tokens,
        "max_num_seqs": offline.concurrency,
        "disable_log_stats": True,
    }
    if offline.accelerator == "cpu":
        ours["enforce_eager"] = True
        if _CACHE_VARIABLE not in offline.environment and not any(name in offline.engine for name in _CACHE_ARGUMENTS):
            ours["kv_cache_memory_bytes"] = _CPU_CACHE_BYTES
    return {**ours, **offline.engine}


def engine_environment(offline: Offline) -> dict[str, str]:
    """Environment of the engine processes: nothing is compiled on CPU, and no usage is reported."""
    compiling = {"TORCH_COMPILE_DISABLE": "1"} if offline.accelerator == "cpu" else {}
    return {**compiling, **_NO_USAGE, **offline.environment}


def context_tokens(longest: int, *, limit: int | None) -> int:
    """Length of the context that an engine is started with, in tokens.

    Args:
        longest: Tokens of the longest prompt and its longest answer.
        limit: The model's own length; None where it tells none.
    """
    rounded = -(-longest // _BLOCK_TOKENS) * _BLOCK_TOKENS
    return rounded if limit is None else min(rounded, limit)


def batch_rows(concurrency: int) -> int:
    """Requests of a batch."""
    return -(-concurrency // _BATCHES_PER_ENGINE)


def _size(engine: Mapping[str, JsonValue], name: str) -> int:
    value = engine.get(name, 1)
    return value if isinstance(value, int) else 1
