"""Chunks come evenly over documents, and the same ones for the same seed."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from indexer.types import ChunkPlace
from tests.train.examples.making import passage, small_corpus
from train.examples.choosing import choose_chunks, draw, in_drawn_order

SIZES = st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(1, 6), min_size=1, max_size=6)


def places_of(sizes: dict[str, int]) -> list[ChunkPlace]:
    return [ChunkPlace(f"{name}-{number}", name, ()) for name, size in sizes.items() for number in range(size)]


@given(SIZES, st.integers(), st.integers(1, 30), st.randoms())
def test_no_document_is_asked_twice_before_all_are_asked_once(sizes, seed, count, random) -> None:
    places = places_of(sizes)
    order = in_drawn_order(places, seed=seed)
    taken = Counter(place.document_id for place in order[:count])
    for name, size in sizes.items():
        assert taken[name] >= min(size, max(taken.values()) - 1)
    assert sorted(place.chunk_id for place in order) == sorted(place.chunk_id for place in places)
    random.shuffle(places)
    assert in_drawn_order(places, seed=seed) == order


def test_the_seed_decides() -> None:
    places = places_of({"a": 5, "b": 5, "c": 5})
    assert in_drawn_order(places, seed=1) != in_drawn_order(places, seed=2)
    assert 0 <= draw(1, "a") < 1
    assert draw(1, "a", "b") != draw(1, "ab")


def test_short_chunks_and_copies_are_passed_over() -> None:
    corpus = small_corpus(4)
    heading = passage(9, "Moorings", document="d0.md", chunk_id="heading")
    copy = passage(0, corpus.passages[0].text, document="copy.md", chunk_id="copy")
    corpus.passages = (*corpus.passages, heading, copy)
    read: list[str] = []

    def counted(document_id: str):  # type: ignore[no-untyped-def]
        read.append(document_id)
        return corpus.read(document_id)

    chosen = choose_chunks(corpus.places(), count=100, seed=0, read=counted)
    assert len(chosen) == 8
    assert len({chunk.text for chunk in chosen}) == 8
    assert "heading" not in {chunk.chunk_id for chunk in chosen}
    assert len(read) == len(set(read)) == 5
    assert choose_chunks(corpus.places(), count=3, seed=0, read=corpus.read) == chosen[:3]


def test_a_chunk_that_has_gone_is_passed_over() -> None:
    corpus = small_corpus(1)
    places = [*corpus.places(), ChunkPlace("gone", "d0.md", ())]
    assert len(choose_chunks(places, count=9, seed=0, read=corpus.read)) == 2
