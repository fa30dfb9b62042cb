"""Keeps what an evaluation advised with the collection that it was made on."""

from __future__ import annotations

from indexer.errors import ConflictError
from indexer.evaluation.evaluate import Evaluation
from indexer.store.generation import advised_properties
from indexer.store.milvus import MilvusStore
from indexer.types import FusionWeights


def keep_advice(store: MilvusStore, found: Evaluation) -> None:
    """Write the advised weights into the generation that was evaluated.

    Raises:
        ConflictError: Another generation has become the live one meanwhile.
        UnavailableError: Milvus does not answer.
    """
    live = store.locate(found.collection)
    if live.number != found.generation:
        raise ConflictError(
            f"Generation {live.number} of {found.collection!r} became the live one while generation "
            f"{found.generation} was evaluated; evaluate it again."
        )
    weights = FusionWeights(dense=found.advised.dense, section=found.advised.section)
    store.record(live.physical, advised_properties(weights))
