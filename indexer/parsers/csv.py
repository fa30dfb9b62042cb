"""CSV and TSV: one document, a row at a time; the delimiter is found, not assumed."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from typing import Literal

from indexer.parsers.base import ParsedDocument, ParseError, RawDocument, WholeFile
from indexer.parsers.decode import decode
from indexer.parsers.rows import row_blocks

_DELIMITERS = ",;\t|"
_SAMPLE_ROWS = 100
_SAMPLE_CHARS = 256 * 1024


class CsvParser(WholeFile):
    """Reads rows separated by comma, semicolon, tab or bar, quoted as RFC 4180 says.

    Where the quotes do not pair up they are taken as plain characters and every line as a row: one stray quote would
    swallow the rest of the file.
    """

    media_type = "text/csv"
    extensions = (".csv", ".tsv", ".tab")
    version = 1

    def parse(self, raw: RawDocument) -> ParsedDocument:
        """Return an item per row; see `indexer.parsers.rows`."""
        text = decode(raw.content)
        delimiter = _delimiter(text)
        try:
            blocks = tuple(row_blocks(_rows(text, delimiter)))
        except csv.Error:
            try:
                blocks = tuple(row_blocks(_rows(text, delimiter, quoted=False)))
            except csv.Error as error:
                raise ParseError(f"the rows cannot be read ({error})") from error
        return ParsedDocument(title=None, blocks=blocks)


def _rows(text: str, delimiter: str, *, quoted: bool = True) -> Iterator[list[str]]:
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # of the process; the text is bounded already
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True)


def _delimiter(text: str) -> str:
    """Return the delimiter by which most of the first rows have the same number of cells, the more cells the better."""
    sample = text[:_SAMPLE_CHARS]
    scores = {delimiter: _score(sample, delimiter) for delimiter in _DELIMITERS}
    return max(_DELIMITERS, key=lambda delimiter: scores[delimiter])


def _score(sample: str, delimiter: str) -> tuple[float, int]:
    widths: Counter[int] = Counter()
    try:
        for row in _rows(sample, delimiter):
            if row:
                widths[len(row)] += 1
            if widths.total() == _SAMPLE_ROWS:
                break
    except csv.Error:
        widths.update(len(line.split(delimiter)) for line in sample.split("\n")[:_SAMPLE_ROWS] if line)
    if not widths:
        return 0.0, 0
    width, rows = widths.most_common(1)[0]
    return (rows / widths.total() if width > 1 else 0.0), width
