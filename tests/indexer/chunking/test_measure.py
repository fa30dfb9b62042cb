from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from indexer.chunking.measure import Measure
from indexer.chunking.tokens import EDGE_TOKENS, EmbedderTokenizer

SIGNS = "abZ1.,-ßéΣς漢😀\u0301\u00a0\u2028\u200b\x00\x0b\x1c\x85 \t\n\r"
LETTERS = st.text(alphabet=st.sampled_from(SIGNS), max_size=80)
PARTS = st.one_of(LETTERS, st.sampled_from(["[SEP]", " [MASK] ", "x" * 120, "unbelievable", "don't", "\ufffd"]))


@settings(max_examples=300, deadline=None)
@given(parts=st.lists(PARTS, max_size=6), places=st.tuples(st.floats(0, 1), st.floats(0, 1)), limit=st.integers(1, 40))
def test_a_slice_fits_when_its_own_tokens_do(
    tokenizer: EmbedderTokenizer, parts: list[str], places: tuple[float, float], limit: int
) -> None:
    text = "".join(parts)
    start, end = sorted(round(place * len(text)) for place in places)
    measure = Measure(text, tokens=tokenizer, max_tokens=100)
    assert measure.fits(start, end, limit) == (tokenizer.count(text[start:end]) <= limit)


def test_slices_between_words_are_not_counted_again(tokenizer: EmbedderTokenizer) -> None:
    text = "Bees make honey, and honey keeps; bread does not."
    measure = Measure(text, tokens=_Once(tokenizer), max_tokens=100)
    words = [place for place, letter in enumerate(text) if letter == " "]
    assert all(measure.fits(0, place, tokenizer.count(text[:place])) for place in words)
    assert not any(measure.fits(0, place, tokenizer.count(text[:place]) - 1) for place in words)


def test_a_tokenizer_that_joins_blanks_to_words_has_an_edge(tmp_path: Path, tokenizer: EmbedderTokenizer) -> None:
    joining = Tokenizer(models.BPE())
    joining.pre_tokenizer = pre_tokenizers.ByteLevel()
    joining.train_from_iterator(["bees make honey"] * 3, trainers.BpeTrainer(show_progress=False))
    joining.save(str(tmp_path / "tokenizer.json"))
    assert EmbedderTokenizer(tmp_path).edge_tokens == EDGE_TOKENS
    assert tokenizer.edge_tokens == 0


class _Once:
    """A tokenizer that may read the whole text and no slice of it."""

    def __init__(self, tokenizer: EmbedderTokenizer) -> None:
        self.edge_tokens = tokenizer.edge_tokens
        self.spans = tokenizer.spans

    def count(self, text: str) -> int:
        raise AssertionError(f"{text!r} was counted again")
