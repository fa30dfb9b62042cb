"""JSON lines: one document per line, with `text` or `content`, and `title`, `id`, `url` where given."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import BinaryIO

from indexer.parsers.base import ParsedDocument, ParseError, RawDocument, SplitFailure
from indexer.parsers.plain import paragraphs
from indexer.text import clean

_TEXT_FIELDS = ("text", "content")
_OWN_FIELDS = frozenset({*_TEXT_FIELDS, "title", "id", "url"})
_METADATA_BYTES = 4096  # per document, so that a row stays small
_BOM = b"\xef\xbb\xbf"


class JsonLinesParser:
    """Reads one JSON object per line.

    A document's key is its `id`, else `L<line number>`: a line without id that changes place is a changed document.
    """

    media_type = "application/jsonl"
    extensions = (".jsonl", ".ndjson")
    version = 1

    def split(self, stream: BinaryIO, *, max_bytes: int) -> Iterator[RawDocument | SplitFailure]:
        """Yield a document per line that is not blank; a bad line is a failure of its own."""
        lines_by_key: dict[str, int] = {}
        number = 0
        while line := stream.readline(max_bytes + 1):
            number += 1
            if len(line) > max_bytes:
                _skip_rest(stream, line)
                yield SplitFailure(f"L{number}", f"line {number} is larger than {max_bytes} bytes (max_document_bytes)")
                continue
            content = line.removeprefix(_BOM).strip() if number == 1 else line.strip()
            if not content:
                continue
            try:
                key = record_key(load_json(content), otherwise=f"L{number}")
            except ParseError as error:
                yield SplitFailure(f"L{number}", f"line {number}: {error}")
                continue
            if key in lines_by_key:
                yield SplitFailure(
                    f"L{number}", f"line {number}: id {key!r} stands already on line {lines_by_key[key]}"
                )
                continue
            lines_by_key[key] = number
            yield RawDocument(key=key, content=content)

    def parse(self, raw: RawDocument) -> ParsedDocument:
        """Return the paragraphs of the text field; other scalar fields become metadata."""
        return read_record(load_json(raw.content))


def read_record(value: object) -> ParsedDocument:
    """Return the document in a JSON value.

    Raises:
        ParseError: Not an object, or it has no text.
    """
    record = _object(value)
    text = record_text(record)
    if text is None:
        raise ParseError("no text in the field `text` or `content`")
    title = record.get("title")
    url = record.get("url")
    return ParsedDocument(
        title=title.strip() or None if isinstance(title, str) else None,
        blocks=paragraphs(text.replace("\r\n", "\n").replace("\0", "")),
        url=url if isinstance(url, str) and url else None,
        metadata=_metadata(record),
    )


def record_text(record: Mapping[str, object]) -> str | None:
    """Return the text field of an object, None where it has none."""
    return next((value for field in _TEXT_FIELDS if isinstance(value := record.get(field), str)), None)


def record_key(value: object, *, otherwise: str) -> str:
    """Return the id of an object, `otherwise` where it has none.

    Raises:
        ParseError: Not an object, or an id that is neither text nor a whole number.
    """
    identifier = _object(value).get("id")
    if identifier is None or identifier == "":
        return otherwise
    if isinstance(identifier, bool) or not isinstance(identifier, str | int):
        raise ParseError(f"the field `id` must be text or a whole number, this is {type(identifier).__name__}")
    return clean(str(identifier)) or otherwise


def load_json(content: bytes) -> object:
    """Return a JSON value.

    Raises:
        ParseError: The bytes are no JSON.
    """
    try:
        value: object = json.loads(content)
    except UnicodeDecodeError as error:
        raise ParseError(f"not UTF-8 at byte {error.start}") from error
    except (ValueError, RecursionError) as error:
        raise ParseError(f"not JSON ({error})") from error
    return value


def _skip_rest(stream: BinaryIO, line: bytes) -> None:
    while line and not line.endswith(b"\n"):
        line = stream.readline(1 << 20)


def _object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ParseError(f"a JSON object is needed, this is {type(value).__name__}")
    return value


def _metadata(record: dict[str, object]) -> tuple[tuple[str, str], ...]:
    kept: list[tuple[str, str]] = []
    size = 0
    for name, value in record.items():
        if name in _OWN_FIELDS or not isinstance(value, str | int | float | bool):
            continue
        pair = (clean(name), clean(value) if isinstance(value, str) else json.dumps(value))
        size += len(pair[0].encode()) + len(pair[1].encode())
        if size > _METADATA_BYTES:
            break
        kept.append(pair)
    return tuple(kept)
