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
        stage: Where it failed: `discover`, `read`, `parse`, `chunk` or `write`.
        reason: One sentence for the user.
        file: URI of the file that it is in; empty where there is none.
        source_id: The file's source id; empty likewise.
    """

    uri: str
    stage: str
    reason: str
    file: str = ""
    source_id: str = ""


@dataclass(frozen=True, slots=True)
class Identity:
    """What shaped the rows of a generation; rows of different identities never share a physical collection.

    Attributes:
        embedder: Identity of the model that made the vectors.
        dimension: Length of the vectors; 0 where only the loaded model can tell.
        chunker: The chunker's version and settings; empty where a collection does not record them.
        parsers: Formats and versions of their parsers; these alone may differ inside a generation.
        schema: Version of the fields.
    """

    embedder: str
    dimension: int
    chunker: str
    parsers: tuple[str, ...]
    schema: int


@dataclass(frozen=True, slots=True)
class Verification:
    """What a generation showed when its build was done, before readers were let in.

    Attributes:
        at: When, as ISO 8601 in UTC.
        chunks: Rows counted at Strong consistency, equal to what was written.
        recall: Share of the true nearest neighbours that the index found for the sample; None for an empty sample.
        sample: Stored vectors that were searched for.
        hits: Share of the golden questions that found what they name; None where none were asked.
        questions: Number of golden questions.
    """

    at: str
    chunks: int
    recall: float | None
    sample: int
    hits: float | None = None
    questions: int = 0


@dataclass(frozen=True, slots=True)
class FusionWeights:
    """How the two searches are mixed; see `indexer.fusion.fuse`.

    Attributes:
        dense: Share of the search by embeddings, 0 to 1; the rest is BM25's.
        section: Share of its section in a passage's score, 0 to 1.
    """

    dense: float = 1.0
    section: float = 0.0


@dataclass(frozen=True, slots=True)
class Generation:
    """A physical collection: what decides whether it may be searched, written or rolled back to.

    Attributes:
        alias: Name that callers use.
        physical: Name of the physical collection, such as `handbook__g1`.
        number: Number in the physical name.
        identity: What shaped its rows.
        verified: What its build showed; None for one that is not complete.
        rolled_back: Whether readers were taken back from it to an earlier one.
        advised: Weights that an evaluation of it advised and that were kept; None where none were.
    """

    alias: str
    physical: str
    number: int
    identity: Identity
    verified: Verification | None
    rolled_back: bool
    advised: FusionWeights | None = None

    @property
    def embedder(self) -> str:
        """Identity of the model that made the vectors."""
        return self.identity.embedder

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return self.identity.dimension


@dataclass(frozen=True, slots=True)
class StoredRow:
    """The part of a stored row that decides whether its document changed, and whose it is.

    Attributes:
        chunk_id: The row's key.
        document_id: Its document.
        document_hash: Version of the document that it was cut from.
        chunk_count: Number of chunks that version has.
        file: URI of the file that it came from; None for a row that does not tell.
        former: Id that its document had before it was renamed, or None.
    """

    chunk_id: str
    document_id: str
    document_hash: str
    chunk_count: int
    file: str | None
    former: str | None = None


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document as its stored rows tell it.

    Attributes:
        document_id: Its identifier.
        hashes: Versions that its rows were cut from; more than one is left by an interrupted change.
        rows: Number of stored chunks.
        chunk_count: Number of chunks it was cut into; another number of rows means an interrupted write.
        uri: Where it came from.
        title: Its title.
    """

    document_id: str
    hashes: tuple[str, ...]
    rows: int
    chunk_count: int
    uri: str
    title: str

    @property
    def is_complete(self) -> bool:
        """Whether exactly the chunks of one version are stored."""
        return self.rows == self.chunk_count and len(self.hashes) == 1


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A stored slice of a document, for people to look at.

    Attributes:
        chunk_id: The row's key.
        ordinal: Zero-based position in the document.
        title: The document's title.
        uri: Where the document came from.
        heading_path: Headings that all of the chunk lies under, outermost first.
        page: One-based page of its first character, or None.
        start: First character in the document's extracted text.
        end: One past the last character there.
        text: The slice.
    """

    chunk_id: str
    ordinal: int
    title: str
    uri: str
    heading_path: tuple[str, ...]
    page: int | None
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class ChunkPlace:
    """Where a stored chunk stands.

    Attributes:
        chunk_id: The row's key.
        document_id: Its document.
        heading_path: Headings that all of the chunk lies under, outermost first.
    """

    chunk_id: str
    document_id: str
    heading_path: tuple[str, ...]
