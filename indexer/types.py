"""Plain data that passes between the stages of the indexer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

BlockKind = Literal["heading", "paragraph", "item", "code", "table"]


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to index.

    Attributes:
        uri: Where it is, by which any process can open it (`sources.stores.open_source`): `file://`, or in a bucket.
        media_type: What the extension and the first bytes say the file is, such as `text/markdown`.
        bytes: Size when it was found.
        source_id: `<root folder's name>/<path relative to the root>` or `<bucket>/<key>`, the stem of its documents'
            ids.
    """

    uri: str
    media_type: str
    bytes: int
    source_id: str


@dataclass(frozen=True, slots=True)
class Block:
    """A unit of structure: a heading, a paragraph, a list item, a code block or a table.

    Attributes:
        kind: What the block is; the chunker keeps code and tables whole where they fit.
        text: Plain text, markup removed.
        heading_path: Headings above the block, outermost first; a heading's own text is the last of its path.
        page: One-based page for paged formats, else None.
        start: First character of the block in the document's extracted text.
        end: One past the block's last character there.
    """

    kind: BlockKind
    text: str
    heading_path: tuple[str, ...]
    page: int | None
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed document.

    Attributes:
        document_id: Stable identifier, derived from the path relative to the indexed root.
        uri: Where the document came from.
        title: Title from the document itself, else the file's name.
        text: Extracted text: the blocks in order, separated by blank lines.
        blocks: Structure over `text`; `text[block.start:block.end] == block.text`.
        metadata: Further fields of the source, as name and text pairs.
    """

    document_id: str
    uri: str
    title: str
    text: str
    blocks: tuple[Block, ...]
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A slice of a document, as it is stored.

    Attributes:
        chunk_id: Deterministic identifier over tenant, document, ordinal and text.
        document_id: Identifier of the document.
        document_hash: Hash over the document's bytes and the pipeline that cut it; equal means nothing to do.
        title: The document's title.
        heading_path: Headings that all of the chunk lies under, outermost first.
        uri: Where the document came from.
        page: One-based page of the chunk's first character, or None.
        ordinal: Zero-based position in the document.
        chunk_count: Number of chunks the document was cut into; fewer stored rows mean an interrupted write.
        text: The slice, equal to the document's extracted text from `start` to `end`.
        search_text: What is embedded and searched by BM25: title and headings, then the text.
        start: First character in the document's extracted text.
        end: One past the last character there.
        metadata: The document's further fields.
    """

    chunk_id: str
    document_id: str
    document_hash: str
    title: str
    heading_path: tuple[str, ...]
    uri: str
    page: int | None
    ordinal: int
    chunk_count: int
    text: str
    search_text: str
    start: int
    end: int
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class FailedDocument:
    """A document that was left out.

    Attributes:
        uri: Where the document is.
        stage: Where it failed: `discover`, `read`, `parse`, `chunk`, `embed` or `write`.
        reason: One sentence for the user.
    """

    uri: str
    stage: str
    reason: str


@dataclass(frozen=True, slots=True)
class Generation:
    """A physical collection: what decides whether it may be searched or written.

    Attributes:
        alias: Name that callers use.
        physical: Name of the physical collection, such as `handbook__g1`.
        number: Number in the physical name.
        embedder: Identity of the model that made the vectors.
        dimension: Length of the vectors.
    """

    alias: str
    physical: str
    number: int
    embedder: str
    dimension: int


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """What the store knows about a collection.

    Attributes:
        alias: Name that callers use.
        physical: Name of the physical collection, such as `handbook__g1`.
        generation: Number in the physical name.
        embedder: Identity of the model that made the vectors.
        dimension: Length of the vectors.
        chunks: Number of stored chunks of all tenants.
    """

    alias: str
    physical: str
    generation: int
    embedder: str
    dimension: int
    chunks: int


@dataclass(frozen=True, slots=True)
class StoredRow:
    """The part of a stored row that decides whether its document changed, and whose it is.

    Attributes:
        chunk_id: The row's key.
        document_id: Its document.
        document_hash: Version of the document that it was cut from.
        chunk_count: Number of chunks that version has.
        file: URI of the file that it came from; None for a row that does not tell.
    """

    chunk_id: str
    document_id: str
    document_hash: str
    chunk_count: int
    file: str | None
