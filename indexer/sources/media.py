"""Which parser a file needs: by its first bytes where they are telling, else by its extension."""

from __future__ import annotations

import re
from pathlib import PurePath

MARKDOWN = "text/markdown"
HTML = "text/html"
PLAIN = "text/plain"
JSON_LINES = "application/jsonl"
PDF = "application/pdf"
PARQUET = "application/vnd.apache.parquet"
POD = "text/x-pod"

EXTENSIONS = {
    ".md": MARKDOWN,
    ".markdown": MARKDOWN,
    ".html": HTML,
    ".htm": HTML,
    ".xhtml": HTML,
    ".txt": PLAIN,
    ".text": PLAIN,
    ".rst": PLAIN,
    ".jsonl": JSON_LINES,
    ".ndjson": JSON_LINES,
    ".pdf": PDF,
    ".parquet": PARQUET,
    ".pod": POD,
}
SNIFF_BYTES = 2048
_UNTOLD = frozenset({"", ".txt", ".text"})  # extensions that promise nothing about the content
_HTML_START = re.compile(
    rb"(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL
)
_POD_START = re.compile(rb"(?:\A|\n)=(?:pod|head1|encoding)\b")
_BOMS = (b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")


def detect(name: str, head: bytes) -> str | None:
    """Return the media type of a file, or None where no parser reads it.

    Args:
        name: The file's name; its extension counts unless the content contradicts it.
        head: The first SNIFF_BYTES bytes, fewer for a shorter file.
    """
    extension = PurePath(name).suffix.lower()
    if extension not in EXTENSIONS and extension not in _UNTOLD:
        return None
    if head.startswith(b"%PDF-"):
        return PDF
    declared = EXTENSIONS.get(extension)
    if declared in (PDF, PARQUET):
        return declared
    if b"\0" in head and not head.startswith(_BOMS):
        return None
    if extension in _UNTOLD:
        return _sniff_text(head)
    return declared


def _sniff_text(head: bytes) -> str:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if _HTML_START.match(start):
        return HTML
    if _POD_START.search(head.replace(b"\r\n", b"\n")):
        return POD
    return PLAIN
