from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from indexer.errors import InputError
from train.registry.index import EVENTS_KEPT, AdapterEntry, Canary, RegistryIndex, parse_index, write_index

# As the first Graftwork wrote it, before there were canaries and events.
FIRST = """{
  "api_version": "graftwork.dev/v1", "revision": 7, "next_engine_id": 4,
  "adapters": {"a": {"versions": [1, 2], "stable": 2}, "b": {"versions": [1], "stable": null}},
  "specialists": ["s"]
}"""
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_an_index_of_the_first_graftwork_is_read() -> None:
    index = parse_index(FIRST.encode(), where="index.json")
    assert (index.revision, index.next_engine_id, index.specialists) == (7, 4, ("s",))
    assert index.adapters["a"] == AdapterEntry(versions=(1, 2), stable=2)
    assert (index.events, index.reserved) == ((), {})
    assert index.reserving("a")[1:] == (3, 4)


def test_an_index_reads_back_as_written() -> None:
    entry = AdapterEntry(
        versions=(1, 2, 3), stable=2, former=(1,), canary=Canary(version=3, percent=5), retired=(1,), pinned=(2,)
    )
    index = RegistryIndex().with_entry("a", entry).recorded("pin", who="me", at=NOW, adapter="a", after="2 pinned")
    index = index.reserving("b")[0].with_specialists(["z", "y", "z"])
    assert parse_index(write_index(index), where="x") == index
    assert index.specialists == ("y", "z")


def test_an_event_says_who_when_from_and_to() -> None:
    index = RegistryIndex(revision=4).recorded("promote", who="ann", at=NOW, adapter="a", before="2", after="3")
    assert json.loads(write_index(index))["events"] == [
        {
            "revision": 5,
            "at": "2026-01-02T03:04:05Z",
            "who": "ann",
            "verb": "promote",
            "adapter": "a",
            "from": "2",
            "to": "3",
        }
    ]


def test_the_last_events_are_kept() -> None:
    index = RegistryIndex()
    for number in range(EVENTS_KEPT + 5):
        index = index.recorded("pin", who="me", at=NOW, adapter="a", after=str(number))
    assert [event.revision for event in index.events] == list(range(6, EVENTS_KEPT + 6))


def test_numbers_are_given_out_once() -> None:
    index, given = RegistryIndex(), []
    for name in ("a", "a", "b", "a"):
        index, *numbers = index.reserving(name)
        given.append(tuple(numbers))
    assert given == [(1, 1), (2, 2), (1, 3), (3, 4)]
    index = index.with_entry("a", AdapterEntry(versions=(1, 2), stable=1))
    assert index.reserved == {"a": 3, "b": 1}
    assert index.reserving("a")[1] == 4
    assert index.reserving("a", above=9)[1] == 10
    assert index.with_entry("a", AdapterEntry(versions=(1, 2, 3), stable=1)).reserved == {"b": 1}
    assert index.revision == 0


@pytest.mark.parametrize("field", [{"surprise": 1}, {"canary": {"version": 1, "percent": 0}}, {"versions": "x"}])
def test_what_is_no_index_is_refused(field: dict[str, object]) -> None:
    document = {"adapters": {"a": {"versions": [1], "stable": 1, **field}}}
    with pytest.raises(InputError, match=r"index\.json is not a registry index"):
        parse_index(json.dumps(document).encode(), where="index.json")
