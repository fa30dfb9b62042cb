"""Which parser a file needs: by its first bytes where they are telling, else by its extension."""

from __future__ import annotations

import re
from pathlib import PurePath

from indexer.parsers import EXTENSIONS
from indexer.parsers.decode import is_text
from indexer.parsers.docx import DocxParser
from indexer.parsers.html import HtmlParser
from indexer.parsers.json import JsonParser
from indexer.parsers.json_lines import JsonLinesParser
from indexer.parsers.ooxml import OLE2, ZIP, sniff_kind
from indexer.parsers.parquet import ParquetParser
from indexer.parsers.pdf import PdfParser
from indexer.parsers.plain import PlainParser
from indexer.parsers.pod import PodParser
from indexer.parsers.xlsx import XlsxParser

SNIFF_BYTES = 8192  # enough for the list of parts at the front of an Office file

_OFFICE = {"docx": DocxParser.media_type, "xlsx": XlsxParser.media_type}
_JSON = (JsonParser.media_type, JsonLinesParser.media_type)
_UNTOLD = frozenset({"", ".txt", ".text"})  # extensions that promise nothing about the content
_RTF = b"{\\rtf"
_BOM = b"\xef\xbb\xbf"
_HTML_START = re.compile(
    rb"(?:<\?xml[^>]*>\s*)?(?:<!--(?:(?!-->).)*-->\s*)*<(?:!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL
)
_POD_START = re.compile(rb"(?:\A|\n)=(?:pod|head1|encoding)\b")
_JSON_LINES_START = re.compile(rb"\{[^\n]*\}[ \t\r]*\n\s*\{")


def detect(name: str, head: bytes) -> str | None:
    """Return the media type of a file, or None where no parser reads it.

    PDF, Parquet and Office files are known by their content whatever their name; HTML by its doctype in any text; for a
    name without extension and `.txt` all of the content counts. A file of a text format that is binary is nothing.

    Args:
        name: The file's name; its extension counts unless the content contradicts it.
        head: The first SNIFF_BYTES bytes, fewer for a shorter file.
    """
    extension = PurePath(name).suffix.lower()
    declared = EXTENSIONS.get(extension)
    if head.startswith(b"%PDF-"):
        return PdfParser.media_type
    if head.startswith(b"PAR1"):
        return ParquetParser.media_type
    if head.startswith(ZIP) and (kind := sniff_kind(head)) is not None:
        return _OFFICE[kind]
    if declared is not None and not declared.startswith("text/") and declared not in _JSON:
        return declared  # damaged or with a password: its parser says what is wrong
    if (declared is None and extension not in _UNTOLD) or head.startswith(_RTF) or not is_text(head):
        return None
    start = head.removeprefix(_BOM).lstrip()
    if _HTML_START.match(start):
        return HtmlParser.media_type
    if declared in _JSON:
        return _json_type(declared, start)
    if extension in _UNTOLD and _POD_START.search(head.replace(b"\r\n", b"\n")):
        return PodParser.media_type
    return declared or PlainParser.media_type


def why_not(head: bytes) -> str:
    """Return why no parser reads a file, as a clause, from its first bytes."""
    reason = "no parser reads this format"
    if head.startswith(OLE2):
        reason = "it is an Office file of 97-2003 or one with a password (OLE2); save it as .docx or .xlsx"
    elif head.startswith(_RTF):
        reason = "it is Rich Text (RTF); save it as .docx"
    return f"{reason}; supported are {supported()}"


def supported() -> str:
    """Return the file name endings that are read."""
    return " ".join(sorted(EXTENSIONS))


def _json_type(declared: str, start: bytes) -> str:
    if start.startswith(b"["):
        return JsonParser.media_type
    return JsonLinesParser.media_type if _JSON_LINES_START.match(start) else declared
