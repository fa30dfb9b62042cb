"""Which chunks are asked about: evenly over documents, drawn by a seed. Pure but for reading the documents it names."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from indexer.passages import Passage
from indexer.types import ChunkPlace
from train.wording import words

LEAST_WORDS = 20
"""Words of a chunk that is worth a question; a heading alone, or a page number, is not."""


def draw(seed: int, *parts: str) -> float:
    """A number from 0 to below 1 that depends on the seed and the parts alone, on no machine and no version."""
    digest = hashlib.sha256("\0".join((str(seed), *parts)).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") / (1 << 48)


def in_drawn_order(places: Iterable[ChunkPlace], *, seed: int) -> list[ChunkPlace]:
    """One chunk of every document, then a second one of those that have one, and so on.

    Fewer of them are the first of more, and the order in which they come does not matter.
    """
    documents: dict[str, list[ChunkPlace]] = defaultdict(list)
    for place in {place.chunk_id: place for place in places}.values():
        documents[place.document_id].append(place)
    ranked: list[tuple[int, float, str, ChunkPlace]] = []
    for document_id, chunks in documents.items():
        drawn = sorted(chunks, key=lambda chunk: (draw(seed, "chunk", chunk.chunk_id), chunk.chunk_id))
        of_document = draw(seed, "document", document_id)
        ranked += [(turn, of_document, document_id, chunk) for turn, chunk in enumerate(drawn)]
    return [chunk for *_, chunk in sorted(ranked, key=lambda entry: entry[:3])]


def choose_chunks(
    places: Iterable[ChunkPlace], *, count: int, seed: int, read: Callable[[str], tuple[Passage, ...]]
) -> tuple[Passage, ...]:
    """Return `count` chunks of at least `LEAST_WORDS` words, each text once, fewer where there are no more.

    Args:
        places: All chunks.
        count: How many.
        seed: Of the draw.
        read: Gives the chunks of a document; called once for each document that is looked at.
    """
    chosen: dict[str, Passage] = {}
    for passage in _read(in_drawn_order(places, seed=seed), read):
        if len(words(passage.text)) >= LEAST_WORDS:
            chosen.setdefault(passage.text.strip(), passage)
        if len(chosen) == count:
            break
    return tuple(chosen.values())


def _read(places: Iterable[ChunkPlace], read: Callable[[str], tuple[Passage, ...]]) -> Iterator[Passage]:
    known: dict[str, dict[str, Passage]] = {}
    for place in places:
        if place.document_id not in known:
            known[place.document_id] = {passage.chunk_id: passage for passage in read(place.document_id)}
        passage = known[place.document_id].get(place.chunk_id)
        if passage is not None:  # One may have gone since the places were listed.
            yield passage
