"""Rows of a table to blocks that can be understood one by one: every cell with the name of its column."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from indexer.parsers.base import ParsedBlock

_LOOK_AHEAD = 20  # rows in which the header is looked for
_LONG_CELL = 400  # characters; a longer text stands alone under its column's name
_LABEL = 80  # characters of a row's first cell that name it in the heading path
_VALUE = re.compile(r"[-+(]?[\d.,\s]*\d[\d.,\s]*(?:[eE][-+]?\d+)?[%)]?|\d{4}-\d\d?-\d\d?.*|\d\d?[./]\d\d?[./]\d\d+.*")
_VALUE_CHARS = 40
_YEAR = re.compile(r"[12]\d{3}")
_BETWEEN = " | "


def row_blocks(rows: Iterable[Sequence[str]], *, heading_path: tuple[str, ...] = ()) -> Iterator[ParsedBlock]:
    """Yield an item per row that is not blank, as `column: cell | column: cell`; empty cells are left out.

    The header is the first row that has more than half as many cells as most of the first 20 rows, if it holds no
    number or date (years may name columns). Narrower rows above it are notes, given as paragraphs. Without a header
    columns are numbered. A cell with a long text becomes a paragraph under the row's first cell and the column's name.
    """
    filled = (row for row in rows if any(cell.strip() for cell in row))
    first = list(islice(filled, _LOOK_AHEAD))
    width = max(Counter(map(_width, first)).items(), key=lambda item: (item[1], item[0]), default=(0, 0))[0]
    start = next((place for place, row in enumerate(first) if 2 * _width(row) > width), 0)
    for row in first[:start]:
        note = _BETWEEN.join(_one_line(cell) for cell in row if cell.strip())
        yield ParsedBlock(kind="paragraph", text=note, heading_path=heading_path)
    names: Sequence[str] = ()
    if len(first) > start + 1 and not any(map(_is_value, first[start])):
        names = [_one_line(cell) for cell in first[start]]
        start += 1
    for row in chain(first[start:], filled):
        yield from _row(row, names, heading_path)


def _row(row: Sequence[str], names: Sequence[str], heading_path: tuple[str, ...]) -> Iterator[ParsedBlock]:
    short: list[str] = []
    long: list[tuple[str, str]] = []
    label = ""
    for place, cell in enumerate(row):
        if not cell.strip():
            continue
        name = (names[place] if place < len(names) else "") or f"column {place + 1}"
        if len(cell) > _LONG_CELL:
            long.append((name, cell.strip()))
            continue
        label = label or _one_line(cell)[:_LABEL]
        short.append(f"{name}: {_one_line(cell)}")
    if short:
        yield ParsedBlock(kind="item", text=_BETWEEN.join(short), heading_path=heading_path)
    for name, cell in long:
        path = (*heading_path, label, name) if label else (*heading_path, name)
        yield ParsedBlock(kind="paragraph", text=cell, heading_path=path)


def _width(row: Sequence[str]) -> int:
    return sum(1 for cell in row if cell.strip())


def _is_value(cell: str) -> bool:
    text = cell.strip()
    if len(text) > _VALUE_CHARS:
        return False
    return _VALUE.fullmatch(text) is not None and _YEAR.fullmatch(text) is None


def _one_line(text: str) -> str:
    return " ".join(text.split())
