"""Starts the instance of a home: Milvus, Ray, the app, a token from every specialist. All or nothing."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from deploy.contradictions import milvus_port, starts_milvus
from deploy.local import processes
from deploy.local.api import KEY_VARIABLE, NO_KEY, api_key
from deploy.local.app_config import secret_environment, serve_config
from deploy.local.checks import Verdict, judge, refuse_failed
from deploy.local.first_token import FirstToken, request_tokens
from deploy.local.interrupts import ending_signals_raise, uninterrupted
from deploy.local.liveness import BrokenInstanceError, is_running, tokens_of_running
from deploy.local.logs import last_lines, log_files
from deploy.local.milvus_server import start_milvus
from deploy.local.ports import in_url, pick_free
from deploy.local.preflight import examine
from deploy.local.ray_environment import ensure_token, ray_environment
from deploy.local.ray_node import HOST, RayNodeOptions, principal_processes, start_ray
from deploy.local.scaling import rescale
from deploy.local.serve_client import AppStatus, ServeClient
from deploy.local.serving_environment import serving_environment
from deploy.local.state import (
    STATE_FILE,
    InstanceState,
    instance_id,
    instance_lock,
    read_state,
    remove_state,
    temp_dir_of,
    write_state,
)
from deploy.local.teardown import stop_instance
from deploy.local.transient import sweep
from deploy.local.versions import installed_versions
from deploy.section import FIRST_TOKEN_TIMEOUT_S, HAPROXY_PORTS
from indexer.errors import ConflictError, GraftworkError
from serve.scale import Scale, scale_of, scaled
from train.registry.registry import AdapterRegistry

if TYPE_CHECKING:
    from deploy.settings import LoadedSettings, Settings

DASHBOARD_TIMEOUT_S = 60.0
_CLEAN_UP_GRACE_S = 10.0
_TAIL_LINES = 12
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of the start: its name, and what there is to say about it now; `seconds` once it is done."""

    step: Literal["checks", "leftovers", "milvus", "ray", "app", "tokens"]
    detail: str
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class UpResult:
    """A running instance, each model of which gave a token; `started` is False where it was up already."""

    state: InstanceState
    started: bool
    seconds: float
    tokens: tuple[FirstToken, ...]
    warnings: tuple[Verdict, ...]


class FailedStartError(GraftworkError):
    """The start failed and everything was stopped again; `log_tail` holds the last log lines near the cause."""

    def __init__(self, cause: GraftworkError, log_tail: tuple[str, ...]) -> None:
        """Keeps the cause's sentence and exit code."""
        super().__init__(str(cause))
        self.cause_exit_code = cause.exit_code
        self.log_tail = log_tail


def up(loaded: LoadedSettings, *, progress: Callable[[Progress], None]) -> UpResult:
    """Starts the instance and returns once a real token came through every specialist.

    One that is up already gets as many replicas as the settings ask for, the others staying as they are, and is asked
    for tokens too; if its engine is dead, it is stopped and started anew. Whatever
    fails or interrupts a start, all that was started is stopped before this returns.

    Raises:
        ConflictError: An instance with other settings is up, another command starts or stops one, or a port is taken.
        FailedStartError: Something did not start; carries the last log lines.
        UnavailableError: A check failed: memory, versions, model files; or an instance that is up gives no token though
            its engine lives, and was left as it is.
    """
    settings = loaded.settings
    begun = time.monotonic()
    with instance_lock(settings.run_dir), ending_signals_raise():
        state = _current(settings)
        if state is not None and is_running(state):
            running = _already_up(loaded, state, progress=progress)
            if running is not None:
                return running
        _clear_leftovers(settings, progress)
        checked = _timed(
            progress,
            "checks",
            "this machine and the base model, which is unpacked at the first start",
            lambda: examine(settings, own_instance_up=False),
        )
        verdicts = judge(checked)
        refuse_failed(verdicts)
        state = _initial_state(loaded)
        path = settings.run_dir / STATE_FILE
        try:
            write_state(path, state)
            state, tokens = _start(settings, state, path=path, progress=progress)
        except BaseException as error:
            with uninterrupted():
                tail = _log_tail(settings, state)
                temp_dir = Path(state.temp_dir)
                stop_instance(
                    instance=state.instance, temp_dir=temp_dir, grace_s=_CLEAN_UP_GRACE_S, logs_to=settings.run_dir
                )
                remove_state(path)
            if isinstance(error, GraftworkError):
                raise FailedStartError(error, tail) from error
            raise
    warnings = tuple(verdict for verdict in verdicts if verdict.status == "warning")
    return UpResult(state, True, time.monotonic() - begun, tokens, warnings)


