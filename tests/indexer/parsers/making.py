"""Files for tests of parsers."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from zipfile import ZIP_DEFLATED, ZipFile

import pyarrow as pa
from docx import Document
from openpyxl import Workbook
from pyarrow import parquet


def make_docx(*paragraphs: str, title: str = "") -> bytes:
    document = Document()
    document.core_properties.title = title
    for text in paragraphs:
        document.add_paragraph(text)
    return saved(document)


def make_xlsx(*sheets: Sequence[Sequence[object]]) -> bytes:
    book = Workbook()
    for number, rows in enumerate(sheets):
        sheet = book.active if number == 0 else book.create_sheet()
        for row in rows:
            sheet.append(list(row))
    return saved(book)


def make_parquet(rows: Sequence[dict[str, object]]) -> bytes:
    file = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


def saved(file: object) -> bytes:
    target = io.BytesIO()
    file.save(target)  # type: ignore[attr-defined]
    return target.getvalue()


def with_part(content: bytes, name: str, change: Callable[[bytes], bytes]) -> bytes:
    """A container with one part changed, or added where it has none of that name."""
    source = ZipFile(io.BytesIO(content))
    target = io.BytesIO()
    with ZipFile(target, "w", ZIP_DEFLATED) as out:
        for each in source.namelist():
            if each != name:
                out.writestr(each, source.read(each))
        out.writestr(name, change(source.read(name) if name in source.namelist() else b""))
    return target.getvalue()
