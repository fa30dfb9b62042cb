from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from indexer.errors import UnavailableError
from serve.residency.engine import EngineAdapter
from serve.residency.manager import Residency


class RecordingEngine:
    """Stands where vLLM stands; counts, and can be slow or refuse, which a real engine does only with much help."""

    def __init__(
        self, *, refuse: frozenset[int] = frozenset(), keep: frozenset[int] = frozenset(), load_s: float = 0.005
    ) -> None:
        self.loaded: set[int] = set()
        self.loads: Counter[int] = Counter()
        self.tries: Counter[int] = Counter()
        self.most = 0
        self.refuse = refuse
        self.keep = keep
        self.load_s = load_s

    async def load_adapter(self, adapter: EngineAdapter) -> None:
        self.tries[adapter.engine_id] += 1
        await asyncio.sleep(self.load_s)
        if adapter.engine_id in self.refuse:
            raise UnavailableError(f"no {adapter.engine_name}")
        self.loaded.add(adapter.engine_id)
        self.loads[adapter.engine_id] += 1
        self.most = max(self.most, len(self.loaded))

    async def unload_adapter(self, adapter: EngineAdapter) -> None:
        await asyncio.sleep(0.001)
        if adapter.engine_id in self.keep:
            raise UnavailableError(f"kept {adapter.engine_name}")
        self.loaded.discard(adapter.engine_id)

    async def list_adapters(self) -> frozenset[int]:
        found = frozenset(self.loaded)
        await asyncio.sleep(0.001)
        return found


def adapter(number: int) -> EngineAdapter:
    return EngineAdapter(engine_id=number, engine_name=f"a{number}@1", path=Path(f"/a{number}"))


async def test_files_are_needed_from_the_wait_for_an_adapter_until_the_engine_has_let_it_go() -> None:
    engine = RecordingEngine(load_s=0.02)
    residency = Residency(engine, capacity=1, wait_s=1)
    done = asyncio.Event()

    async def request(number: int) -> None:
        async with residency.lease(adapter(number)):
            await done.wait()

    asked = [asyncio.create_task(request(1))]
    await asyncio.sleep(0)
    assert residency.needed == {"a1@1"}
    while not residency.resident:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    asked.append(asyncio.create_task(request(2)))
    await asyncio.sleep(0.01)
    assert residency.needed == {"a1@1", "a2@1"}
    residency.keep(pinned=[adapter(3)], retired=())
    assert residency.needed == {"a1@1", "a2@1", "a3@1"}
    residency.keep(pinned=[], retired=())
    done.set()
    await asyncio.gather(*asked)
    assert residency.needed == {"a2@1"}


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
    residency = Residency(RecordingEngine(), capacity=1, wait_s=0.3)
    async with residency.lease(adapter(1)):
        with pytest.raises(UnavailableError, match=r"a2@1 found no place among 1 within 0.3 s"):
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


async def use(residency: Residency, number: int) -> None:
    async with residency.lease(adapter(number)):
        pass


async def test_a_refused_adapter_is_tried_once_and_evicts_no_more_for_some_seconds() -> None:
    engine, now = RecordingEngine(refuse=frozenset({9})), 100.0
    residency = Residency(engine, capacity=2, wait_s=1, clock=lambda: now)
    for number in (1, 2):
        await use(residency, number)
    for _ in range(3):
        answers = await asyncio.gather(*(use(residency, 9) for _ in range(10)), return_exceptions=True)
        assert all(isinstance(answer, UnavailableError) and str(answer) == "no a9@1" for answer in answers)
    assert engine.tries[9] == 1
    assert len(engine.loaded) == 1
    await asyncio.gather(*(use(residency, number) for number in (1, 2)))
    assert engine.loaded == {1, 2}
    now += 5.0
    engine.refuse = frozenset()
    await use(residency, 9)
    assert 9 in engine.loaded


async def test_waiters_of_a_refused_adapter_do_not_make_others_load_it_again() -> None:
    engine = RecordingEngine(refuse=frozenset({9}))
    residency = Residency(engine, capacity=1, wait_s=1)
    requests = [use(residency, number) for number in (9, 1, 9, 2, 9)]
    await asyncio.gather(*requests, return_exceptions=True)
    assert engine.tries == {9: 1, 1: 1, 2: 1}


