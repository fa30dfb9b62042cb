"""Turns conversations into token rows with a mask of what is learned, and counts both before any training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexer.errors import InputError
from train.chat_template import Tokenizer
from train.data.reading import listed
from train.data.row import BadRow, Example
from train.types import TokenStatistics

_SHARES = (0.5, 0.9, 0.99)


@dataclass(frozen=True, slots=True)
class TokenRows:
    """Rows of different lengths in flat arrays, which travel through Ray's object store without copies.

    Attributes:
        ids: int32 [tokens], the rows one after another.
        supervised: bool [tokens], true where the loss covers the token.
        offsets: int64 [rows + 1], where each row begins; the last entry is the number of tokens.
        borders: int64 [packed rows + 1], where each of the rows begins that were packed into these; None: none were.
    """

    ids: NDArray[np.int32]
    supervised: NDArray[np.bool_]
    offsets: NDArray[np.int64]
    borders: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens per row, int64 [rows]."""
        return np.diff(self.offsets)

    def row(self, index: int) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Return ids and mask of one row."""
        span = slice(self.offsets[index], self.offsets[index + 1])
        return self.ids[span], self.supervised[span]

    def positions(self, index: int) -> NDArray[np.int64]:
        """Return the place of each token of one row, or of the packed row that it belongs to, int64 [tokens]."""
        places = np.arange(self.offsets[index], self.offsets[index + 1])
        begins = self.offsets if self.borders is None else self.borders
        return places - begins[np.searchsorted(begins, places, side="right") - 1]

    def labels(self) -> NDArray[np.int32]:
        """Return the ids with -100 where the loss does not look, int32 [tokens]."""
        return np.where(self.supervised, self.ids, np.int32(-100)).astype(np.int32)


def encode_examples(
    examples: Sequence[Example], *, tokenizer: Tokenizer, template: str, max_length: int
) -> tuple[TokenRows, TokenStatistics]:
    """Tokenise conversations with a marked chat template and cut them to `max_length` tokens.

    An example that is there several times is tokenised once.

    Raises:
        InputError: The template refuses a row, or no supervised token of a row is left within `max_length`; all such
            rows are counted and the first 20 listed.
    """
    ids: list[NDArray[np.int32]] = []
    masks: list[NDArray[np.bool_]] = []
    full_lengths: list[int] = []
    bad: list[BadRow] = []
    known: dict[int, tuple[NDArray[np.int32], NDArray[np.bool_]]] = {}
    for example in examples:
        if id(example) not in known:
            try:
                known[id(example)] = encode_example(example, tokenizer=tokenizer, template=template)
            except RefusedError as reason:
                bad.append(BadRow(example.origin, f"the chat template refuses it: {reason}"))
                continue
            row_ids, mask = known[id(example)]
            # The first token of a row has nothing before it to be predicted from.
            if not mask[1:max_length].any():
                first = int(np.argmax(mask)) if mask.any() else len(mask)
                reason_why = f"{len(row_ids)} tokens, the first one to learn is number {first + 1}"
                bad.append(BadRow(example.origin, reason_why))
        row_ids, mask = known[id(example)]
        ids.append(row_ids[:max_length])
        masks.append(mask[:max_length])
        full_lengths.append(len(row_ids))
    if bad:
        raise InputError(
            f"{len(bad)} of {len(examples)} rows leave nothing to learn within max_length {max_length}; "
            f"shorten them or raise max_length:\n{listed(bad)}"
        )
    rows = TokenRows(
        ids=np.concatenate(ids),
        supervised=np.concatenate(masks),
        offsets=np.cumsum([0, *(len(row) for row in ids)], dtype=np.int64),
    )
    return rows, _statistics(rows, full_lengths, max_length=max_length)


class RefusedError(ValueError):
    """Why a chat template does not take a conversation."""


def encode_example(
    example: Example, *, tokenizer: Tokenizer, template: str
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Return the ids of a row, int32 [tokens], and which of them are learned, bool [tokens].

    Raises:
        RefusedError: The template does not take it.
    """
    from jinja2 import TemplateError

    try:
        encoded = tokenizer.apply_chat_template(
            example.as_dicts(),
            tools=[*example.tools] or None,
            chat_template=template,
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
    except TemplateError as error:
        raise RefusedError(str(error)) from error
    ids, mask = encoded["input_ids"], encoded["assistant_masks"]  # type: ignore[index]
    return np.asarray(ids, dtype=np.int32), np.asarray(mask, dtype=np.bool_)


def _statistics(rows: TokenRows, full_lengths: Sequence[int], *, max_length: int) -> TokenStatistics:
    full = np.asarray(full_lengths)
    return TokenStatistics(
        rows=len(rows),
        tokens=len(rows.ids),
        supervised_tokens=int(rows.supervised.sum()),
        longest_row=int(full.max()),
        truncated_rows=int((full > max_length).sum()),
        cut_tokens=int(np.maximum(full - max_length, 0).sum()),
        length_quantiles=tuple((share, int(np.quantile(full, share, method="higher"))) for share in _SHARES),
    )