def settings_digest(settings: Settings) -> str:
    """Changes with every setting that is not secret, and that a running instance cannot change."""
    fixed = settings.model_copy(update={"serve": scaled(settings.serve, Scale())})
    return hashlib.sha256(fixed.model_dump_json().encode()).hexdigest()[:16]


def model_names(settings: Settings) -> tuple[str, ...]:
    """Every name that must answer: the base and all specialists of the registry."""
    specialists = AdapterRegistry(settings.train.registry).read_specialists()
    return (settings.serve.base_name, *sorted(specialists))


def models_to_ask(settings: Settings) -> tuple[str, ...]:
    """The names that are asked for a token; none where the app asks for keys and the operator has given none."""
    return model_names(settings) if settings.serve.keys.file is None or api_key() != NO_KEY else ()


def _start(
    settings: Settings, state: InstanceState, *, path: Path, progress: Callable[[Progress], None]
) -> tuple[InstanceState, tuple[FirstToken, ...]]:
    temp_dir, token_path = Path(state.temp_dir), Path(state.token_path)
    environment = ray_environment(instance=state.instance, token_path=token_path, temp_dir=temp_dir)
    if starts_milvus(settings):
        server = _timed(
            progress,
            "milvus",
            f"milvus-lite on port {state.ports['milvus']}",
            lambda: start_milvus(
                port=state.ports["milvus"],
                data_dir=settings.milvus_data,
                log=settings.run_dir / "milvus.log",
                environment=environment,
            ),
        )
        state = state.with_process(server)
        write_state(path, state)
    haproxy_dir = temp_dir / "h"  # Serve adds 57 characters and HAProxy allows a socket path 97
    haproxy_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    environment |= serving_environment(settings, haproxy_dir=haproxy_dir, ports=state.ports)
    environment |= secret_environment(settings)
    ports = state.ports
    options = RayNodeOptions(
        port=ports["ray"],
        client_port=ports["ray_client"],
        dashboard_port=ports["dashboard"],
        agent_port=ports["dashboard_agent"],
        temp_dir=temp_dir,
        cpus=settings.deploy.logical_cpus,
        gpus=settings.deploy.gpus,
        object_store_bytes=settings.deploy.object_store_mib * 2**20,
        metrics_port=ports["metrics"],
    )
    _timed(progress, "ray", f"Ray on port {ports['ray']}", lambda: start_ray(options, environment=environment))
    for process in principal_processes(processes.find(instance=state.instance, temp_dir=temp_dir)):
        state = state.with_process(process)
    write_state(path, state)
    _deploy(settings, state, progress=progress)
    models = models_to_ask(settings)
    tokens = _timed(
        progress,
        "tokens",
        f"a token from {', '.join(models)}" if models else f"no token: {KEY_VARIABLE} is not set",
        lambda: request_tokens(state.urls["api"], models=models, timeout_s=FIRST_TOKEN_TIMEOUT_S),
    )
    state = replace(state, phase="up")
    write_state(path, state)
    return state, tokens


def _deploy(settings: Settings, state: InstanceState, *, progress: Callable[[Progress], None]) -> None:
    begun = time.monotonic()
    progress(Progress("app", "waiting for Ray's dashboard"))
    client = ServeClient(state.urls["dashboard"], token_path=Path(state.token_path))
    client.wait_until_ready(timeout_s=DASHBOARD_TIMEOUT_S)
    client.deploy(serve_config(settings))

    def tell(app: AppStatus) -> None:
        progress(Progress("app", f"replicas: {app.summary()}"))

    app = client.wait_until_running(timeout_s=settings.deploy.start_timeout_s, progress=tell)
    progress(Progress("app", app.summary(), time.monotonic() - begun))


def _timed(
    progress: Callable[[Progress], None],
    step: Literal["checks", "leftovers", "milvus", "ray", "app", "tokens"],
    detail: str,
    work: Callable[[], _Result],
) -> _Result:
    progress(Progress(step, detail))
    begun = time.monotonic()
    result = work()
    progress(Progress(step, detail, time.monotonic() - begun))
    return result


def _current(settings: Settings) -> InstanceState | None:
    try:
        return read_state(settings.run_dir / STATE_FILE)
    except GraftworkError:
        return None  # A broken file is a leftover: the processes are found without it, and it is replaced.


