from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from indexer.joining import joined
from indexer.passages import Passage
from indexer.types import StoredChunk

# A document of ten chunks, each of which repeats the last two characters of the one before it.
TEXT = "".join(chr(ord("a") + number) * 6 for number in range(10))
SPANS = [(max(0, 6 * number - 2), 6 * number + 6) for number in range(10)]


def passage(ordinal: int, *, score: float = 1.0, document: str = "d") -> Passage:
    start, end = SPANS[ordinal]
    return Passage(
        chunk_id=f"{document}{ordinal}",
        document_id=document,
        title="T",
        heading_path=("H",),
        uri="file:///d",
        page=ordinal + 1,
        ordinal=ordinal,
        text=TEXT[start:end],
        score=score,
        start=start,
        end=end,
    )


def chunk(ordinal: int) -> StoredChunk:
    start, end = SPANS[ordinal]
    return StoredChunk(
        chunk_id=f"d{ordinal}",
        ordinal=ordinal,
        title="T",
        uri="file:///d",
        heading_path=("H",),
        page=ordinal + 1,
        start=start,
        end=end,
        text=TEXT[start:end],
    )


def beside(passages: list[Passage], reach: int) -> dict[str, list[StoredChunk]]:
    return {
        each.chunk_id: [
            chunk(ordinal)
            for ordinal in range(max(0, each.ordinal - reach), min(10, each.ordinal + reach + 1))
            if ordinal != each.ordinal
        ]
        for each in passages
    }


def test_a_passage_grows_by_its_neighbours_and_nothing_stands_twice() -> None:
    (found,) = joined([passage(4)], beside([passage(4)], 1))
    assert found.text == "cc" + "dddddd" + "eeeeee" + "ffffff"
    assert (found.start, found.end, found.page) == (16, 36, 4)
    assert (found.chunk_id, found.ordinal, found.score) == ("d4", 4, 1.0)


def test_passages_that_meet_are_one_at_the_better_ones_place() -> None:
    given = [passage(7, score=0.9), passage(1, score=0.8), passage(4, score=0.7), passage(1, document="e")]
    found = joined(given, beside(given[:3], 1))
    assert [(each.chunk_id, each.start, each.end) for each in found] == [("d7", 0, 54), ("e1", 4, 12)]
    assert found[0].text == TEXT[0:54]


def test_chunks_with_a_gap_between_them_are_set_apart() -> None:
    one, other = passage(2), passage(3)
    apart = {one.chunk_id: [StoredChunk("d3", 3, "T", "u", (), None, one.end + 4, one.end + 9, "later")]}
    (found,) = joined([one], apart)
    assert found.text == f"{one.text}\n\nlater"
    assert found.end == one.end + 9
    assert [each.text for each in joined([one, passage(9)], {})] == [one.text, passage(9).text]
    assert other.text in joined([one, other], {})[0].text


def test_chunks_that_follow_each_other_without_a_repetition_are_the_documents_text() -> None:
    text = "This harbour keeps its lamps in the north shed."
    one = replace(passage(0), text=text[:12], start=0, end=12)
    rest = [
        StoredChunk("d1", 1, "T", "u", (), None, 12, 30, text[12:30]),
        StoredChunk("d2", 2, "T", "u", (), None, 30, len(text), text[30:]),
    ]
    (found,) = joined([one], {one.chunk_id: rest})
    assert (found.text, found.start, found.end) == (text, 0, len(text))


@given(order=st.lists(st.integers(0, 9), unique=True, min_size=1), reach=st.integers(0, 3))
def test_every_chunk_is_there_once_and_text_is_the_documents(order: list[int], reach: int) -> None:
    passages = [passage(ordinal, score=-place) for place, ordinal in enumerate(order)]
    found = joined(passages, beside(passages, reach))
    for each in found:
        assert each.text == TEXT[each.start : each.end]
    covered = {ordinal for one in order for ordinal in range(max(0, one - reach), min(10, one + reach + 1))}
    spans = sorted((each.start, each.end) for each in found)
    assert {place for start, end in spans for place in range(start, end)} == {
        place for ordinal in covered for place in range(*SPANS[ordinal])
    }
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
    assert found[0].chunk_id == passages[0].chunk_id
