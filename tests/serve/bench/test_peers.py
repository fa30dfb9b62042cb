from __future__ import annotations

from pathlib import Path

from serve.app import engine_arguments
from serve.bench.peers import ray_serve_llm_config, vllm_command
from serve.settings import ServeSettings

SETTINGS = ServeSettings(engine={"max_model_len": 512, "enforce_eager": True, "limit_mm_per_prompt": {"image": 0}})
ENGINE = engine_arguments(SETTINGS, accelerator="cpu")
HERE = {"model": Path("/m"), "name": "base", "host": "127.0.0.1", "port": 9}


def test_vllms_server_takes_the_same_arguments_as_our_engine() -> None:
    """Held against vLLM's own parser."""
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    command = vllm_command(ENGINE, **HERE, adapters={"bench@1": Path("/a")})  # type: ignore[arg-type]
    parsed = vars(make_arg_parser(FlexibleArgumentParser()).parse_args(command[3:]))
    for name, value in ENGINE.items():
        if name != "limit_mm_per_prompt":
            assert parsed[name] == value, name
    assert (parsed["host"], parsed["port"], parsed["served_model_name"]) == ("127.0.0.1", 9, ["base"])
    [adapter] = parsed["lora_modules"]
    assert (adapter.name, adapter.path) == ("bench@1", "/a")
    assert '{"image": 0}' in command


def test_ray_serve_llms_app_takes_the_same_arguments_as_our_engine() -> None:
    from ray.serve.llm import LLMConfig
    from ray.serve.schema import ServeDeploySchema

    config = ray_serve_llm_config(ENGINE, **HERE, accelerator="cpu", app="graftwork")  # type: ignore[arg-type]
    schema = ServeDeploySchema.model_validate(config)
    [app] = schema.applications
    assert (app.import_path, app.name) == ("ray.serve.llm:build_openai_app", "graftwork")
    [llm] = app.args["llm_configs"]
    assert LLMConfig.model_validate(llm).engine_kwargs == ENGINE
