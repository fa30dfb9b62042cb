from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from indexer.errors import UnavailableError
from serve.residency.manager import EngineAdapter, Residency


class RecordingEngine:
    """Stands where vLLM stands; counts, and can be slow or refuse, which a real engine does only with much help."""

    def __init__(self, *, refuse: frozenset[int] = frozenset()) -> None:
        self.loaded: set[int] = set()
        self.loads: Counter[int] = Counter()
        self.most = 0
        self.refuse = refuse

    async def load_adapter(self, adapter: EngineAdapter) -> None:
        await asyncio.sleep(0.005)
        if adapter.engine_id in self.refuse:
            raise UnavailableError(f"no {adapter.engine_name}")
        self.loaded.add(adapter.engine_id)
        self.loads[adapter.engine_id] += 1
        self.most = max(self.most, len(self.loaded))

    async def unload_adapter(self, adapter: EngineAdapter) -> None:
        await asyncio.sleep(0.001)
        self.loaded.discard(adapter.engine_id)


def adapter(number: int) -> EngineAdapter:
    return EngineAdapter(engine_id=number, engine_name=f"a{number}@1", path=Path(f"/a{number}"))


async def test_requests_for_one_adapter_share_one_load() -> None:
    engine = RecordingEngine()
    residency = Residency(engine, capacity=2, wait_s=1)

    async def request() -> None:
        async with residency.lease(adapter(1)):
            assert 1 in engine.loaded
            await asyncio.sleep(0)

    await asyncio.gather(*(request() for _ in range(20)))
    assert engine.loads == {1: 1}
    assert residency.resident == ("a1@1",)


async def test_many_adapters_on_few_places_are_all_served_and_never_evicted_in_use() -> None:
    engine = RecordingEngine()
    residency = Residency(engine, capacity=3, wait_s=5)

    async def request(number: int) -> None:
        async with residency.lease(adapter(number)):
            for _ in range(3):
                assert number in engine.loaded
                await asyncio.sleep(0.002)

    await asyncio.gather(*(request(1 + n % 10) for n in range(60)))
    assert engine.most <= 3
    assert set(engine.loads) == set(range(1, 11))


async def test_no_place_in_time_is_one_clear_refusal() -> None:
    residency = Residency(RecordingEngine(), capacity=1, wait_s=0.03)
    async with residency.lease(adapter(1)):
        with pytest.raises(UnavailableError, match=r"a2@1 found no place among 1 within 0.03 s"):
            async with residency.lease(adapter(2)):
                pytest.fail("the only place is taken")
    async with residency.lease(adapter(2)):
        assert residency.resident == ("a2@1",)


async def test_a_refused_adapter_leaves_its_place_to_others() -> None:
    engine = RecordingEngine(refuse=frozenset({1}))
    residency = Residency(engine, capacity=1, wait_s=1)
    with pytest.raises(UnavailableError, match="no a1@1"):
        async with residency.lease(adapter(1)):
            pytest.fail("it was refused")
    async with residency.lease(adapter(2)):
        assert engine.loaded == {2}


async def test_a_request_that_gives_up_does_not_cancel_the_load_others_wait_for() -> None:
    engine = RecordingEngine()
    residency = Residency(engine, capacity=1, wait_s=1)

    async def request() -> bool:
        async with residency.lease(adapter(1)):
            return 1 in engine.loaded

    impatient, patient = asyncio.create_task(request()), asyncio.create_task(request())
    await asyncio.sleep(0.001)
    impatient.cancel()
    assert await patient
    assert engine.loads == {1: 1}
