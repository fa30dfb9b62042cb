from __future__ import annotations

import numpy as np
import pytest

from indexer.embedding.embedder import Embedder
from indexer.errors import ConflictError
from indexer.evaluation.questions import Question, Section
from indexer.run.state import gather
from indexer.run.verify import (
    Expected,
    broken_documents,
    exact_scores,
    quality_problems,
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
    assert quality_problems(found, min_recall=0.9, min_hits=0.8, unknown=["Why?"]) == [
        "the index finds 0.850 of the true neighbours of 40 stored vectors, indexer.verify_min_recall asks for 0.9",
        "0.500 of 4 golden questions find what they name (1 name nothing that is stored, first 'Why?'), "
        "indexer.verify_min_hits asks for 0.8",
    ]
    assert quality_problems(Verification("", 0, None, 0), min_recall=1.0, min_hits=1.0) == []


def test_a_generation_passes_with_figures_and_fails_on_a_lost_row_or_another_tenants(
    store: MilvusStore, settings: IndexerSettings
) -> None:
    made = store.ensure_generation("verified", embedder="m@1", dimension=8)
    chunks = [chunk(f"text {n}", ordinal=n, chunk_count=40) for n in range(40)]
    store.upsert(made.physical, chunks, unit_vectors(40), tenant="t")
    expected = [Expected(tenant="t", hashes={"docs/a.md": "h1"})]
    found = verify(store, made, expected, settings=settings)
    assert (found.chunks, found.recall, found.sample, found.hits) == (40, 1.0, 40, None)

    store.delete_chunks(made.physical, [chunks[7].chunk_id], tenant="t")
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
    headings = ("Bees", "Pump")
    chunks = [chunk(text, document_id=f"d/{n}.md", heading_path=headings[n : n + 1]) for n, text in enumerate(texts)]
    store.upsert(made.physical, chunks, embedder.encode_documents(texts), tenant="t")
    expected = [Expected("t", {"d/0.md": "h1", "d/1.md": "h1"})]
    bees = Question(question="What do bees do?", gold=("d/0.md",))
    pump = Question(question="What needs oil?", gold=(Section(document="d/1.md", heading="Pump"),))
    found = verify(store, made, expected, settings=settings, questions=[bees, pump])
    assert (found.hits, found.questions) == (1.0, 2)
    absent = Question(question="What is absent?", gold=("d/absent.md",))
    with pytest.raises(ConflictError, match=r"0\.500 of 2 golden questions .*1 name nothing.*'What is absent\?'"):
        verify(store, made, expected, settings=settings, questions=[bees, absent])
