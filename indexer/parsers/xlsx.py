"""XLSX: every visible sheet under its name, a row at a time, cells as they are shown."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Iterator

from openpyxl import load_workbook
from openpyxl.cell.read_only import EmptyCell, ReadOnlyCell
from openpyxl.worksheet._read_only import ReadOnlyWorksheet

from indexer.parsers.base import ParsedBlock, ParsedDocument, ParseError, RawDocument
from indexer.parsers.ooxml import OfficeFile, unpacked
from indexer.parsers.rows import row_blocks

_MAX_ROWS = 1_048_576  # Excel's own limit
_MAX_CELLS = 20_000_000  # and the gaps before them: some seconds


class XlsxParser(OfficeFile):
    """Reads the values that were stored with the file: formulas are not calculated, hidden sheets are left out.

    Dates are written as ISO 8601, numbers with up to 15 digits, shares as per cent where the cell shows them so.
    """

    media_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    extensions = (".xlsx", ".xlsm")
    version = 1

    def __init__(self, *, max_cells: int = _MAX_CELLS) -> None:
        """Refuses a sheet that spreads over more cells than this, empty ones included."""
        self._max_cells = max_cells

    def parse(self, raw: RawDocument) -> ParsedDocument:
        """Return a heading per sheet and an item per row; see `indexer.parsers.rows`."""
        container = unpacked(raw.content, "xlsx")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # openpyxl tells of each feature that it passes over
            try:
                book = load_workbook(container, read_only=True, data_only=True, keep_links=False)
                blocks = [
                    block
                    for sheet in book.worksheets
                    if sheet.sheet_state == "visible"
                    for block in _sheet(sheet, max_cells=self._max_cells)
                ]
                title = book.properties.title
            except ParseError:
                raise
            except Exception as error:
                raise ParseError(f"the workbook is damaged ({type(error).__name__}: {error})") from error
        return ParsedDocument(title=title or None, blocks=tuple(blocks))


def _sheet(sheet: ReadOnlyWorksheet, *, max_cells: int) -> Iterator[ParsedBlock]:
    name = " ".join(sheet.title.split())
    heading = ParsedBlock(kind="heading", text=name, heading_path=(name,))
    for number, block in enumerate(row_blocks(_rows(sheet, max_cells), heading_path=(name,))):
        if number == 0:
            yield heading
        yield block


def _rows(sheet: ReadOnlyWorksheet, max_cells: int) -> Iterator[list[str]]:
    sheet.reset_dimensions()  # a sheet may say it is as large as it pleases
    cells = 0
    for row in sheet.iter_rows(max_row=_MAX_ROWS):
        cells += len(row)
        if cells > max_cells:
            raise ParseError(
                f"sheet {sheet.title!r} spreads over more than {max_cells} cells, most of them empty; "
                "delete its unused columns"
            )
        shown = [_shown(cell) for cell in row]
        if any(shown):
            yield shown


def _shown(cell: ReadOnlyCell | EmptyCell) -> str:
    value = cell.value
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if value.time() == datetime.time() else value.isoformat(timespec="seconds")
    if isinstance(value, int | float):
        if "%" in (cell.number_format or ""):
            return f"{value * 100:.12g}%"
        return f"{value:.15g}" if isinstance(value, float) else str(value)
    return str(value)
