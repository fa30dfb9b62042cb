from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from indexer.run.state import Fingerprint
from indexer.run.tables import (
    SOURCE_SCHEMA,
    chunks_from_table,
    chunks_to_table,
    embedded_count,
    fingerprints_from_table,
    fingerprints_to_table,
    sources_from_table,
    sources_to_rows,
    texts_to_embed,
    with_vectors,
)
from indexer.sources.uris import file_path
from indexer.types import FailedDocument
from tests.indexer.making import chunk, source, unit_vectors

FAILED = FailedDocument(uri="file:///x", stage="parse", reason="bad")


def test_chunks_and_failures_come_back_as_they_went() -> None:
    chunks = [chunk("one", page=3), chunk("two", ordinal=1, heading_path=(), metadata=())]
    table = chunks_to_table([chunks[0], FAILED, chunks[1]])
    assert texts_to_embed(table) == [made.search_text for made in chunks]
    vectors = unit_vectors(2, dimension=4)
    back, back_vectors, failures = chunks_from_table(with_vectors(table, vectors).slice(0))
    assert back == chunks
    assert failures == [FAILED]
    np.testing.assert_array_equal(back_vectors, vectors)


def test_a_slice_keeps_its_own_vectors() -> None:
    table = with_vectors(chunks_to_table([chunk(text) for text in "abcd"]), unit_vectors(4))
    _, vectors, _ = chunks_from_table(table.slice(2, 1))
    np.testing.assert_array_equal(vectors, unit_vectors(4)[2:3])


def test_known_vectors_stay_and_their_texts_are_not_embedded() -> None:
    chunks = [chunk(text, ordinal=number) for number, text in enumerate("abc")]
    known = unit_vectors(1, seed=1)
    table = chunks_to_table([chunks[0], FAILED, chunks[1], chunks[2]], stored={chunks[1].chunk_id: known[0]})
    assert texts_to_embed(table) == [chunks[0].search_text, chunks[2].search_text]
    assert embedded_count(table) == 0
    done = with_vectors(table, unit_vectors(2))
    _, vectors, _ = chunks_from_table(done)
    np.testing.assert_array_equal(vectors, [unit_vectors(2)[0], known[0], unit_vectors(2)[1]])
    assert [embedded_count(done), embedded_count(done.slice(2))] == [2, 1]
    assert texts_to_embed(done) == []


def test_only_failures() -> None:
    chunks, vectors, failures = chunks_from_table(chunks_to_table([FAILED]))
    assert (chunks, len(vectors), failures) == ([], 0, [FAILED])


def test_sources_keep_paths_that_are_not_utf8() -> None:
    path = os.fsdecode(b"/docs/caf\xe9.md")
    odd = replace(source(path), source_id="docs/caf?.md")
    table = pa.Table.from_pylist(sources_to_rows([(odd, ("k",))]), schema=SOURCE_SCHEMA)
    [(back, skip)] = sources_from_table(table)
    assert (back, skip) == (odd, frozenset({"k"}))
    assert file_path(back.uri) == Path(path)


def test_fingerprints_come_back_as_they_went() -> None:
    items = [Fingerprint("d/a", None, "d/a", "1"), ("d/b", FAILED), Fingerprint("d/c", "k", "d/c#k", "2")]
    assert list(fingerprints_from_table(fingerprints_to_table(items))) == items