async def test_an_adapter_the_engine_does_not_free_stays_in_the_books() -> None:
    engine = RecordingEngine(keep=frozenset({1}))
    residency = Residency(engine, capacity=2, wait_s=1)
    for number in (1, 2):
        await use(residency, number)
    with pytest.raises(UnavailableError, match="kept a1@1"):
        await use(residency, 3)
    assert residency.resident == ("a1@1", "a2@1")
    await use(residency, 4)
    assert residency.resident == ("a1@1", "a4@1")
    assert engine.most == 2


async def test_a_slow_load_is_not_called_a_lack_of_places() -> None:
    residency = Residency(RecordingEngine(load_s=0.2), capacity=1, wait_s=0.02)
    with pytest.raises(UnavailableError, match=r"a1@1 was still being loaded after 0\.02 s"):
        await use(residency, 1)


async def test_time_waited_before_the_lease_counts() -> None:
    residency = Residency(RecordingEngine(load_s=0.2), capacity=1, wait_s=60)
    with pytest.raises(UnavailableError, match="after 60 s"):
        async with residency.lease(adapter(1), waited_s=59.99):
            pytest.fail("the time was up")


async def test_a_waiter_that_leaves_lets_others_evict_what_it_waited_for() -> None:
    """Adapter 1 becomes idle while a request waits for it, and that request goes away before it got it."""
    engine = RecordingEngine()
    residency = Residency(engine, capacity=1, wait_s=2)
    leaving, staying = asyncio.create_task(use(residency, 1)), asyncio.create_task(use(residency, 2))
    await asyncio.sleep(0)
    residency._loading[1].add_done_callback(lambda _: leaving.cancel())
    await asyncio.wait_for(staying, timeout=1)
    assert engine.loaded == {2}


async def stream(residency: Residency, number: int, *, until: float, rests_s: float = 0.0) -> list[float]:
    """Asks for one adapter again and again; the seconds that each turn was waited for."""
    clock = asyncio.get_running_loop().time
    waits = []
    while clock() < until:
        since = clock()
        async with residency.lease(adapter(number)):
            waits.append(clock() - since)
            await asyncio.sleep(0.01)
        await asyncio.sleep(rests_s)
    return waits


async def test_an_adapter_that_is_always_in_use_gives_way_after_its_cycle() -> None:
    """Four overlapping streams never leave the only slot empty by themselves."""
    engine = RecordingEngine(load_s=0.001)
    residency = Residency(engine, capacity=1, wait_s=5, cycle_s=0.05)
    until = asyncio.get_running_loop().time() + 1.0
    constant = [asyncio.create_task(stream(residency, 1, until=until)) for _ in range(4)]
    await asyncio.sleep(0.02)
    waits = await stream(residency, 2, until=until, rests_s=0.05)
    await asyncio.gather(*constant)
    assert len(waits) >= 5
    assert max(waits) < 0.3
    assert residency.standing.swaps >= 10


