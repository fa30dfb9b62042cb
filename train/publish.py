"""From a trained adapter to a published version: its gate, the engine check, the registry."""

from __future__ import annotations

from collections.abc import Sequence

from indexer.errors import GraftworkError
from train.engine.probe import probe_rows
from train.engine.verdict import Engine, EngineCheckError, Verdict, check_adapter, find_engine
from train.gate import GateError, unmet
from train.prepare import PreparedRun
from train.registry.manifest import AdapterManifest, Provenance
from train.registry.publishing import publish_adapter
from train.registry.registry import AdapterRegistry
from train.starts import served_rank
from train.types import TrainRequest
from train.unpublished import UnpublishedAdapter


def engine_for(prepared: PreparedRun) -> Engine | None:
    """The engine that a run's adapter will be checked in, on the initialised Ray cluster; None where it is not to be.

    Raises:
        UnavailableError: The cluster lacks the engine, or room for it.
    """
    settings = prepared.plan.settings
    if not settings.engine_check:
        return None
    rank = served_rank(settings.rank, start=settings.lora.get("init_lora_weights"))
    return find_engine(settings, base=prepared.base, rank=rank)


def publish(
    adapter: UnpublishedAdapter,
    prepared: PreparedRun,
    *,
    request: TrainRequest,
    registry: AdapterRegistry,
    engine: Engine | None,
) -> AdapterManifest:
    """Publish a trained adapter, if its gate and the engine let it.

    Args:
        adapter: What was trained.
        prepared: The run that trained it.
        request: As it was asked for.
        registry: Where it goes.
        engine: What it is checked in; None: it is not, and is marked unverified.

    Raises:
        GateError: The scores are not what the gate asks for; the adapter is kept in the run's folder.
        EngineCheckError: The engine does not compute with it what PEFT does; it is kept there, too.
        GraftworkError: As `publish_adapter` does.
    """
    if reasons := unmet(prepared.gate, adapter.scores):
        raise _kept_back(GateError, reasons, adapter, prepared=prepared, name=request.name)
    verdict = None if engine is None else _checked(adapter, engine=engine, prepared=prepared)
    if verdict is not None and verdict.fault is not None:
        raise _kept_back(EngineCheckError, (verdict.fault,), adapter, prepared=prepared, name=request.name)
    return publish_adapter(
        adapter.folder,
        registry=registry,
        name=request.name,
        base=prepared.base,
        provenance=Provenance(
            dataset=prepared.dataset,
            training=adapter.record,
            engine=None if verdict is None else verdict.record,
            unverified=verdict is None,
            created_by=request.created_by,
        ),
        scores=adapter.scores or None,
        make_stable=request.make_stable,
    )


def _checked(adapter: UnpublishedAdapter, *, engine: Engine, prepared: PreparedRun) -> Verdict:
    """Hold the engine against PEFT on held-out rows, or where there are none on training rows."""
    rows = prepared.rows.evaluation or prepared.rows.train
    return check_adapter(
        adapter.folder,
        engine=engine,
        base_model=prepared.plan.base_model,
        base=prepared.base,
        rows=probe_rows(rows),
        settings=prepared.plan.settings,
    )


def _kept_back(
    kind: type[GraftworkError], reasons: Sequence[str], adapter: UnpublishedAdapter, *, prepared: PreparedRun, name: str
) -> GraftworkError:
    """Keep an adapter that is not published in its run's folder; the error that says so."""
    kept = adapter.kept(prepared.plan.settings.storage_path / adapter.record.run).folder
    return kind(
        f"The adapter {name} is not published: {'; '.join(reasons)}; it is kept in {kept}, and "
        f"`graftwork adapters import {kept} --name {name}` publishes it all the same."
    )
