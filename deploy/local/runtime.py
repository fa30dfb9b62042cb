"""Ray and Milvus for a command: those of the running instance, else transient ones that end with the command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.contradictions import starts_milvus
from deploy.local.processes import is_alive
from deploy.local.state import STATE_FILE, InstanceState, read_state
from deploy.local.transient import connect, transient_instance
from indexer.errors import ConflictError, GraftworkError, UnavailableError
from indexer.settings import IndexerSettings

if TYPE_CHECKING:
    from deploy.settings import Settings


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where a command finds what it needs.

    Attributes:
        indexer: Settings of the indexer with the address of the Milvus that is there now.
        ray: Whether Ray is initialised in this process.
        transient: Whether what was needed had to be started for this command.
    """

    indexer: IndexerSettings
    ray: bool
    transient: bool


@contextmanager
def runtime(settings: Settings, *, need_ray: bool = True, need_milvus: bool = True) -> Iterator[Runtime]:
    """Yields the running instance's Ray and Milvus, or transient ones; all that was started is stopped at the end.

    A Milvus that `up` would not start (another machine's) is used as it is set.

    Raises:
        ConflictError: An instance is starting or stopping just now.
        UnavailableError: Something does not start or does not answer.
    """
    state = running_instance(settings)
    if state is not None:
        yield from _running(settings, state, need_ray=need_ray)
        return
    need_milvus = need_milvus and starts_milvus(settings)
    if not (need_ray or need_milvus):
        yield Runtime(settings.indexer, ray=False, transient=False)
        return
    with transient_instance(settings, need_ray=need_ray, need_milvus=need_milvus) as transient:
        uri = transient.urls.get("milvus", settings.indexer.milvus_uri)
        yield Runtime(settings.indexer.model_copy(update={"milvus_uri": uri}), ray=need_ray, transient=True)


def running_instance(settings: Settings) -> InstanceState | None:
    """The state of the instance of this home if its servers live, None if none of them does.

    Raises:
        ConflictError: It is starting or stopping just now.
        UnavailableError: Some of its servers have died.
    """
    state = read_state(settings.run_dir / STATE_FILE)
    if state is None:
        return None
    dead = [process.role for process in state.processes if not is_alive(process.key)]
    if len(dead) == len(state.processes):
        return None
    if dead:
        raise UnavailableError(
            f"The instance of {settings.home} is damaged, dead: {', '.join(dead)}; `graftwork up` starts it anew, "
            "`graftwork down` clears up."
        )
    if state.phase != "up":
        raise ConflictError(
            f"The instance of {settings.home} is {state.phase} just now; wait for it, or run `graftwork down`."
        )
    return state


def is_up(settings: Settings) -> bool:
    """Whether an instance of this home is up with all its servers."""
    try:
        return running_instance(settings) is not None
    except GraftworkError:
        return False


def _running(settings: Settings, state: InstanceState, *, need_ray: bool) -> Iterator[Runtime]:
    if need_ray:
        connect(state)
    try:
        uri = state.urls.get("milvus", settings.indexer.milvus_uri)
        yield Runtime(settings.indexer.model_copy(update={"milvus_uri": uri}), ray=need_ray, transient=False)
    finally:
        if need_ray:
            import ray

            ray.shutdown()