async def test_64_adapters_on_4_slots_have_all_their_turn_within_the_bound() -> None:
    """The popular ones ask without pause, as a Zipf mix would; the bound is that of `Residency`'s docstring."""
    engine = RecordingEngine(load_s=0.002)
    cycle_s, request_s, slack_s = 0.03, 0.01, 0.06
    residency = Residency(engine, capacity=4, wait_s=30, cycle_s=cycle_s)
    until = asyncio.get_running_loop().time() + 3.0
    streams = [
        asyncio.create_task(stream(residency, number, until=until))
        for number in range(1, 65)
        for _ in range(max(1, 16 // number))
    ]
    waits = await asyncio.gather(*streams)
    assert engine.most <= 4
    assert set(engine.loads) == set(range(1, 65))
    bound_s = (64 / 4) * (cycle_s + request_s + engine.load_s + slack_s)
    assert max(wait for line in waits for wait in line) < bound_s
    assert min(len(line) for line in waits) >= 2
    assert residency.standing.worst_wait_s < bound_s


async def test_no_more_adapters_are_in_use_at_once_than_there_are_slots() -> None:
    residency = Residency(RecordingEngine(), capacity=6, slots=2, wait_s=5, cycle_s=0.02)
    most = 0

    async def request(number: int) -> None:
        nonlocal most
        async with residency.lease(adapter(number)):
            most = max(most, residency.standing.in_use)
            await asyncio.sleep(0.005)

    await asyncio.gather(*(request(1 + n % 6) for n in range(48)))
    assert most == 2
    assert residency.standing.resident == 6
    assert residency.standing.swaps == 0


async def test_a_pinned_adapter_is_loaded_and_stays() -> None:
    engine = RecordingEngine()
    residency = Residency(engine, capacity=2, wait_s=1)
    residency.keep(pinned=[adapter(1)], retired=())
    assert residency.missing_pins() == {"a1@1": "it is being loaded"}
    for number in (2, 3, 4, 5):
        await use(residency, number)
    assert 1 in engine.loaded
    assert engine.loads[1] == 1
    assert residency.missing_pins() == {}


async def test_a_pinned_adapter_that_cannot_be_loaded_says_why_and_is_tried_again() -> None:
    engine, now = RecordingEngine(refuse=frozenset({1})), 100.0
    residency = Residency(engine, capacity=2, wait_s=1, clock=lambda: now)
    residency.keep(pinned=[adapter(1)], retired=())
    await asyncio.sleep(0.05)
    assert residency.missing_pins() == {"a1@1": "no a1@1"}
    engine.refuse = frozenset()
    now += 6.0
    residency.keep(pinned=[adapter(1)], retired=())
    await asyncio.sleep(0.05)
    assert residency.missing_pins() == {}


async def test_more_pins_than_places_are_said() -> None:
    residency = Residency(RecordingEngine(), capacity=1, wait_s=1)
    residency.keep(pinned=[adapter(1), adapter(2)], retired=())
    await asyncio.sleep(0.05)
    assert residency.missing_pins() == {"a2@1": "2 adapters are pinned and 1 have a place"}


async def test_a_retired_adapter_is_freed_when_its_last_request_has_ended() -> None:
    engine = RecordingEngine()
    residency = Residency(engine, capacity=2, wait_s=1)
    async with residency.lease(adapter(1)):
        residency.keep(pinned=(), retired={1})
        await asyncio.sleep(0.02)
        assert engine.loaded == {1}
        assert residency.in_use_of({1}) == {"a1@1": 1}
    await asyncio.sleep(0.02)
    assert engine.loaded == set()


async def test_what_the_engine_lost_or_has_besides_is_told_and_mended() -> None:
    engine, events = RecordingEngine(), []
    residency = Residency(engine, capacity=3, wait_s=1, on_event=events.append)
    for number in (1, 2):
        await use(residency, number)
    async with residency.lease(adapter(3)):
        engine.loaded -= {1, 3}
        engine.loaded |= {77}
        events.clear()
        await residency.reconcile()
        await asyncio.sleep(0.05)
        assert engine.loaded == {2, 3}
    assert residency.resident == ("a2@1", "a3@1")
    told = [(event.kind, event.adapter) for event in events]
    assert [each for each in told if each[0] in ("lost", "stray")] == [
        ("lost", "a1@1"),
        ("lost", "a3@1"),
        ("stray", "number 77"),
    ]
    await use(residency, 1)
    assert engine.loads[1] == 2


async def test_an_engine_that_agrees_has_nothing_mended_while_adapters_come_and_go() -> None:
    engine, events = RecordingEngine(), []
    residency = Residency(engine, capacity=2, wait_s=5, cycle_s=0.02, on_event=events.append)

    async def look() -> None:
        for _ in range(50):
            await residency.reconcile()
            await asyncio.sleep(0.002)

    requests = [use(residency, 1 + n % 5) for n in range(60)]
    await asyncio.gather(look(), *requests)
    assert {event.kind for event in events} == {"load", "evict"}
