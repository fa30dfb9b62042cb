from __future__ import annotations

from pathlib import Path

import pytest

from indexer.errors import UnavailableError
from train.base_model import BaseModelFiles
from train.examples.engines import (
    EnginePlan,
    batch_rows,
    context_tokens,
    engine_arguments,
    engine_environment,
    plan_engines,
)
from train.examples.request import Offline

BASE = BaseModelFiles(name="m", path=Path("/m"), fingerprint="sha256:1", chat_template_hash="sha256:2")


def gpu(**engine: int) -> Offline:
    return Offline(BASE, accelerator="gpu", engine=dict(engine))


@pytest.mark.parametrize(
    ("offline", "free", "plan"),
    [
        (Offline(BASE, accelerator="cpu"), {"CPU": 8.0, "GPU": 4.0}, EnginePlan(1, gpus=0)),
        (Offline(BASE, accelerator="cpu", engines=3), {"CPU": 3.0}, EnginePlan(3, gpus=0)),
        (gpu(), {"CPU": 8.0, "GPU": 4.0}, EnginePlan(4, gpus=1)),
        (gpu(tensor_parallel_size=2), {"GPU": 5.0}, EnginePlan(2, gpus=2)),
        (gpu(tensor_parallel_size=2, pipeline_parallel_size=2), {"GPU": 4.0}, EnginePlan(1, gpus=4)),
        (Offline(BASE, accelerator="gpu", engines=2), {"GPU": 4.0}, EnginePlan(2, gpus=1)),
    ],
)
def test_an_engine_on_each_free_gpu_or_one_on_the_cpu(
    offline: Offline, free: dict[str, float], plan: EnginePlan
) -> None:
    assert plan_engines(offline, free=free) == plan


@pytest.mark.parametrize(
    ("offline", "free", "said"),
    [
        (Offline(BASE, accelerator="cpu", engines=2), {"CPU": 1.5}, "2 engines take a CPU of Ray each, and 1.5 are"),
        (Offline(BASE, accelerator="cpu"), {}, "and 0 are free"),
        (gpu(), {"CPU": 8.0}, "1 engines take 1 GPU each, and Ray has 0 free"),
        (gpu(tensor_parallel_size=4), {"GPU": 2.0}, "1 engines take 4 GPUs each, and Ray has 2 free"),
        (Offline(BASE, accelerator="gpu", engines=3), {"GPU": 2.0}, "3 engines take 1 GPU each"),
    ],
)
def test_what_there_is_no_room_for(offline: Offline, free: dict[str, float], said: str) -> None:
    with pytest.raises(UnavailableError, match=said):
        plan_engines(offline, free=free)


def test_the_cache_is_small_on_cpu_unless_something_sizes_it() -> None:
    cpu = Offline(BASE, accelerator="cpu", concurrency=8)
    assert engine_arguments(cpu, context_tokens=640) == {
        "max_model_len": 640,
        "max_num_seqs": 8,
        "disable_log_stats": True,
        "enforce_eager": True,
        "kv_cache_memory_bytes": 2**30,
    }
    for sized in (
        Offline(BASE, accelerator="cpu", engine={"gpu_memory_utilization": 0.3}),
        Offline(BASE, accelerator="cpu", environment={"VLLM_CPU_KVCACHE_SPACE": "2"}),
        Offline(BASE, accelerator="gpu"),
    ):
        assert "kv_cache_memory_bytes" not in engine_arguments(sized, context_tokens=640)
    compiled = Offline(BASE, accelerator="cpu", engine={"enforce_eager": False, "max_model_len": 4096})
    arguments = engine_arguments(compiled, context_tokens=640)
    assert (arguments["enforce_eager"], arguments["max_model_len"]) == (False, 4096)


def test_nothing_is_compiled_on_cpu_and_no_usage_is_reported() -> None:
    environment = engine_environment(Offline(BASE, accelerator="cpu", environment={"VLLM_CPU_KVCACHE_SPACE": "2"}))
    assert (environment["TORCH_COMPILE_DISABLE"], environment["VLLM_CPU_KVCACHE_SPACE"]) == ("1", "2")
    assert environment["VLLM_NO_USAGE_STATS"] == "1"
    assert "TORCH_COMPILE_DISABLE" not in engine_environment(Offline(BASE, accelerator="gpu"))


def test_the_context_is_as_long_as_it_must_be() -> None:
    assert context_tokens(1, limit=None) == 128
    assert context_tokens(128, limit=2048) == 128
    assert context_tokens(129, limit=2048) == 256
    assert context_tokens(2000, limit=2020) == 2020


@pytest.mark.parametrize(("concurrency", "rows"), [(1, 1), (4, 1), (5, 2), (32, 8)])
def test_an_engine_works_on_several_batches_at_once(concurrency: int, rows: int) -> None:
    assert batch_rows(concurrency) == rows
