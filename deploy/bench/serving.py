"""`graftwork bench serve`: the same load against bare vLLM, Ray Serve LLM's default app and ours, one after another."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.bench.peers import Engine, running_peer
from deploy.local.runtime import running_instance
from deploy.local.transient import transient_instance
from indexer.errors import ConflictError, GraftworkError
from serve.bench.figures import Ratio, Run, ratios_of
from serve.bench.load import Load, measure
from serve.bench.peers import OURS
from serve.tokens import token_counter
from train.base_model import resolve_base
from train.registry.registry import AdapterRegistry

if TYPE_CHECKING:
    from deploy.local.state import InstanceState
    from deploy.settings import Settings


@dataclass(frozen=True, slots=True)
class Measured:
    """One server.

    Attributes:
        start_s: Seconds from its first process to the first token of each model.
        runs: What was measured.
        problem: Why there is nothing; None where there is.
    """

    start_s: float
    runs: tuple[Run, ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """All servers.

    Attributes:
        base_model: Name of the model.
        cores: CPU cores of this process.
        load: What was sent.
        peers: What became of each server, in the order of their starts.
        ratios: Ours over each of the others.
    """

    base_model: str
    cores: int
    load: Load
    peers: Mapping[str, Measured] = field(default_factory=dict)
    ratios: tuple[Ratio, ...] = ()


def compare(
    settings: Settings, *, peers: Sequence[str], load: Load, adapter: str | None, tell: Callable[[str], None]
) -> Comparison:
    """Start each server, load it, stop it; a server that does not start is told of and left out.

    Args:
        settings: The settings: base model, engine arguments, LoRA slots.
        peers: Names of the servers, see `serve.bench.peers.PEERS`.
        load: What is sent.
        adapter: Folder of a PEFT adapter or NAME[@VERSION] of the registry, to be measured besides the base, if any.
        tell: Takes what is being done.

    Raises:
        ConflictError: An instance of this home is up, and would take part in what is measured.
        GraftworkError: The base model or the adapter is not there.
    """
    if running_instance(settings) is not None:
        raise ConflictError(f"An instance of {settings.home} is up and would share cores; run `graftwork down` first.")
    tell("reading the base model")
    base = resolve_base(settings.train.base_model, models_dir=settings.train.models_dir)
    count_tokens = token_counter(base.path)
    measured: dict[str, Measured] = {}
    with (
        _adapter_folder(settings, adapter) as folder,
        transient_instance(settings, need_ray=False, need_milvus=False) as state,
    ):
        engine = Engine(settings, base, folder)
        for name in peers:
            measured[name] = _measure(name, engine, state, load=load, count_tokens=count_tokens, tell=tell)
    runs = {name: one.runs for name, one in measured.items()}
    ours = runs.pop(OURS, ())
    cores = len(os.sched_getaffinity(0))
    return Comparison(base.name, cores, load, measured, ratios_of(ours, runs))


def _measure(
    name: str,
    engine: Engine,
    state: InstanceState,
    *,
    load: Load,
    count_tokens: Callable[[str], int],
    tell: Callable[[str], None],
) -> Measured:
    def tell_of(what: str) -> None:
        tell(f"{name}: {what}")

    begun = time.monotonic()
    start_s = 0.0
    try:
        with running_peer(name, engine, state=state, tell=tell_of) as target:
            start_s = time.monotonic() - begun
            runs = asyncio.run(measure(target, load, count_tokens=count_tokens, tell=tell_of))
            tell_of("stopping")
    except GraftworkError as error:
        return Measured(start_s or time.monotonic() - begun, problem=str(error))
    return Measured(start_s, runs)


@contextmanager
def _adapter_folder(settings: Settings, adapter: str | None) -> Iterator[Path | None]:
    if adapter is None:
        yield None
        return
    folder = Path(adapter).expanduser()
    if folder.is_dir():
        yield folder
        return
    registry = AdapterRegistry(
        settings.train.registry,
        cache_dir=settings.serve.adapter_cache_dir,
        cache_bytes=settings.serve.adapter_cache_bytes,
    )
    with registry.fetched(registry.resolve(adapter)) as fetched:
        yield fetched
