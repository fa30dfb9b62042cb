"""The decisions about imports, and how they are followed; imports themselves are in test_milvus_import.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

from indexer.errors import InputError, UnavailableError
from indexer.run.importing import check_imports, estimated_chunks, follow, rows_of, wants_import
from indexer.run.state import KnownDocument, Plan
from indexer.settings import IndexerSettings
from indexer.store.imports import ImportJob
from indexer.store.milvus import MilvusStore
from indexer.types import SourceFile


def bulk(limit: int) -> IndexerSettings:
    return IndexerSettings(bulk_above_chunks=limit, bulk_uri="s3://milvus/imports")


def planned(*source_ids: str) -> Plan:
    sources: dict[str, tuple[str, ...]] = dict.fromkeys(source_ids, ())
    return Plan(new=frozenset(source_ids), changed=frozenset(), unchanged=frozenset(), sources=sources, vanished=())


def file(source_id: str, size: int) -> SourceFile:
    return SourceFile(uri=f"file:///{source_id}", media_type="text/plain", bytes=size, source_id=source_id)


def job(number: int, *, done: bool = False, failed: str = "", rows: int = 0, percent: int = 0) -> ImportJob:
    return ImportJob(job=number, done=done, failed=failed, rows=rows, percent=percent)


def test_the_way_is_chosen_by_what_is_to_be_written_not_by_what_is_there() -> None:
    files = [file("a", 68_000), file("b", 68_000)]
    assert estimated_chunks(68_000, bulk(0)) == 100
    assert wants_import(planned("a", "b"), files, settings=bulk(199))
    assert not wants_import(planned("a", "b"), files, settings=bulk(200))
    assert not wants_import(planned("a"), files, settings=bulk(199))
    assert wants_import(planned("a"), files, settings=bulk(0))
    assert not wants_import(planned("a", "b"), files, settings=IndexerSettings())


def test_rows_are_counted_over_all_versions() -> None:
    assert rows_of({"a": KnownDocument(Counter({"h1": 2, "h2": 1})), "b": KnownDocument(Counter({"h1": 4}))}) == 7


def test_a_server_without_imports_is_refused_where_they_are_asked_for(store: MilvusStore) -> None:
    assert not store.can_import()
    check_imports(store, IndexerSettings())
    with pytest.raises(InputError, match=r"bulk_above_chunks is set, but Milvus at http://127.* does not import files"):
        check_imports(store, bulk(10))


def test_a_server_that_is_away_is_not_taken_for_one_without_imports() -> None:
    with pytest.raises(UnavailableError, match="cannot be reached"):
        check_imports(MilvusStore("http://127.0.0.1:1"), bulk(10))


class Clock:
    """Time that passes only in sleep."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def followed(
    answers: Iterable[list[ImportJob] | UnavailableError], *, timeout_s: float
) -> tuple[list[ImportJob], list[int]]:
    clock, told, given = Clock(), list[int](), iter(answers)

    def ask() -> list[ImportJob]:
        answer = next(given)
        if isinstance(answer, UnavailableError):
            raise answer
        return answer

    ended = follow(
        ask, where="c__g1", timeout_s=timeout_s, tell=told.append, sleep=clock.sleep, clock=lambda: clock.now
    )
    return list(ended), told


def test_imports_are_followed_until_all_have_ended_well_or_not() -> None:
    ended, told = followed(
        [
            [job(1), job(2)],
            [job(1, rows=5, percent=90), job(2)],
            UnavailableError("away"),
            [job(1, done=True, rows=5), job(2, failed="bad file", rows=3)],
        ],
        timeout_s=2.0,
    )
    assert [(one.done, one.failed) for one in ended] == [(True, ""), (False, "bad file")]
    assert told == [0, 5, 5]
    assert followed([[]], timeout_s=1.0) == ([], [0])


def test_the_limit_is_on_standing_still_not_on_the_whole() -> None:
    slow = [[job(1, percent=percent)] for percent in range(100)]
    ended, _ = followed([*slow, [job(1, done=True)]], timeout_s=2.0)
    assert ended[0].done
    with pytest.raises(UnavailableError, match=r"1 imports into c__g1 have stood still for 2 s"):
        followed([[job(1, percent=7), job(2, done=True)]] * 100, timeout_s=2.0)
    with pytest.raises(UnavailableError, match="away"):
        followed([[job(1)], *[UnavailableError("away")] * 100], timeout_s=2.0)
