from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from indexer.embedding.embedder import Embedder
from indexer.errors import ConflictError, InputError, NotFoundError
from indexer.run.state import gather
from indexer.run.verify import (
    Expected,
    Question,
    broken_documents,
    exact_scores,
    quality_problems,
    read_questions,
    recall_of,
    verify,
)
from indexer.settings import IndexerSettings
from indexer.store.milvus import MilvusStore
from indexer.types import Verification
from tests.indexer.making import chunk, unit_vectors
from tests.indexer.run.test_state import rows


def test_exact_scores_do_not_depend_on_the_pages() -> None:
    vectors, queries = unit_vectors(50), 3 * unit_vectors(4, seed=1)
    whole = exact_scores(queries, [vectors], k=5)
    paged = exact_scores(queries, [vectors[:3], vectors[3:40], vectors[40:]], k=5)
    np.testing.assert_allclose(paged, whole, atol=1e-6)
    np.testing.assert_allclose(whole, -np.sort(-(unit_vectors(4, seed=1) @ vectors.T), axis=1)[:, :5], atol=1e-6)
    assert exact_scores(queries, [vectors[:2]], k=5).shape == (4, 2)


def test_recall_counts_equal_neighbours_and_missing_ones() -> None:
    exact = np.asarray([1.0, 0.9, 0.9], dtype=np.float32)
    assert recall_of([1.0, 0.90003, 0.89995], exact) == 1.0
    assert recall_of([1.0, 0.9, 0.5], exact) == pytest.approx(2 / 3)
    assert recall_of([1.0], exact) == pytest.approx(1 / 3)


def test_documents_that_are_not_whole_are_named() -> None:
    stored = gather([*rows("d/a", "1", 2), *rows("d/b", "1", 1, of=3)])
    assert broken_documents(stored, expected={"d/a": "1"}) == []
    [problem] = broken_documents(stored, expected={"d/a": "1", "d/b": "1", "d/c": "1"})
    assert problem == "2 documents are not stored in whole (first 'd/b')"
    assert broken_documents(stored, expected={"d/a": "2"})


def test_figures_below_their_bars_are_named() -> None:
    found = Verification(at="", chunks=9, recall=0.85, sample=40, hits=0.5, questions=4)
    assert quality_problems(found, min_recall=0.85, min_hits=0.5) == []
    problems = quality_problems(found, min_recall=0.9, min_hits=0.8)
    assert ["0.850" in problems[0], "0.500 of 4 golden" in problems[1]] == [True, True]
    assert quality_problems(Verification("", 0, None, 0), min_recall=1.0, min_hits=1.0) == []


def test_golden_questions_are_read_and_a_bad_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text('{"question": "Why?", "document": "d/a.md"}\n\n')
    assert read_questions(path) == [Question("Why?", "d/a.md")]
    path.write_text('{"question": "Why?", "document": "d/a.md"}\n{"question": "No"}\n')
    with pytest.raises(InputError, match="line 2"):
        read_questions(path)
    path.write_text("\n")
    with pytest.raises(InputError, match="no golden question"):
        read_questions(path)
    with pytest.raises(NotFoundError, match="absent"):
        read_questions(tmp_path / "absent")


def test_a_generation_passes_with_figures_and_fails_on_a_lost_row_or_another_tenants(
    store: MilvusStore, settings: IndexerSettings
) -> None:
    made = store.ensure_generation("verified", embedder="m@1", dimension=8)
    chunks = [chunk(f"text {n}", ordinal=n, chunk_count=40) for n in range(40)]
    store.upsert(made.physical, chunks, unit_vectors(40), tenant="t")
    expected = [Expected(tenant="t", hashes={"docs/a.md": "h1"})]
    found = verify(store, made, expected, settings=settings)
    assert (found.chunks, found.recall, found.sample, found.hits) == (40, 1.0, 40, None)

    store.delete_chunks(made.physical, [chunks[7].chunk_id])
    with pytest.raises(ConflictError, match=r"39 rows are counted where 40 chunks were cut.*verified__g1"):
        verify(store, made, expected, settings=settings)
    store.upsert(made.physical, chunks, unit_vectors(40), tenant="t")
    store.upsert(made.physical, [chunk("foreign", tenant="other")], unit_vectors(1), tenant="other")
    with pytest.raises(ConflictError, match="41 rows are counted where 40 chunks were cut"):
        verify(store, made, expected, settings=settings)


def test_an_index_that_finds_too_little_is_refused(store: MilvusStore, settings: IndexerSettings) -> None:
    """The index here is whole, so what it finds is cut short."""
    made = store.ensure_generation("deaf", embedder="m@1", dimension=8)
    store.upsert(made.physical, [chunk("text")], unit_vectors(1), tenant="t")

    class Deaf(MilvusStore):
        def search_dense(self, *arguments: object, **options: object) -> list[tuple[()]]:  # type: ignore[override]
            return [()]

    deaf = Deaf(store.uri)
    with pytest.raises(ConflictError, match=r"the index finds 0.000 of the true neighbours of 1 stored"):
        verify(deaf, made, [Expected("t", {"docs/a.md": "h1"})], settings=settings)
    deaf.close()


def test_golden_questions_decide_too(store: MilvusStore, settings: IndexerSettings, embedder: Embedder) -> None:
    made = store.ensure_generation("golden", embedder=embedder.identity, dimension=embedder.dimension)
    texts = ["Bees pollinate apple trees.", "The pump needs oil."]
    chunks = [chunk(text, document_id=f"d/{n}.md") for n, text in enumerate(texts)]
    store.upsert(made.physical, chunks, embedder.encode_documents(texts), tenant="t")
    expected = [Expected("t", {"d/0.md": "h1", "d/1.md": "h1"})]
    right = [Question("What do bees do?", "d/0.md")]
    found = verify(store, made, expected, settings=settings, questions=right)
    assert (found.hits, found.questions) == (1.0, 1)
    with pytest.raises(ConflictError, match=r"0\.500 of 2 golden questions"):
        verify(store, made, expected, settings=settings, questions=[*right, Question("What?", "d/absent.md")])
