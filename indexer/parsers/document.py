"""From what a parser found to a document whose blocks know their place in its text."""

from __future__ import annotations

from pathlib import PurePosixPath

from indexer.identity import DOCUMENT_ID_MAX_BYTES, shorten
from indexer.parsers.base import ParsedDocument, ParseError
from indexer.sources.provenance import with_file
from indexer.types import Block, Document, SourceFile

_BETWEEN = "\n\n"


def document_id(source: SourceFile, key: str | None) -> str:
    """Return `<root>/<relative path>`, with `#<key>` where a file holds several documents; long ones end in a hash."""
    whole = source.source_id if key is None else f"{source.source_id}#{key}"
    return shorten(whole, DOCUMENT_ID_MAX_BYTES)


def document_uri(source: SourceFile, key: str | None) -> str:
    """Return the file's URI, with `#<key>` where a file holds several documents."""
    return source.uri if key is None else f"{source.uri}#{key}"


def build_document(parsed: ParsedDocument, *, source: SourceFile, key: str | None) -> Document:
    """Join the blocks to the document's text.

    Raises:
        ParseError: There is no text at all.
    """
    blocks: list[Block] = []
    texts: list[str] = []
    place = 0
    for block in parsed.blocks:
        text = _clean(block.text)
        if not text.strip():
            continue
        if texts:
            place += len(_BETWEEN)
        blocks.append(
            Block(
                kind=block.kind,
                text=text,
                heading_path=tuple(_clean(part) for part in block.heading_path),
                page=block.page,
                start=place,
                end=place + len(text),
            )
        )
        texts.append(text)
        place += len(text)
    if not blocks:
        raise ParseError("the document has no text")
    uri = parsed.url or document_uri(source, key)
    return Document(
        document_id=document_id(source, key),
        uri=uri,
        title=_clean(parsed.title or key or PurePosixPath(source.source_id).stem).strip(),
        text=_BETWEEN.join(texts),
        blocks=tuple(blocks),
        metadata=with_file(parsed.metadata, uri=uri, file=source.uri),
    )


def _clean(text: str) -> str:
    """Drop lone surrogates and NULs, which neither a tokenizer nor Milvus takes."""
    return text.encode("utf-8", "ignore").decode("utf-8").replace("\0", "")
