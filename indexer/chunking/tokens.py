"""Counting by the embedder's own tokenizer, without loading the model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from tokenizers import Tokenizer
from tokenizers.pre_tokenizers import BertPreTokenizer, Whitespace, WhitespaceSplit

from indexer.errors import InputError

# Where a blank belongs to the word behind it, the first word of a slice reads differently than in the whole text.
EDGE_TOKENS = 16


class TokenCounter(Protocol):
    """What the chunker needs of a tokenizer.

    Attributes:
        edge_tokens: By how many tokens a slice that is cut between words may differ from its share of the whole text's.
    """

    edge_tokens: int

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return the character span of each token of `text`, special tokens left out, in order."""
        ...

    def count(self, text: str) -> int:
        """Return the number of tokens of `text`, special tokens left out."""
        ...


class EmbedderTokenizer:
    """The tokenizer.json of an embedder, with its own truncation and padding switched off.

    Attributes:
        special_tokens: Tokens that are put around every text.
        blank_line_tokens: Tokens that a blank line between two texts takes; none where white space is dropped.
        edge_tokens: As in `TokenCounter`.
    """

    def __init__(self, path: Path) -> None:
        """Load `path`/tokenizer.json.

        Raises:
            InputError: The file is missing: only models with a fast tokenizer can be used.
        """
        file = path / "tokenizer.json"
        if not file.is_file():
            raise InputError(f"Embedder at {path} has no tokenizer.json; save its fast tokenizer into the folder.")
        self._tokenizer = Tokenizer.from_file(str(file))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.special_tokens: int = self._tokenizer.num_special_tokens_to_add(False)
        self.blank_line_tokens: int = max(0, self.count("a\n\na") - 2 * self.count("a"))
        self.edge_tokens: int = 0 if _splits_at_blanks(self._tokenizer) else EDGE_TOKENS

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return the character span of each token of `text`, special tokens left out, in order."""
        return [(start, end) for start, end in self._tokenizer.encode(text, add_special_tokens=False).offsets]

    def count(self, text: str) -> int:
        """Return the number of tokens of `text`, special tokens left out."""
        # Of the tokenizer's calls only this one leaves out the spans; it takes 0.6 of the time of `encode`.
        [encoding] = self._tokenizer.encode_batch_fast([text], add_special_tokens=False)
        return len(encoding)

    def count_ahead(self, text: str) -> int:
        """Return how many tokens `text` takes in front of another."""
        return max(self.count(text), self.count(f"{text}a") - self.count("a")) if text else 0

    def words(self, text: str) -> list[int | None]:
        """Return the number of the word that each token of `text` belongs to, rising; None for special tokens."""
        return list(self._tokenizer.encode(text).word_ids)

    def counts(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text, special tokens counted."""
        return [len(encoding.ids) for encoding in self._tokenizer.encode_batch_fast(list(texts))]


def _splits_at_blanks(tokenizer: Tokenizer) -> bool:
    """Tell whether a word reads the same whatever stands before and behind the blanks around it."""
    added = tokenizer.get_added_tokens_decoder().values()
    return isinstance(tokenizer.pre_tokenizer, BertPreTokenizer | Whitespace | WhitespaceSplit) and not any(
        letter.isspace() for token in added for letter in token.content
    )


@lru_cache(maxsize=4)
def load_tokenizer(path: Path) -> EmbedderTokenizer:
    """Return the tokenizer in a model's folder, loaded once per process."""
    return EmbedderTokenizer(path)
