from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from indexer.errors import InputError
from serve.catalog import Catalog
from serve.residency.engine import EngineAdapter
from serve.residency.manager import Residency
from serve.residency.upkeep import Upkeep, Wanted, wanted_of
from tests.serve.layers.conftest import Files, manifest
from tests.serve.residency.test_manager import RecordingEngine

FIRST, SECOND = manifest("ropes", 1, 1), manifest("ropes", 2, 2)


class Registry:
    """Says what is wanted, as a catalogue does."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.files = Files()

    def __call__(self) -> Wanted:
        return self.wanted


def make(engine: RecordingEngine, wanted: Wanted, *, capacity: int = 2) -> tuple[Upkeep, Residency, Registry]:
    registry = Registry(wanted)
    residency = Residency(engine, capacity=capacity, wait_s=1)
    upkeep = Upkeep(residency, wanted=registry, files=registry.files.use, interval_s=0.02, drain_s=0.05)
    return upkeep, residency, registry


async def test_a_replica_is_ready_when_its_pins_are_loaded() -> None:
    engine = RecordingEngine(load_s=0.05)
    upkeep, residency, _ = make(engine, Wanted(served=frozenset({1, 2}), pinned=(FIRST, SECOND)))
    await upkeep.settle(timeout_s=2)
    assert upkeep.unready() is None
    assert engine.loaded == {1, 2}
    assert residency.resident == ("ropes@1", "ropes@2")


async def test_a_pin_that_the_engine_refuses_keeps_it_unready_and_names_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = RecordingEngine(refuse=frozenset({1}))
    upkeep, _, _ = make(engine, Wanted(served=frozenset({1}), pinned=(FIRST,)))
    with caplog.at_level(logging.WARNING, "graftwork.serve"):
        await upkeep.settle(timeout_s=2)
        await upkeep.look()
    why = upkeep.unready()
    assert why is not None
    assert "the engine refused one" in why
    assert "ropes" not in why
    assert "pinned adapter ropes@1 is not loaded: no ropes@1" in caplog.text


async def test_pins_without_usable_files_or_places_keep_it_unready() -> None:
    upkeep, residency, registry = make(
        RecordingEngine(), Wanted(served=frozenset({1, 2}), pinned=(FIRST, SECOND)), capacity=1
    )
    await upkeep.settle(timeout_s=0.1)
    assert "more of them than places" in str(upkeep.unready())
    registry.wanted = Wanted(served=frozenset({1}), pinned=(FIRST,))
    await upkeep.settle(timeout_s=2)
    assert upkeep.unready() is None
    registry.files.error = InputError("damaged: /registry/x")
    await upkeep.look()
    assert "the files of one cannot be used" in str(upkeep.unready())
    assert "/registry" not in str(upkeep.unready())
    registry.wanted = Wanted(served=frozenset({1}))
    await upkeep.look()
    assert upkeep.unready() is None
    assert residency.resident == ("ropes@1",)


async def test_what_no_name_leads_to_any_more_is_freed_and_a_long_drain_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = RecordingEngine()
    upkeep, residency, registry = make(engine, Wanted(served=frozenset({1, 2})))
    async with residency.lease(EngineAdapter(1, "ropes@1", Path("/r"))):
        registry.wanted = Wanted(served=frozenset({2}))
        following = asyncio.create_task(upkeep.follow())
        with caplog.at_level(logging.WARNING, "graftwork.serve"):
            await asyncio.sleep(0.2)
        assert "retired adapter ropes@1 is still used by 1 requests" in caplog.text
        assert engine.loaded == {1}
    await asyncio.sleep(0.1)
    following.cancel()
    assert engine.loaded == set()
    assert residency.resident == ()


def test_what_a_catalogue_wants() -> None:
    catalog = Catalog(
        revision=1,
        base_name="base",
        specialists={},
        adapters={"ropes@1": FIRST, "ropes@2": SECOND},
    )
    assert wanted_of(catalog, pinned=["ropes@1", "gone@1"]) == Wanted(
        served=frozenset({1, 2}), pinned=(FIRST,), absent=("gone@1",)
    )
