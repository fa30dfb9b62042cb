"""Passages with what stands beside them in their documents; those that meet become one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from indexer.passages import Passage
from indexer.types import StoredChunk


@dataclass(slots=True, eq=False)
class _Stretch:
    """Chunks of one document that follow each other, by ordinal, under the best passage among them."""

    lead: Passage
    chunks: dict[int, StoredChunk]


def joined(passages: Sequence[Passage], beside: Mapping[str, Sequence[StoredChunk]]) -> tuple[Passage, ...]:
    """Return passages, best first, each with its neighbours' text.

    Where two stretches of a document touch or share a chunk, the better passage takes the other's text in, keeps its
    own key, score and place in the ranking, and its span covers both.

    Args:
        passages: Best first, each once.
        beside: Chunks beside each passage by its key, itself left out; of a passage without an entry there are none.
    """
    stretches: list[_Stretch] = []
    for passage in passages:
        chunks = {chunk.ordinal: chunk for chunk in (*beside.get(passage.chunk_id, ()), _as_chunk(passage))}
        met = [each for each in stretches if _meet(each, passage.document_id, chunks)]
        if not met:
            stretches.append(_Stretch(passage, chunks))
            continue
        met[0].chunks.update(chunks)
        for other in met[1:]:  # the new one lies between two that did not touch
            met[0].chunks.update(other.chunks)
            stretches.remove(other)
    return tuple(_passage(each) for each in stretches)


def _meet(stretch: _Stretch, document_id: str, ordinals: Iterable[int]) -> bool:
    if stretch.lead.document_id != document_id:
        return False
    return any(ordinal + step in stretch.chunks for ordinal in ordinals for step in (-1, 0, 1))


def _as_chunk(passage: Passage) -> StoredChunk:
    return StoredChunk(
        chunk_id=passage.chunk_id,
        ordinal=passage.ordinal,
        title=passage.title,
        uri=passage.uri,
        heading_path=passage.heading_path,
        page=passage.page,
        start=passage.start,
        end=passage.end,
        text=passage.text,
    )


def _passage(stretch: _Stretch) -> Passage:
    ordered = [stretch.chunks[ordinal] for ordinal in sorted(stretch.chunks)]
    text, end = ordered[0].text, ordered[0].end
    for chunk in ordered[1:]:
        # A chunk may repeat the end of the one before it, or go on right behind it; its text is the slice of its span.
        text += chunk.text[end - chunk.start :] if chunk.start <= end else f"\n\n{chunk.text}"
        end = max(end, chunk.end)
    return replace(stretch.lead, text=text, start=ordered[0].start, end=end, page=ordered[0].page)