def _already_up(
    loaded: LoadedSettings, state: InstanceState, *, progress: Callable[[Progress], None]
) -> UpResult | None:
    """The running instance with a token of each model; None where it gives none and has to be started anew."""
    settings, url = loaded.settings, state.urls["api"]
    if state.settings_digest != settings_digest(settings):
        raise ConflictError(
            f"An instance of {settings.home} is up at {url} with other settings; run `graftwork down` first."
        )
    begun = time.monotonic()
    state = _rescaled(settings, state, progress=progress)
    models = models_to_ask(settings)
    progress(Progress("tokens", f"a token from {', '.join(models) or 'no model'}, which should be up"))
    try:
        tokens = tokens_of_running(url, models=models)
    except BrokenInstanceError as error:
        progress(Progress("leftovers", f"starting anew: {error}", time.monotonic() - begun))
        return None
    return UpResult(state, False, time.monotonic() - begun, tokens, ())


def _rescaled(settings: Settings, state: InstanceState, *, progress: Callable[[Progress], None]) -> InstanceState:
    """The running instance with as many replicas as the settings ask for."""
    scale = scale_of(settings.serve)
    if state.phase != "up" or scale == state.scale:
        return state
    begun = time.monotonic()
    client = ServeClient(state.urls["dashboard"], token_path=Path(state.token_path))

    def tell(app: AppStatus) -> None:
        progress(Progress("app", f"replicas: {app.summary()}"))

    app = rescale(settings, from_scale=state.scale, client=client, progress=tell)
    progress(Progress("app", app.summary(), time.monotonic() - begun))
    state = replace(state, scale=scale)
    write_state(settings.run_dir / STATE_FILE, state)
    return state


def _clear_leftovers(settings: Settings, progress: Callable[[Progress], None]) -> None:
    try:
        ended = _end_leftovers(settings)
    except (KeyboardInterrupt, SystemExit):
        with uninterrupted():
            _end_leftovers(settings)
        raise
    if ended:
        progress(Progress("leftovers", f"ended {ended} processes of an instance that had died", 0.0))


def _end_leftovers(settings: Settings) -> int:
    instance = instance_id(settings.home)
    ended = stop_instance(instance=instance, temp_dir=temp_dir_of(instance), grace_s=_CLEAN_UP_GRACE_S)
    ended += sweep(settings)
    remove_state(settings.run_dir / STATE_FILE)
    return ended


def _initial_state(loaded: LoadedSettings) -> InstanceState:
    settings = loaded.settings
    instance = instance_id(settings.home)
    ports = _choose_ports(settings)
    urls = {
        "api": f"http://{in_url(settings.serve.host)}:{ports['http']}",
        "dashboard": f"http://{HOST}:{ports['dashboard']}",
        "milvus": settings.indexer.milvus_uri,
        "metrics": f"http://{HOST}:{ports['metrics']}/metrics",
    }
    if settings.serve.haproxy:
        urls["haproxy_metrics"] = f"http://{HOST}:{ports['haproxy_metrics']}/metrics"
        urls["haproxy_stats"] = f"http://{HOST}:{ports['haproxy_stats']}/stats"
    return InstanceState(
        instance=instance,
        phase="starting",
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        home=str(settings.home),
        config=str(loaded.file) if loaded.file else None,
        settings_digest=settings_digest(settings),
        scale=scale_of(settings.serve),
        temp_dir=str(temp_dir_of(instance)),
        token_path=str(ensure_token(settings.run_dir)),
        ports=ports,
        urls=urls,
        versions=installed_versions(),
    )


def _choose_ports(settings: Settings) -> dict[str, int]:
    asked: dict[str, int] = {"http": settings.serve.port}
    if starts_milvus(settings):
        asked["milvus"] = milvus_port(settings)
    for name in type(settings.deploy.ports).model_fields:
        if settings.serve.haproxy or name not in HAPROXY_PORTS:
            asked[name] = getattr(settings.deploy.ports, name)
    open_choices = [name for name, port in asked.items() if port == 0]
    chosen = pick_free(len(open_choices), taken=asked.values())
    return {**asked, **dict(zip(open_choices, chosen, strict=True))}


def _log_tail(settings: Settings, state: InstanceState) -> tuple[str, ...]:
    """The last lines of the app's newest logs, else of Ray's: those that look like errors first."""
    temp_dir = Path(state.temp_dir)
    for component in ("app", "workers", "ray"):
        files = log_files(component, run_dir=settings.run_dir, temp_dir=temp_dir)
        lines = [line for file in files[-3:] for line in last_lines(file, count=200)]
        errors = [line for line in lines if "ERROR" in line or "Error" in line]
        if errors:
            return tuple(errors[-_TAIL_LINES:])
    return ()
