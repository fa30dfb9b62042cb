"""Does a generation find what golden questions name? They are the questions that `collections evaluate` takes, too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from indexer.embedding.embedder import open_embedder
from indexer.evaluation.questions import GoldIndex, Question
from indexer.settings import IndexerSettings
from indexer.store.milvus import MilvusStore
from indexer.types import Generation

_K = 10  # as in the usual recall@10


@dataclass(frozen=True, slots=True)
class Golden:
    """What the golden questions found.

    Attributes:
        found: How many have something that answers them among the first places.
        unknown: Texts of those that name nothing the generation holds; they found nothing.
    """

    found: int
    unknown: tuple[str, ...]


def find_golden(
    store: MilvusStore, made: Generation, questions: Sequence[Question], *, tenant: str, settings: IndexerSettings
) -> Golden:
    """Ask a generation, by dense search, what its golden questions ask.

    Raises:
        UnavailableError: Milvus does not answer.
    """
    if not questions:
        return Golden(found=0, unknown=())
    index = GoldIndex(store.places(made.physical, tenant=tenant))
    relevant = [index.relevant(question) for question in questions]
    vectors = open_embedder(settings).encode_queries([question.question for question in questions])
    found = 0
    for passages, wanted in zip(store.search_dense(made.physical, vectors, tenant=tenant, k=_K), relevant, strict=True):
        found += any(not wanted.isdisjoint((passage.chunk_id, passage.document_id)) for passage in passages)
    return Golden(
        found=found,
        unknown=tuple(question.question for question, wanted in zip(questions, relevant, strict=True) if not wanted),
    )
