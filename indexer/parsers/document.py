"""From what a parser found to a document whose blocks know their place in its text."""

from __future__ import annotations

import json
from pathlib import PurePosixPath

from indexer.identity import DOCUMENT_ID_MAX_BYTES, shorten
from indexer.parsers.base import ParsedDocument, ParseError
from indexer.sources.provenance import with_file
from indexer.text import clean, clip
from indexer.types import Block, Document, SourceFile

_BETWEEN = "\n\n"
HEADING_MAX_BYTES = 1024  # as for a title; a chunk repeats all that it stands under
HEADINGS_MAX = 16
KEY_MAX_BYTES = 1024  # of an address; more of a key is in no id either
METADATA_MAX_BYTES = 32_768  # as JSON with escapes; every chunk repeats it, and a server's JSON field holds 65,536


def document_id(source: SourceFile, key: str | None) -> str:
    """Return `<root>/<relative path>`, with `#<key>` where a file holds several documents; long ones end in a hash."""
    whole = source.source_id if key is None else f"{source.source_id}#{key}"
    return shorten(whole, DOCUMENT_ID_MAX_BYTES)


def document_uri(source: SourceFile, key: str | None) -> str:
    """Return the file's URI, with `#<key>` where a file holds several documents; long keys end in a hash."""
    return source.uri if key is None else f"{source.uri}#{shorten(key, KEY_MAX_BYTES)}"


def build_document(parsed: ParsedDocument, *, source: SourceFile, key: str | None) -> Document:
    """Join the blocks to the document's text; of headings that are too long or too deep only a part is kept.

    Raises:
        ParseError: There is no text at all, or too much metadata.
    """
    blocks: list[Block] = []
    texts: list[str] = []
    place = 0
    for block in parsed.blocks:
        text = clean(block.text)
        if not text.strip():
            continue
        if texts:
            place += len(_BETWEEN)
        blocks.append(
            Block(
                kind=block.kind,
                text=text,
                heading_path=_headings(block.heading_path),
                page=block.page,
                start=place,
                end=place + len(text),
            )
        )
        texts.append(text)
        place += len(text)
    if not blocks:
        raise ParseError("the document has no text")
    uri = clean(parsed.url or "") or document_uri(source, key)
    metadata = with_file([(clean(name), clean(value)) for name, value in parsed.metadata], uri=uri, file=source.uri)
    size = len(json.dumps(dict(metadata)))
    if size > METADATA_MAX_BYTES:
        raise ParseError(
            f"its metadata has {size} bytes as JSON; at most {METADATA_MAX_BYTES} are kept with each chunk"
        )
    return Document(
        document_id=document_id(source, key),
        uri=uri,
        title=(clean(parsed.title or "").strip() or key or PurePosixPath(source.source_id).stem).strip(),
        text=_BETWEEN.join(texts),
        blocks=tuple(blocks),
        metadata=metadata,
    )


def _headings(path: tuple[str, ...]) -> tuple[str, ...]:
    """Return the outermost headings, each clipped: a whole paragraph may be marked up as one."""
    return tuple(clip(clean(part), HEADING_MAX_BYTES) for part in path[:HEADINGS_MAX])
