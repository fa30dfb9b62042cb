"""Rows as JSON lines that `train` reads, put in place whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from indexer.errors import writing
from train.examples.types import Row
from train.registry.files import replace_file


def row_line(row: Row, *, collection: str, generation: int) -> str:
    """Return a row with all that it was made from, as a line without its end."""
    return json.dumps(
        {
            "messages": list(row.messages),
            "documents": list(row.documents),
            "chunks": list(row.chunks),
            "golden": row.golden,
            "collection": collection,
            "generation": generation,
            "kind": row.kind,
        },
        ensure_ascii=False,
    )


def write_rows(rows: Sequence[Row], path: Path, *, collection: str, generation: int) -> None:
    """Write a file, or replace it in one step; an empty one where there are no rows.

    Raises:
        UnavailableError: It cannot be written.
    """
    lines = [row_line(row, collection=collection, generation=generation) + "\n" for row in rows]
    with writing("The dataset", path, otherwise="name another --out"):
        replace_file(path, "".join(lines).encode("utf-8", "replace"))
