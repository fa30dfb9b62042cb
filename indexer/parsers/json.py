"""JSON: a list of documents, one document, or structure as key paths."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import BinaryIO

import ijson

from indexer.parsers.base import ParsedBlock, ParsedDocument, ParseError, RawDocument, SplitFailure, WholeFile
from indexer.parsers.json_lines import load_json, read_record, record_key, record_text

_BOM = b"\xef\xbb\xbf"
_BLOCK_BYTES = 64 * 1024
_MAX_DEPTH = 16  # what lies deeper is given as JSON
_KEY_CHARS = 80
_MAX_GROWTH = 10  # the key paths of an honest file make its text two to four times as long


class JsonParser(WholeFile):
    """Reads `.json` as its content asks.

    - A list whose first item is an object with text (the fields of JSON lines: `text` or `content`, `title`, `id`,
      `url`) is as many documents; their keys are their ids, else `I<place in the list>`. The list may be of any size.
    - One such object is one document.
    - Everything else is one document of lines `servers[0].name: web`, an object's own values together.
    """

    media_type = "application/json"
    extensions = (".json",)
    version = 1

    def split(self, stream: BinaryIO, *, max_bytes: int) -> Iterator[RawDocument | SplitFailure]:
        """Yield the documents of a list, else the whole file.

        Raises:
            ParseError: A list is broken off or no JSON, or the document is larger than `max_bytes`.
        """
        start = len(_BOM) if stream.read(len(_BOM)) == _BOM else 0
        stream.seek(start)
        if _holds_documents(stream, max_bytes):
            stream.seek(start)
            yield from _documents(stream, max_bytes)
        else:
            stream.seek(0)
            yield from super().split(stream, max_bytes=max_bytes)

    def parse(self, raw: RawDocument) -> ParsedDocument:
        """Return the paragraphs of the text field, or the key paths."""
        value = load_json(raw.content)
        if raw.key is not None or _is_document(value):
            return read_record(value)
        title = value.get("title") if isinstance(value, dict) else None
        budget = _MAX_GROWTH * len(raw.content)
        blocks = []
        for block in _structure(value, path="", depth=0):
            budget -= len(block.text)
            if budget < 0:
                raise ParseError(f"its key paths make more than {_MAX_GROWTH} times the text that is in it")
            blocks.append(block)
        return ParsedDocument(title=title if isinstance(title, str) and title.strip() else None, blocks=tuple(blocks))


class _Guarded:
    """A stream that ends with an error where one item is larger than the limit."""

    def __init__(self, stream: BinaryIO, max_bytes: int) -> None:
        self._stream = stream
        self._max_bytes = max_bytes
        self.since_item = 0

    def read(self, size: int) -> bytes:
        if self.since_item > self._max_bytes + _BLOCK_BYTES:
            raise ParseError(
                f"an item of the list is larger than the limit of {self._max_bytes} bytes (max_document_bytes)"
            )
        block = self._stream.read(size)
        self.since_item += len(block)
        return block


def _items(stream: BinaryIO, max_bytes: int) -> Iterator[object]:
    guarded = _Guarded(stream, max_bytes)
    for item in ijson.items(guarded, "item", use_float=True, buf_size=_BLOCK_BYTES):
        guarded.since_item = 0
        yield item


def _holds_documents(stream: BinaryIO, max_bytes: int) -> bool:
    try:
        return _is_document(next(_items(stream, max_bytes), None))
    except (ijson.JSONError, ParseError, UnicodeDecodeError):
        return False


def _documents(stream: BinaryIO, max_bytes: int) -> Iterator[RawDocument | SplitFailure]:
    places: dict[str, int] = {}
    place = 0
    try:
        for place, item in enumerate(_items(stream, max_bytes), start=1):
            yield _document(item, place, places, max_bytes)
    except (ijson.JSONError, UnicodeDecodeError, ParseError) as error:
        raise ParseError(f"the list cannot be read after item {place}: {error}") from error


def _document(item: object, place: int, places: dict[str, int], max_bytes: int) -> RawDocument | SplitFailure:
    try:
        content = json.dumps(item, ensure_ascii=False, sort_keys=True).encode("utf-8", "surrogatepass")
        key = record_key(item, otherwise=f"I{place}")
    except (ParseError, RecursionError) as error:
        return SplitFailure(f"I{place}", f"item {place}: {error}")
    if len(content) > max_bytes:
        return SplitFailure(f"I{place}", f"item {place} is larger than {max_bytes} bytes (max_document_bytes)")
    if key in places:
        return SplitFailure(f"I{place}", f"item {place}: id {key!r} stands already on item {places[key]}")
    places[key] = place
    return RawDocument(key=key, content=content)


def _is_document(value: object) -> bool:
    return isinstance(value, dict) and record_text(value) is not None


def _structure(value: object, *, path: str, depth: int, top: tuple[str, ...] = ()) -> Iterator[ParsedBlock]:
    """Yield a block of the values that stand directly in an object or a list, then those of what is nested in it."""
    if not isinstance(value, dict | list):
        yield ParsedBlock(kind="paragraph", text=_scalar(value))
        return
    members = value.items() if isinstance(value, dict) else enumerate(value)
    lines: list[str] = []
    nested: list[tuple[str, object, tuple[str, ...]]] = []
    for name, member in members:
        inner = f"{path}[{name}]" if isinstance(value, list) else f"{path}.{_short(str(name))}".lstrip(".")
        if isinstance(member, dict | list) and member and not _is_plain_list(member) and depth < _MAX_DEPTH:
            nested.append((inner, member, top or (_short(str(name)),) if isinstance(value, dict) else top))
        elif text := _scalar(member):
            lines.append(f"{inner}: {text}")
    if lines:
        yield ParsedBlock(kind="item", text="\n".join(lines), heading_path=top)
    for inner, member, heading in nested:
        yield from _structure(member, path=inner, depth=depth + 1, top=heading)


def _is_plain_list(value: object) -> bool:
    return isinstance(value, list) and not any(isinstance(member, dict | list) for member in value)


def _scalar(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list) and _is_plain_list(value):
        return ", ".join(filter(None, map(_scalar, value)))
    return json.dumps(value, ensure_ascii=False)


def _short(key: str) -> str:
    return key if len(key) <= _KEY_CHARS else f"{key[:_KEY_CHARS]}…"
