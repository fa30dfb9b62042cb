"""How well Perl's manual answers the questions of its own FAQ: dense, BM25 and hybrid, on milvus-lite.

*closed*: nothing in the index holds the words of the question, as when users ask in words of their own. *open*: the
manual as it is, where most questions are a heading's own words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from indexer.chunking.chunks import chunker_settings, make_chunks
from indexer.embedding.embedder import Embedder
from indexer.embedding.files import EMBEDDED_NAME
from indexer.evaluation.evaluate import Evaluation, evaluate
from indexer.evaluation.measures import NDCG
from indexer.evaluation.questions import judge, read_questions
from indexer.parsers.base import ParseError, RawDocument
from indexer.parsers.document import build_document
from indexer.parsers.pod import PodParser
from indexer.search import Searcher
from indexer.settings import IndexerSettings
from indexer.sources.discovery import discover
from indexer.sources.stores import open_source
from indexer.store.milvus import MilvusStore
from indexer.types import Chunk
from tests.indexer.conftest import free_port, start_milvus, wait_until_listening
from tests.indexer.parsers.test_pod import NEEDS_PERL_DOC, PERL_DOC
from tests.perl_faq import FaqQuestion, faq_questions, question_line, words, write_closed_copy

# A run embeds 18,700 texts and reranks 50 passages for 306 questions twice: some 20 minutes on two idle cores that
# multiply bfloat16.
pytestmark = [pytest.mark.bench, NEEDS_PERL_DOC, pytest.mark.timeout(3600)]

TENANT = "perl"


@dataclass(frozen=True)
class Copy:
    """One form of the manual: its name, its chunks, and the file of questions for it."""

    name: str
    chunks: list[Chunk]
    questions: Path


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder(EMBEDDED_NAME)


@pytest.fixture(scope="module")
def faq() -> list[FaqQuestion]:
    return faq_questions(PERL_DOC[0])


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder, faq: list[FaqQuestion]) -> list[Copy]:
    return make_copies(tmp_path_factory.mktemp("manual"), embedder=embedder, faq=faq)


@pytest.fixture(scope="module")
def evaluations(
    tmp_path_factory: pytest.TempPathFactory, embedder: Embedder, copies: list[Copy]
) -> Iterator[dict[str, Evaluation]]:
    port = free_port()
    process = start_milvus(tmp_path_factory.mktemp("milvus"), port)
    try:
        uri = f"http://127.0.0.1:{port}"
        wait_until_listening(uri, timeout_s=60)
        store = MilvusStore(uri, timeout_s=120)
        vectors = embedded(copies, embedder)
        yield {copy.name: evaluated(copy, vectors, store=store, embedder=embedder) for copy in copies}
    finally:
        process.terminate()
        process.wait(timeout=20)


def test_no_chunk_of_the_closed_copy_contains_its_question(copies: list[Copy], faq: list[FaqQuestion]) -> None:
    texts = {copy.name: "\n".join(words(chunk.search_text) for chunk in copy.chunks) for copy in copies}
    assert len(faq) > 250
    assert [question.text for question in faq if words(question.text) in texts["closed"]] == []
    assert all(words(question.text) in texts["open"] for question in faq)


def test_hybrid_is_better_than_dense_alone(
    evaluations: dict[str, Evaluation], capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        for name, found in evaluations.items():
            print(f"\n\n{table(name, found)}")
    hybrids = evaluations["closed"].arms[2:4]
    assert max(arm.against_dense.low for arm in hybrids) > 0
    assert evaluations["closed"].advised.dense < 1


def make_copies(folder: Path, *, embedder: Embedder, faq: Sequence[FaqQuestion]) -> list[Copy]:
    """Return the manual as it is and with the FAQ's headings blanked, cut as the settings' defaults say."""
    closed = folder / "pod"
    closed.mkdir()
    write_closed_copy(PERL_DOC[0], faq, closed)
    copies = []
    for name, place in (("closed", closed), ("open", PERL_DOC[0])):
        lines = [question_line(question, root=place.name, closed=name == "closed") for question in faq]
        questions = folder / f"{name}.jsonl"
        questions.write_text("\n".join(lines))
        copies.append(Copy(name=name, chunks=chunks_of(place, embedder), questions=questions))
    return copies


def chunks_of(folder: Path, embedder: Embedder) -> list[Chunk]:
    """Return the chunks of a folder's files; what has no text is left out, as an index run reports it."""
    special = embedder.tokenizer.special_tokens
    settings = chunker_settings(IndexerSettings(), max_tokens=embedder.max_tokens, special_tokens=special)
    chunks: list[Chunk] = []
    for source in discover([folder]).files:
        with open_source(source.uri) as stream:
            parsed = PodParser().parse(RawDocument(key=None, content=stream.read()))
        try:
            document = build_document(parsed, source=source, key=None)
        except ParseError:
            continue
        chunks += make_chunks(document, tenant=TENANT, document_hash="h", tokens=embedder.tokenizer, settings=settings)
    return chunks


def embedded(copies: Sequence[Copy], embedder: Embedder) -> dict[str, NDArray[np.float32]]:
    """Return a vector for every text that is embedded; the copies share most."""
    texts = sorted({chunk.search_text for copy in copies for chunk in copy.chunks})
    return dict(zip(texts, embedder.encode_documents(texts), strict=True))


def evaluated(
    copy: Copy, vectors: dict[str, NDArray[np.float32]], *, store: MilvusStore, embedder: Embedder
) -> Evaluation:
    """Index a copy and ask it its questions."""
    made = store.ensure_generation(copy.name, embedder=embedder.identity, dimension=embedder.dimension)
    for start in range(0, len(copy.chunks), 500):
        part = copy.chunks[start : start + 500]
        store.upsert(made.physical, part, np.stack([vectors[chunk.search_text] for chunk in part]), tenant=TENANT)
    store.flush(made.physical)
    store.point_alias(copy.name, made.physical)
    judged = judge(
        read_questions(copy.questions),
        store.places(made.physical, tenant=TENANT),
        path=copy.questions,
        collection=copy.name,
    )
    searcher = Searcher(store=store, embedder=embedder)
    return evaluate(judged, searcher=searcher, collection=copy.name, tenant=TENANT, rerankers=searcher.rerankers)


def table(name: str, found: Evaluation) -> str:
    """Return an evaluation as lines of text."""
    lines = [f"{name}: {found.arms[0].against_dense.n} questions, weights from {found.chosen_on} others"]
    for arm in found.arms:
        cells = [
            f"{f.measure} {f.estimate.value:.3f} [{f.estimate.low:.3f} {f.estimate.high:.3f}]" for f in arm.figures
        ]
        lines.append(f"{arm.name:>16} {arm.weights.dense:.1f}/{arm.weights.section:.1f}  {'  '.join(cells)}")
        if arm.against_first is not None:
            first = arm.against_first
            lines.append(
                f"{'':>16} {arm.weights.rerank}: {NDCG} against the same without {first.value:+.3f} "
                f"[{first.low:+.3f} {first.high:+.3f}], {arm.rerank_ms:.0f} ms per question"
            )
        difference = arm.against_dense
        lines.append(
            f"{'':>16} {NDCG} against dense {difference.value:+.3f} [{difference.low:+.3f} {difference.high:+.3f}]"
        )
    return "\n".join([*lines, f"advised: {found.advised}"])
