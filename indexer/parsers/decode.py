"""Bytes to text: byte-order mark, then what the document declares, then UTF-8, then a guess."""

from __future__ import annotations

import codecs
import re

from charset_normalizer import from_bytes

from indexer.parsers.base import ParseError

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_GUESS_BYTES = 64 * 1024  # a guess from the head is as good and keeps a large file quick
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")


def decode(content: bytes, *, declared: str | None = None) -> str:
    r"""Return the text of `content` with `\n` line ends and without control characters.

    Args:
        content: The document's bytes.
        declared: Encoding that the document itself names, tried before UTF-8; an unknown name is passed over.

    Raises:
        ParseError: The bytes are not text in any encoding that can be told.
    """
    text = _decode(content, declared)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROL.sub("", text.replace("\x0c", "\n\n"))


def _decode(content: bytes, declared: str | None) -> str:
    for mark, encoding in _BOMS:
        if content.startswith(mark):
            return _strict(content, encoding)
    if b"\0" in content:
        raise ParseError("the content is binary, not text")
    if declared is not None and (text := _try(content, declared)) is not None:
        return text
    if (text := _try(content, "utf-8")) is not None:
        return text
    best = from_bytes(content[:_GUESS_BYTES]).best()
    if best is None:
        raise ParseError("no encoding fits the content")
    if (text := _try(content, best.encoding)) is not None:
        return text
    return content.decode(best.encoding, "replace")


def _strict(content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ParseError(
            f"the content starts as {encoding} but is not: {error.reason} at byte {error.start}"
        ) from error


def _try(content: bytes, encoding: str) -> str | None:
    try:
        return content.decode(encoding)
    except (UnicodeDecodeError, LookupError):
        return None
