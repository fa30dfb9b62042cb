"""Ray and milvus-lite for the length of one command, when no instance is up."""

from __future__ import annotations

import logging
import os
import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.local.interrupts import ending_signals_raise, uninterrupted
from deploy.local.milvus_server import HOST, start_milvus
from deploy.local.native_output import held_back
from deploy.local.ports import pick_free
from deploy.local.processes import MARK, is_alive, start_ticks
from deploy.local.ray_environment import authentication_environment, ensure_token, ray_environment, use_in_this_process
from deploy.local.state import (
    InstanceState,
    ServerProcess,
    instance_id,
    read_state,
    remove_state,
    temp_dir_of,
    write_state,
)
from deploy.local.teardown import stop_instance
from indexer.errors import GraftworkError, UnavailableError

if TYPE_CHECKING:
    from deploy.settings import Settings

_FOLDER = "transient"
# The home's id and a suffix: never the id of the instance that `up` starts.
_INSTANCE = re.compile(r"[0-9a-f]{8}-[0-9a-f]{6}")
_GRACE_S = 10.0


@contextmanager
def transient_instance(settings: Settings, *, need_ray: bool, need_milvus: bool) -> Iterator[InstanceState]:
    """Yields the state of an instance that is stopped at the end, whatever happens in between.

    Ray runs as `ray.init(address="local")` in this process; Milvus as a milvus-lite server on a free port.
    """
    sweep(settings)
    instance = f"{instance_id(settings.home)}-{secrets.token_hex(3)}"
    path = settings.run_dir / _FOLDER / f"{instance}.json"
    token_path = ensure_token(settings.run_dir)
    temp_dir = temp_dir_of(instance)
    state = InstanceState(
        instance=instance,
        phase="starting",
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        home=str(settings.home),
        config=None,
        settings_digest="",
        temp_dir=str(temp_dir),
        token_path=str(token_path),
        owner=ServerProcess("owner", os.getpid(), start_ticks(os.getpid()) or 0),
    )
    write_state(path, state)
    environment = ray_environment(instance=instance, token_path=token_path, temp_dir=temp_dir)
    marked_before = os.environ.get(MARK)
    with ending_signals_raise():
        try:
            if need_milvus:
                [port] = pick_free(1)
                log = settings.run_dir / "milvus.log"
                server = start_milvus(port=port, data_dir=settings.milvus_data, log=log, environment=environment)
                state = replace(state, ports={"milvus": port}, urls={"milvus": f"http://{HOST}:{port}"})
                state = state.with_process(server)
                write_state(path, state)
            if need_ray:
                _start_ray(settings, environment=environment, temp_dir=temp_dir)
            yield state
        finally:
            with uninterrupted():
                if need_ray:
                    _stop_ray()
                stop_instance(instance=instance, temp_dir=temp_dir, grace_s=_GRACE_S)
                remove_state(path)
            os.environ.pop(MARK, None)
            if marked_before is not None:
                os.environ[MARK] = marked_before


def sweep(settings: Settings) -> int:
    """Stops transient instances whose command was killed; returns how many processes that ended.

    The file's name says which instance it is, so a file that cannot be understood is cleared up with the rest.
    """
    ended = 0
    for path in sorted((settings.run_dir / _FOLDER).glob("*.json")):
        instance = path.stem
        if not _INSTANCE.fullmatch(instance) or _has_owner(path):
            continue
        ended += stop_instance(instance=instance, temp_dir=temp_dir_of(instance), grace_s=_GRACE_S)
        remove_state(path)
    return ended


def _has_owner(path: Path) -> bool:
    """Whether the command that will stop the instance still runs; nobody knows that of a broken or older file."""
    try:
        state = read_state(path)
    except GraftworkError:
        return False
    return state is None or (state.owner is not None and is_alive(state.owner.key))


def _start_ray(settings: Settings, *, environment: dict[str, str], temp_dir: Path) -> None:
    use_in_this_process(environment)
    import ray

    try:
        temp_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with held_back():
            ray.init(
                address="local",
                num_cpus=settings.deploy.logical_cpus,
                num_gpus=settings.deploy.gpus,
                object_store_memory=settings.deploy.object_store_mib * 2**20,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={"env_vars": {"PYTHONPATH": environment["PYTHONPATH"]}},
                _temp_dir=str(temp_dir),
                _node_ip_address=HOST,
            )
    except (RuntimeError, ValueError, ConnectionError, OSError) as error:
        raise UnavailableError(f"Ray could not be started on this machine: {' '.join(str(error).split())}") from error


def _stop_ray() -> None:
    ray = sys.modules.get("ray")  # A Ctrl-C while it is imported leaves none, and it cannot be imported again.
    if ray is not None and ray.is_initialized():
        ray.shutdown()


def connect(state: InstanceState) -> None:
    """Connects this process as a driver to the running instance's Ray.

    Raises:
        UnavailableError: It does not answer.
    """
    use_in_this_process(
        {
            **authentication_environment(Path(state.token_path)),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
    )
    import ray

    address = f"{HOST}:{state.ports['ray']}"
    try:
        with held_back():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (RuntimeError, ValueError, ConnectionError, OSError) as error:
        raise UnavailableError(
            f"Ray at {address} does not answer: {' '.join(str(error).split())}; `graftwork status` shows what runs."
        ) from error
