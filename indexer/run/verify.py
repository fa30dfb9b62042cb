"""Is a generation fit to be read? Its rows are counted, and its index is tried against an exact search."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from indexer.errors import ConflictError
from indexer.evaluation.questions import Question
from indexer.progress import Counts, Reporter
from indexer.run.golden import find_golden
from indexer.run.state import KnownDocument, gather
from indexer.settings import IndexerSettings
from indexer.store.milvus import MilvusStore
from indexer.types import Generation, StoredRow, Verification

_K = 10  # neighbours per search, as in the usual recall@10
_SAME = 1e-4  # two float32 cosines this close are the same neighbour: servers add up in another order


@dataclass(frozen=True, slots=True)
class Expected:
    """What a build says it stored for one tenant.

    Attributes:
        tenant: Whose documents.
        hashes: Hash of each document that was written or found complete, by id.
    """

    tenant: str
    hashes: Mapping[str, str]


def verify(
    store: MilvusStore,
    made: Generation,
    expected: Sequence[Expected],
    *,
    settings: IndexerSettings,
    questions: Sequence[Question] = (),
    reporter: Reporter | None = None,
) -> Verification:
    """Count and search a generation that was just built.

    The reporter hears of the vectors that were looked at, page by page, and of the documents of each tenant.

    Raises:
        ConflictError: It is not what was written, or its index finds too little; the figures are named.
        UnavailableError: Milvus does not answer.
    """
    problems: list[str] = []
    recalls: list[float] = []
    chunks, counted = 0, store.count(made.physical)
    verified, documents = 0, sum(len(share.hashes) for share in expected)

    def tell(rows: int) -> None:
        if reporter is not None:
            counts = Counts(documents=verified, chunks=counted, chunks_written=chunks + rows)
            reporter.tell("verify", counts=counts, total=documents)

    for share in expected:
        sample: list[str] = []
        stored = gather(_sampled(store.scan(made.physical, tenant=share.tenant), sample, settings.verify_sample))
        problems += broken_documents(stored, expected=share.hashes)
        recalls += _recalls(store, made, sample, tenant=share.tenant, tell=tell)
        chunks += sum(document.chunk_count for document in stored.values())
        verified += len(share.hashes)
        tell(0)
    if counted != chunks:
        problems.append(f"{counted} rows are counted where {chunks} chunks were cut")
    golden = find_golden(store, made, questions, tenant=expected[0].tenant, settings=settings)
    found = Verification(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        chunks=counted,
        recall=round(float(np.mean(recalls)), 4) if recalls else None,
        sample=len(recalls),
        hits=round(golden.found / len(questions), 4) if questions else None,
        questions=len(questions),
    )
    problems += quality_problems(
        found,
        min_recall=settings.verify_min_recall,
        min_hits=settings.verify_min_hits,
        unknown=golden.unknown,
    )
    if problems:
        raise ConflictError(
            f"Generation {made.number} of {made.alias!r} is built, but did not pass and readers are not let in: "
            f"{'; '.join(problems)}; run this again to go on, or look at it under its own name {made.physical}."
        )
    return found


def broken_documents(stored: Mapping[str, KnownDocument], *, expected: Mapping[str, str]) -> list[str]:
    """Say which documents of a tenant are not stored in whole.

    Args:
        stored: Its documents as a scan found them.
        expected: Hash of each document that must be there, by id.
    """
    broken = sorted(
        document_id
        for document_id, document_hash in expected.items()
        if document_id not in stored or not stored[document_id].is_complete(document_hash)
    )
    return [f"{len(broken)} documents are not stored in whole (first {broken[0]!r})"] if broken else []


def quality_problems(
    found: Verification, *, min_recall: float, min_hits: float, unknown: Sequence[str] = ()
) -> list[str]:
    """Say which figures are below their bars; `unknown` are golden questions that name nothing stored."""
    problems = []
    if found.recall is not None and found.recall < min_recall:
        problems.append(
            f"the index finds {found.recall:.3f} of the true neighbours of {found.sample} stored vectors, "
            f"indexer.verify_min_recall asks for {min_recall:g}"
        )
    if found.hits is not None and found.hits < min_hits:
        missing = f" ({len(unknown)} name nothing that is stored, first {unknown[0]!r})" if unknown else ""
        problems.append(
            f"{found.hits:.3f} of {found.questions} golden questions find what they name{missing}, "
            f"indexer.verify_min_hits asks for {min_hits:g}"
        )
    return problems


def exact_scores(queries: NDArray[np.float32], pages: Iterable[NDArray[np.float32]], *, k: int) -> NDArray[np.float32]:
    """Return the best cosines of each query by looking at every vector, of shape [queries, at most k], best first."""
    best = np.zeros((len(queries), 0), dtype=np.float32)
    unit = _unit(queries)
    for page in pages:
        best = np.concatenate([best, unit @ _unit(page).T], axis=1)
        best = -np.sort(-best, axis=1)[:, :k]
    return best


def recall_of(found: Sequence[float], exact: NDArray[np.float32]) -> float:
    """Return the share of the true neighbours among those that the index found; equal cosines are as good."""
    good = sum(1 for score in found if score >= float(exact[-1]) - _SAME)
    return min(good, len(exact)) / len(exact)


def _recalls(
    store: MilvusStore, made: Generation, sample: Sequence[str], *, tenant: str, tell: Callable[[int], None]
) -> list[float]:
    if not sample:
        return []
    asked = store.vectors(made.physical, tenant=tenant, dimension=made.dimension, chunk_ids=sample)
    queries = np.concatenate(list(asked))
    pages = store.vectors(made.physical, tenant=tenant, dimension=made.dimension)
    exact = exact_scores(queries, _telling(pages, tell), k=_K)
    found = store.search_dense(made.physical, queries, tenant=tenant, k=_K)
    return [
        recall_of([passage.score for passage in passages], best) for passages, best in zip(found, exact, strict=True)
    ]


def _telling(pages: Iterable[NDArray[np.float32]], tell: Callable[[int], None]) -> Iterator[NDArray[np.float32]]:
    rows = 0
    for page in pages:
        yield page
        rows += len(page)
        tell(rows)


def _sampled(rows: Iterable[StoredRow], keep: list[str], size: int) -> Iterator[StoredRow]:
    """Pass rows on and keep the lowest keys: keys are hashes, so these are as good as drawn."""
    for row in rows:
        if len(keep) < size or (keep and row.chunk_id < keep[-1]):
            insort(keep, row.chunk_id)
            del keep[size:]
        yield row


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, np.finfo(np.float32).tiny), dtype=np.float32)
