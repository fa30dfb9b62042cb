from __future__ import annotations

from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.chunking.chunker import ChunkerSettings, cut, search_text
from indexer.chunking.measure import CHARS_PER_TOKEN
from indexer.chunking.tokens import EmbedderTokenizer
from indexer.settings import ChunkStrategy
from indexer.types import Document
from tests.indexer.making import document

STRATEGIES: tuple[ChunkStrategy, ...] = get_args(ChunkStrategy)
SMALL = ChunkerSettings(chunk_tokens=20, overlap_tokens=6, prefix_tokens=12)
NO_OVERLAP = ChunkerSettings(chunk_tokens=20, overlap_tokens=0, prefix_tokens=12)


def texts(made: Document, tokens: EmbedderTokenizer, how: ChunkerSettings = NO_OVERLAP) -> list[str]:
    return [made.text[piece.start : piece.end] for piece in cut(made, tokens=tokens, settings=how)]


WORDS = st.text(alphabet=st.sampled_from("ab .,\n-éß漢字\t😀Ω<>_"), max_size=120)
LONG = st.builds(
    lambda unit, times: unit * times, st.sampled_from(["x", "word ", "漢", "é-", "Fin. ", "a\n"]), st.integers(1, 400)
)
BLOCKS = st.lists(
    st.tuples(
        st.sampled_from(["heading", "paragraph", "item", "code", "table"]),
        st.one_of(WORDS, LONG),
        st.sampled_from([(), ("A",), ("A", "B"), ("C",)]),
    ),
    min_size=1,
    max_size=8,
)


@pytest.mark.parametrize("strategy", STRATEGIES)
@settings(max_examples=100, deadline=None)
@given(blocks=BLOCKS, limit=st.integers(4, 60), overlap_share=st.floats(0, 0.5))
def test_no_chunk_is_over_the_limit_all_text_is_covered_and_order_is_kept(
    tokenizer: EmbedderTokenizer, strategy: ChunkStrategy, blocks: list, limit: int, overlap_share: float
) -> None:
    if not any(text.strip() for _, text, _ in blocks):
        blocks = [*blocks, ("paragraph", "something", ())]
    made = document(*blocks)
    how = ChunkerSettings(
        chunk_tokens=limit, overlap_tokens=int(limit * overlap_share), prefix_tokens=0, strategy=strategy
    )
    pieces = cut(made, tokens=tokenizer, settings=how)
    covered = bytearray(len(made.text))
    for piece in pieces:
        text = made.text[piece.start : piece.end]
        assert text
        assert tokenizer.count(text) <= limit or len(text) == 1
        assert len(text) <= limit * CHARS_PER_TOKEN
        covered[piece.start : piece.end] = b"\1" * len(text)
    left_out = "".join(letter for letter, seen in zip(made.text, covered, strict=True) if not seen)
    assert not left_out.strip()
    for before, after in pairwise(pieces):
        assert before.start < after.start
        assert before.end < after.end


def test_a_heading_starts_a_chunk_and_stays_with_its_text(tokenizer: EmbedderTokenizer) -> None:
    made = document(
        ("heading", "A", ("A",)), ("heading", "B", ("A", "B")), ("paragraph", "first", ("A", "B")),
        ("heading", "C", ("A", "C")), ("paragraph", "second", ("A", "C")),
    )  # fmt: skip
    pieces = cut(made, tokens=tokenizer, settings=SMALL)
    assert [made.text[piece.start : piece.end] for piece in pieces] == ["A\n\nB\n\nfirst", "C\n\nsecond"]
    assert [piece.heading_path for piece in pieces] == [("A", "B"), ("A", "C")]


def test_a_block_that_fits_is_never_cut(tokenizer: EmbedderTokenizer) -> None:
    code = "one two three\nfour five six\nseven eight nine\nten"
    made = document(("paragraph", "some words that take up half of the first chunk here"), ("code", code))
    assert texts(made, tokenizer) == ["some words that take up half of the first chunk here", code]


def test_long_prose_is_cut_at_sentences_and_long_code_at_lines(tokenizer: EmbedderTokenizer) -> None:
    prose = "The first sentence has eight words in it. The second sentence has eight words too. And a third one here."
    for text in texts(document(("paragraph", prose)), tokenizer):
        assert text.strip().endswith(".")
    code = "\n".join(f"line {number} = value" for number in range(20))
    for text in texts(document(("code", code)), tokenizer):
        assert text.startswith("line ")


def test_a_word_longer_than_any_chunk_is_cut_too(tokenizer: EmbedderTokenizer) -> None:
    made = document(("paragraph", "x" * 5000))
    assert tokenizer.count("x" * 5000) == 1
    assert max(len(text) for text in texts(made, tokenizer)) <= 20 * CHARS_PER_TOKEN


def test_overlap_repeats_whole_words_under_the_same_heading_only(tokenizer: EmbedderTokenizer) -> None:
    long = " ".join(f"w{number}" for number in range(60))
    made = document(("paragraph", long, ("A",)), ("heading", "B", ("B",)), ("paragraph", "short", ("B",)))
    pieces = cut(made, tokens=tokenizer, settings=SMALL)
    overlaps = [before.end - after.start for before, after in pairwise(pieces)]
    assert all(0 < overlap <= 6 * CHARS_PER_TOKEN for overlap in overlaps[:-1])
    assert overlaps[-1] < 0
    for piece in pieces[1:-1]:
        assert made.text[piece.start - 1].isspace()
        assert made.text[piece.start].startswith("w")


def test_several_items_share_a_chunk_under_their_common_heading(tokenizer: EmbedderTokenizer) -> None:
    made = document(
        ("heading", "Options", ("Options",)),
        ("item", "-a", ("Options", "-a")), ("paragraph", "all", ("Options", "-a")),
        ("item", "-b", ("Options", "-b")), ("paragraph", "brief", ("Options", "-b")),
    )  # fmt: skip
    pieces = cut(made, tokens=tokenizer, settings=SMALL)
    assert [piece.heading_path for piece in pieces] == [("Options",)]


@pytest.mark.parametrize(
    ("headings", "room", "expected"),
    [
        (("One", "Two"), 12, "Guide > One > Two\n\ntext"),
        (("Guide", "One"), 12, "Guide > One\n\ntext"),
        (("a very long outer heading of many words", "Two"), 8, "Guide > Two\n\ntext"),
        (("Two words and many others that do not fit at all",), 8, "Two words and many others that do not\n\ntext"),
        (("One",), 0, "text"),
        ((), 12, "Guide\n\ntext"),
    ],
)
def test_title_and_headings_are_put_in_front_as_they_fit(
    tokenizer: EmbedderTokenizer, headings: tuple[str, ...], room: int, expected: str
) -> None:
    made = search_text("text", title="Guide", heading_path=headings, tokens=tokenizer, prefix_tokens=room)
    assert made == expected
    assert tokenizer.count(made.removesuffix("text")) <= room


def test_identity_names_every_setting() -> None:
    varied = [(20, 6, 12), (21, 6, 12), (20, 5, 12), (20, 6, 11)]
    identities = {ChunkerSettings(*values, strategy).identity for values in varied for strategy in STRATEGIES}
    assert len(identities) == len(varied) * len(STRATEGIES)
