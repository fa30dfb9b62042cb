"""Starts one server on this machine for the length of a block: bare vLLM, Ray Serve LLM's default app, or ours.

Each has the same engine arguments and the same cores. What is started carries the mark of a transient instance, so that
it is ended at the end of the block, at the end of the command, or by the next command if this one is killed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from deploy.local.app_config import APP_NAME, secret_environment, serve_config
from deploy.local.instance import DASHBOARD_TIMEOUT_S
from deploy.local.interrupts import uninterrupted
from deploy.local.logs import last_lines, log_files
from deploy.local.ports import pick_free
from deploy.local.ray_environment import ray_environment
from deploy.local.ray_node import HOST, RayNodeOptions, start_ray
from deploy.local.serve_client import ServeClient
from deploy.local.serving_environment import START_ATTEMPTS, serving_environment
from deploy.local.teardown import stop_instance
from indexer.errors import GraftworkError, InputError, UnavailableError
from serve.app import accelerator_kind, engine_arguments, engine_environment
from serve.bench.load import Target, wait_until_answering
from serve.bench.peers import BARE_VLLM, NO_PLUGINS, OURS, RAY_SERVE_LLM, ray_serve_llm_config, vllm_command
from serve.keys.document import KeyLimits
from serve.keys.file import KeyFile
from serve.keys.settings import KeysSettings
from train.base_model import BaseModelFiles
from train.registry.importing import import_adapter
from train.registry.registry import AdapterRegistry

if TYPE_CHECKING:
    from deploy.local.state import InstanceState
    from deploy.settings import Settings

ADAPTER = "bench"
# The name that an imported adapter's first version has in our registry; bare vLLM serves it under the same.
ADAPTER_REF = f"{ADAPTER}@1"
_NO_KEY = "none"
_GRACE_S = 10.0
_TAIL_LINES = 6
# Limits that nobody reaches: they are counted all the same.
_LIMITS = KeyLimits(requests_per_minute=10**7, tokens_per_minute=10**9, streams=10**5)


@dataclass(frozen=True, slots=True)
class Engine:
    """What every server is started with.

    Attributes:
        settings: The settings; those of serving decide on the engine.
        base: The base model.
        adapter: Folder of the adapter that is served besides, if any.
    """

    settings: Settings
    base: BaseModelFiles
    adapter: Path | None


@contextmanager
def running_peer(name: str, engine: Engine, *, state: InstanceState, tell: Callable[[str], None]) -> Iterator[Target]:
    """Yield a server that has given a token of each model; nothing of it runs afterwards.

    Args:
        name: One of `serve.bench.peers.PEERS`.
        engine: What it is started with.
        state: The transient instance that it belongs to.
        tell: Takes what is being done.

    Raises:
        InputError: There is no such peer.
        UnavailableError: It does not start; the message has the last words of its log.
    """
    start = _STARTS.get(name)
    if start is None:
        raise InputError(f"{name!r} is no peer of this measurement; known are {', '.join(_STARTS)}.")
    folder = Path(state.temp_dir)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            target = start(engine, state, tell)
        except GraftworkError as error:
            last = " | ".join(_last_words(state)) or "none"
            problem = str(error).rstrip(".")
            raise UnavailableError(f"{name} did not start: {problem}. Last words of its log: {last}") from error
        yield target
    finally:
        with uninterrupted():
            stop_instance(instance=state.instance, temp_dir=folder, grace_s=_GRACE_S)
            shutil.rmtree(_haproxy_dir(state), ignore_errors=True)


def _start_vllm(engine: Engine, state: InstanceState, tell: Callable[[str], None]) -> Target:
    [port] = pick_free(1)
    adapters = {ADAPTER_REF: engine.adapter} if engine.adapter else {}
    command = vllm_command(
        _arguments(engine),
        model=engine.base.path,
        name=engine.settings.serve.base_name,
        host=HOST,
        port=port,
        adapters=adapters,
    )
    tell("starting")
    with (Path(state.temp_dir) / "vllm.log").open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**_environment(state), **_engine_environment(engine), **NO_PLUGINS},
            cwd=state.temp_dir,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def ended() -> str | None:
        code = process.poll()
        return None if code is None else f"it ended with exit code {code}"

    target = Target(f"http://{HOST}:{port}", _NO_KEY, _models(engine, adapter=engine.adapter is not None))
    _wait(target, engine, problem=ended)
    return target


def _start_ray_serve_llm(engine: Engine, state: InstanceState, tell: Callable[[str], None]) -> Target:
    [port] = pick_free(1)
    config = ray_serve_llm_config(
        _arguments(engine),
        model=engine.base.path,
        name=engine.settings.serve.base_name,
        host=HOST,
        port=port,
        accelerator=accelerator_kind(engine.settings.serve),
        app=APP_NAME,
    )
    environment = {
        **_environment(state),
        **_engine_environment(engine),
        **NO_PLUGINS,
        "RAY_SERVE_MAX_PER_REPLICA_RETRY_COUNT": str(START_ATTEMPTS),
    }
    _deploy(config, engine, state, environment=environment, tell=tell)
    # Its adapters must lie in a bucket; those of this machine it refuses.
    target = Target(f"http://{HOST}:{port}", _NO_KEY, _models(engine, adapter=False))
    _wait(target, engine)
    return target


def _start_ours(engine: Engine, state: InstanceState, tell: Callable[[str], None]) -> Target:
    folder = Path(state.temp_dir) / "home"
    given = engine.settings
    [port] = pick_free(1)
    registry, keys = folder / "registry", folder / "keys.json"
    settings = given.model_copy(
        update={
            "train": given.train.model_copy(update={"registry": registry, "base_model": str(engine.base.path)}),
            "serve": given.serve.model_copy(
                update={
                    "host": HOST,
                    "port": port,
                    "haproxy": True,
                    "replicas": 1,
                    "keys": KeysSettings(file=keys),
                    "quota": given.serve.quota.model_copy(update={"storage": None}),
                }
            ),
        }
    )
    folder.mkdir(parents=True)
    if engine.adapter is not None:
        import_adapter(
            engine.adapter,
            name=ADAPTER,
            find_base=lambda: engine.base,
            registry=AdapterRegistry(registry),
            max_rank=settings.serve.max_lora_rank,
        )
    token, _ = KeyFile(keys).create(tenant=given.indexer.default_tenant, now=datetime.now(UTC), limits=_LIMITS)
    names = ("haproxy_metrics", "haproxy_stats", "serve_fallback")
    ports = dict(zip(names, pick_free(len(names)), strict=True))
    haproxy_dir = _haproxy_dir(state)
    haproxy_dir.mkdir(mode=0o700, exist_ok=True)
    environment = {
        **_environment(state),
        **serving_environment(settings, haproxy_dir=haproxy_dir, ports=ports),
        **secret_environment(settings),
    }
    _deploy(serve_config(settings), engine, state, environment=environment, tell=tell)
    target = Target(f"http://{HOST}:{port}", token.text, _models(engine, adapter=engine.adapter is not None))
    _wait(target, engine)
    return target


_STARTS: Mapping[str, Callable[[Engine, InstanceState, Callable[[str], None]], Target]] = {
    BARE_VLLM: _start_vllm,
    RAY_SERVE_LLM: _start_ray_serve_llm,
    OURS: _start_ours,
}


def _deploy(
    config: Mapping[str, JsonValue],
    engine: Engine,
    state: InstanceState,
    *,
    environment: Mapping[str, str],
    tell: Callable[[str], None],
) -> None:
    deploy = engine.settings.deploy
    port, client_port, dashboard, agent = pick_free(4)
    tell("starting Ray")
    start_ray(
        RayNodeOptions(
            port=port,
            client_port=client_port,
            dashboard_port=dashboard,
            agent_port=agent,
            temp_dir=Path(state.temp_dir),
            cpus=deploy.logical_cpus,
            gpus=deploy.gpus,
            object_store_bytes=deploy.object_store_mib * 2**20,
        ),
        environment=environment,
    )
    client = ServeClient(f"http://{HOST}:{dashboard}", token_path=Path(state.token_path))
    client.wait_until_ready(timeout_s=DASHBOARD_TIMEOUT_S)
    client.deploy(config)
    client.wait_until_running(timeout_s=deploy.start_timeout_s, progress=lambda app: tell(f"starting: {app.summary()}"))


def _wait(target: Target, engine: Engine, problem: Callable[[], str | None] = lambda: None) -> None:
    limit_s = engine.settings.deploy.start_timeout_s
    asyncio.run(wait_until_answering(target, limit_s=limit_s, problem=problem))


def _arguments(engine: Engine) -> dict[str, JsonValue]:
    serve = engine.settings.serve
    return engine_arguments(serve, accelerator=accelerator_kind(serve))


def _engine_environment(engine: Engine) -> dict[str, str]:
    serve = engine.settings.serve
    return engine_environment(serve, accelerator=accelerator_kind(serve))


def _environment(state: InstanceState) -> dict[str, str]:
    """Of the caller's variables none that steers Serve: every server gets its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_SERVE_", "GRAFTWORK_"))}
    return ray_environment(
        instance=state.instance, token_path=Path(state.token_path), temp_dir=Path(state.temp_dir), base=kept
    )


def _haproxy_dir(state: InstanceState) -> Path:
    """Beside the instance's folder, whose name is too long: Serve adds 57 characters, HAProxy allows a path 97."""
    return Path(state.temp_dir).with_name(f"gw-{state.instance.rpartition('-')[2]}")


def _models(engine: Engine, *, adapter: bool) -> dict[str, str]:
    base = {"base": engine.settings.serve.base_name}
    return {**base, "adapter": ADAPTER_REF} if adapter else base


def _last_words(state: InstanceState) -> list[str]:
    """Lines near the end of the newest log, those that name an error first."""
    temp_dir = Path(state.temp_dir)
    files = [temp_dir / "vllm.log"]
    for component in ("app", "workers", "ray"):
        files += reversed(log_files(component, run_dir=temp_dir, temp_dir=temp_dir))
    for file in files:
        lines = last_lines(file, count=100)
        wrong = [line.strip() for line in lines if "Error" in line or "ERROR" in line]
        if wrong or (lines and file.name == "vllm.log"):
            return (wrong or lines)[-_TAIL_LINES:]
    return []
