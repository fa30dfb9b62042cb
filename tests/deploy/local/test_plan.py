from __future__ import annotations

from pydantic import JsonValue

from deploy.local.plan import MILVUS_MIB, RAY_MIB, REPLICA_MIB, RETRIEVER_MIB, LaunchPlan, launch_plan
from deploy.settings import Settings


def plan(accelerator: str = "cpu", *, weights_mib: int = 0, **sections: JsonValue) -> LaunchPlan:
    settings = Settings.model_validate(sections)
    return launch_plan(
        settings,
        accelerator="gpu" if accelerator == "gpu" else "cpu",
        engine=settings.serve.engine,
        weight_bytes=weights_mib * 2**20,
        machine_mib=100_000,
    )


def test_memory_adds_up() -> None:
    found = plan(weights_mib=256, serve={"replicas": 2, "engine_environment": {"VLLM_CPU_KVCACHE_SPACE": "3"}})
    assert found.memory_mib == RAY_MIB + MILVUS_MIB + RETRIEVER_MIB + 2 * (REPLICA_MIB + 256 + 3 * 1024)


def test_the_cache_variable_goes_before_the_argument_as_in_vllm() -> None:
    argument: dict[str, JsonValue] = {"kv_cache_memory_bytes": 2**28}
    without_cache = RAY_MIB + MILVUS_MIB + RETRIEVER_MIB + REPLICA_MIB
    assert plan(serve={"engine": argument}).memory_mib == without_cache + 256
    both = plan(serve={"engine": argument, "engine_environment": {"VLLM_CPU_KVCACHE_SPACE": "3"}})
    assert both.memory_mib == without_cache + 3 * 1024


def test_a_share_of_the_memory_is_taken_on_cpu_as_vllm_takes_it() -> None:
    share: dict[str, JsonValue] = {"gpu_memory_utilization": 0.5}
    assert plan(serve={"engine": share}).memory_mib == RAY_MIB + MILVUS_MIB + RETRIEVER_MIB + 50_000
    with_bytes = share | {"kv_cache_memory_bytes": 2**28}
    without_cache = RAY_MIB + MILVUS_MIB + RETRIEVER_MIB + REPLICA_MIB
    assert plan(serve={"engine": with_bytes}).memory_mib == without_cache + 256
    assert plan("gpu", serve={"engine": share}).memory_mib == without_cache


def test_a_remote_milvus_and_a_gpu_cache_cost_nothing_here() -> None:
    found = plan("gpu", indexer={"milvus_uri": "http://far:19530"})
    assert found.memory_mib == RAY_MIB + RETRIEVER_MIB + REPLICA_MIB


def test_the_setting_wins_over_the_estimate_even_at_zero() -> None:
    assert plan(deploy={"min_free_memory_mib": 0}).memory_mib == 0


def test_gpus_follow_parallel_sizes_and_replicas() -> None:
    sections: dict[str, JsonValue] = {
        "replicas": 2,
        "retriever_gpus": 0.25,
        "engine": {"tensor_parallel_size": 4, "pipeline_parallel_size": 2},
    }
    assert plan("gpu", serve=sections).gpus == 16.25
    assert plan("cpu", serve=sections).gpus == 0.25


def test_cpus_and_ports() -> None:
    found = plan(serve={"replicas": 2, "cpus_per_replica": 1.5, "retriever_cpus": 0.5}, deploy={"logical_cpus": 12})
    assert (found.used_cpus, found.logical_cpus) == (3.5, 12)
    assert found.ports == {"serve.port": 8000, "indexer.milvus_uri": 19530, "deploy.ports.dashboard": 8265}
