"""What runs for a home: every process with its ports, URLs, versions, Serve's view of the app, the registry."""

from __future__ import annotations

import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import httpx
import psutil
from pydantic import JsonValue

from deploy.local import processes
from deploy.local.api import key_header, served_revision
from deploy.local.processes import ProcessFacts, is_alive
from deploy.local.ray_environment import authentication_environment
from deploy.local.roles import role_of
from deploy.local.serve_client import AppStatus, ServeClient
from deploy.local.state import STATE_FILE, InstanceState, instance_id, read_state, temp_dir_of
from deploy.local.versions import installed_versions
from indexer.errors import GraftworkError
from train.registry.registry import AdapterRegistry

if TYPE_CHECKING:
    from deploy.settings import Settings

Health = Literal["up", "starting", "stopping", "degraded", "leftovers", "down"]


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One process: role, pid, resident memory, and the addresses it listens on."""

    role: str
    pid: int
    rss_mib: int
    listens: tuple[str, ...]
    command: str


@dataclass(frozen=True, slots=True)
class RegistryStatus:
    """The registry this home serves from."""

    path: str
    revision: int
    adapters: tuple[str, ...]
    specialists: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class InstanceStatus:
    """Everything `graftwork status` shows; `problem` says why `health` is degraded or leftovers."""

    health: Health
    problem: str | None
    instance: str
    home: str
    started_at: str | None
    config: str | None
    urls: dict[str, str]
    ports: dict[str, int]
    versions: dict[str, str]
    processes: tuple[ProcessStatus, ...]
    app: AppStatus | None
    models: tuple[str, ...]
    registry: RegistryStatus
    authentication: dict[str, str]
    state_file: str
    temp_dir: str

    def to_json(self) -> dict[str, JsonValue]:
        """The same as JSON values."""
        return asdict(self)


def read_status(settings: Settings) -> InstanceStatus:
    """Looks at processes, Serve and registry; starts nothing and changes nothing."""
    path = settings.run_dir / STATE_FILE
    broken: str | None = None
    try:
        state = read_state(path)
    except GraftworkError as error:
        state, broken = None, str(error)
    instance = instance_id(settings.home)
    temp_dir = temp_dir_of(instance)
    found = processes.find(instance=instance, temp_dir=temp_dir)
    app = _app(state) if state else None
    answers = state is not None and app is not None and served_revision(state.urls["api"]) is not None
    models = _models(state) if state and answers else ()
    health, problem = judge_health(state, running=len(found), app=app, answers=answers)
    return InstanceStatus(
        health=health,
        problem=broken or problem,
        instance=instance,
        home=str(settings.home),
        started_at=state.started_at if state else None,
        config=state.config if state else None,
        urls=state.urls if state else {},
        ports=state.ports if state else {},
        versions=state.versions if state else installed_versions(),
        processes=tuple(_process(facts) for facts in found),
        app=app,
        models=models,
        registry=_registry(settings),
        authentication=authentication_environment(Path(state.token_path)) if state else {},
        state_file=str(path),
        temp_dir=str(temp_dir),
    )


def judge_health(
    state: InstanceState | None, *, running: int, app: AppStatus | None, answers: bool
) -> tuple[Health, str | None]:
    """What the facts amount to, and what is wrong.

    Args:
        state: The state file's content.
        running: Number of the instance's processes.
        app: Serve's view; None where the dashboard does not answer.
        answers: The API answers over HTTP.
    """
    if state is None:
        if running == 0:
            return "down", None
        return "leftovers", f"{running} processes of an instance without a state; `graftwork down` ends them"
    dead = [process.role for process in state.processes if not is_alive(process.key)]
    if dead:
        return "leftovers", f"dead: {', '.join(dead)}; `graftwork up` starts anew, `graftwork down` clears up"
    if state.phase != "up":
        return state.phase, None
    if app is None:
        return "degraded", "Ray's dashboard does not answer"
    if app.status != "RUNNING":
        return "degraded", f"Serve says {app.status}: {app.summary()}"
    if not answers:
        return "degraded", f"{state.urls['api']} does not answer"
    return "up", None


def _app(state: InstanceState) -> AppStatus | None:
    try:
        return ServeClient(state.urls["dashboard"], token_path=Path(state.token_path), timeout_s=5.0).app()
    except (GraftworkError, OSError):
        return None


def _models(state: InstanceState) -> tuple[str, ...]:
    try:
        answer = httpx.get(f"{state.urls['api']}/v1/models", headers=key_header(), timeout=5.0, trust_env=False)
        return tuple(str(card["id"]) for card in answer.json()["data"]) if answer.is_success else ()
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return ()


def _registry(settings: Settings) -> RegistryStatus:
    registry = AdapterRegistry(settings.train.registry)
    adapters = (
        f"{name}@{version}" for name, entry in sorted(registry.index().adapters.items()) for version in entry.live
    )
    specialists = registry.read_specialists()
    return RegistryStatus(str(registry.root), registry.revision(), tuple(adapters), tuple(sorted(specialists)))


def _process(facts: ProcessFacts) -> ProcessStatus:
    return ProcessStatus(
        role=role_of(facts.command),
        pid=facts.key.pid,
        rss_mib=facts.rss_bytes // 2**20,
        listens=_listens(facts.key.pid),
        command=facts.command[:160],
    )


def _listens(pid: int) -> tuple[str, ...]:
    try:
        connections = psutil.Process(pid).net_connections(kind="tcp")
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return ()
    listening = {
        f"[{entry.laddr.ip}]:{entry.laddr.port}"
        if entry.family == socket.AF_INET6
        else f"{entry.laddr.ip}:{entry.laddr.port}"
        for entry in connections
        if entry.status == psutil.CONN_LISTEN
    }
    return tuple(sorted(listening))
