"""Puts several rows into one sequence, without any of them seeing another.

TRL packs (best fit, longest first) and gives every row positions of its own; transformers takes positions that begin
again for the border of a row and masks attention there. What is here carries rows to TRL and back.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydantic import JsonValue

from indexer.errors import InputError
from train.tokens import TokenRows

if TYPE_CHECKING:
    from datasets import Dataset

_STRATEGY = "bfd"


@dataclass(frozen=True, slots=True)
class Fill:
    """How well an epoch's rows fill their sequences.

    Attributes:
        rows: Rows that were packed.
        sequences: Sequences that hold them.
        length: Tokens that a sequence has room for.
        share: Share of all the room that tokens take, 0 to 1.
    """

    rows: int
    sequences: int
    length: int
    share: float

    def to_json(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        return asdict(self)


def pack(rows: TokenRows, *, length: int) -> TokenRows:
    """Pack rows into sequences; each comes whole into one of them.

    Args:
        rows: What is packed.
        length: Tokens that a sequence has room for.

    Returns:
        The sequences in place of rows, with the rows' borders in them. The first token of a row is not supervised:
        the token before it belongs to another row.

    Raises:
        InputError: A row is longer than a sequence.
    """
    from datasets import disable_progress_bars
    from trl import pack_dataset

    if (longest := int(rows.lengths.max())) > length:
        raise InputError(f"A row of {longest} tokens does not fit into a sequence of {length}; raise packed_length.")
    disable_progress_bars()
    whole = {"batch_size": None, "keep_in_memory": True, "load_from_cache_file": False}
    found = pack_dataset(as_dataset(rows), length, _STRATEGY, whole)
    ids, labels, lengths = (found.data.column(name).combine_chunks() for name in ("input_ids", "labels", "seq_lengths"))
    borders = np.cumsum([0, *lengths.flatten().to_numpy()], dtype=np.int64)
    supervised = labels.flatten().to_numpy() >= 0
    supervised[borders[:-1]] = False
    return TokenRows(
        ids=ids.flatten().to_numpy(),
        supervised=supervised,
        offsets=np.asarray(ids.offsets, dtype=np.int64),
        borders=borders,
    )


def fill_of(sequences: TokenRows, *, length: int) -> Fill | None:
    """Say how full sequences are; None of rows that are not packed."""
    if sequences.borders is None:
        return None
    room = len(sequences) * length
    return Fill(len(sequences.borders) - 1, len(sequences), length, len(sequences.ids) / room)


def as_dataset(rows: TokenRows) -> Dataset:
    """Give rows the form that TRL takes, without copying the ids.

    Returns:
        Columns input_ids and labels, and of packed ones seq_lengths: the tokens of every row in a sequence.
    """
    import pyarrow as pa
    from datasets import Dataset
    from datasets.table import InMemoryTable

    columns = {
        name: pa.LargeListArray.from_arrays(rows.offsets, values)
        for name, values in (("input_ids", rows.ids), ("labels", rows.labels()))
    }
    if rows.borders is not None:
        begins = np.searchsorted(rows.borders, rows.offsets)
        columns["seq_lengths"] = pa.LargeListArray.from_arrays(begins, np.diff(rows.borders))
    return Dataset(InMemoryTable(pa.table(columns)))
