"""What a parser is, and what it gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from indexer.types import BlockKind


class ParseError(Exception):
    """A document cannot be read; the text is a clause for the report, without the document's name."""


@dataclass(frozen=True, slots=True)
class RawDocument:
    """A document's bytes, before parsing.

    Attributes:
        key: Name of the document inside its file, cleaned (`indexer.text`); None where the file is one document.
        content: The bytes that the document hash is taken over.
    """

    key: str | None
    content: bytes


@dataclass(frozen=True, slots=True)
class SplitFailure:
    """A part of a file that is not a document; `key` names it, `reason` says why."""

    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class ParsedBlock:
    """A block before its place in the text is known; see `indexer.types.Block`."""

    kind: BlockKind
    text: str
    heading_path: tuple[str, ...] = ()
    page: int | None = None


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """What a parser found.

    Attributes:
        title: Title stated in the document, or None.
        blocks: Structure in reading order; blank blocks are dropped later.
        url: Address that the document states as its own, or None.
        metadata: Further fields, as name and text pairs.
    """

    title: str | None
    blocks: tuple[ParsedBlock, ...]
    url: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()


class Parser(Protocol):
    """One format. Parsers hold no state; a new one is a file here, a line in the registry, and a test."""

    media_type: str
    version: int
    """Raised by one when the parser's output changes, so that documents are indexed anew."""

    @property
    def extensions(self) -> tuple[str, ...]:
        """File name endings, lower case with the dot; no two parsers share one."""
        ...

    def split(self, stream: BinaryIO, *, max_bytes: int) -> Iterator[RawDocument | SplitFailure]:
        """Yield the documents in a file that can be sought, holding one at a time; none is larger than `max_bytes`.

        Raises:
            ParseError: The file as a whole cannot be read.
        """
        ...

    def parse(self, raw: RawDocument) -> ParsedDocument:
        """Return the structure of one document.

        Raises:
            ParseError: The document cannot be read.
        """
        ...


class WholeFile:
    """Splitting for formats where the file is the document."""

    def split(self, stream: BinaryIO, *, max_bytes: int) -> Iterator[RawDocument | SplitFailure]:
        """Yield the whole file.

        Raises:
            ParseError: The file is larger than `max_bytes`.
        """
        content = stream.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise ParseError(f"the document is larger than the limit of {max_bytes} bytes (max_document_bytes)")
        yield RawDocument(key=None, content=content)


class HeadingStack:
    """The headings above the current place in a document."""

    def __init__(self) -> None:
        """Start at the top, under no heading."""
        self._entries: list[tuple[int, str]] = []

    def enter(self, level: int, text: str) -> tuple[str, ...]:
        """Go under a heading of `level` (1 is outermost) and return the path, the heading itself last."""
        self.leave(level)
        self._entries.append((level, text))
        return self.path

    def leave(self, level: int) -> None:
        """Go out of every heading of `level` or deeper."""
        while self._entries and self._entries[-1][0] >= level:
            self._entries.pop()

    @property
    def path(self) -> tuple[str, ...]:
        """Headings above, outermost first."""
        return tuple(text for _, text in self._entries)


def indent(depth: int) -> str:
    """Return the white space before an item of a list at `depth` (1 is outermost), at most eight levels of it."""
    return "  " * min(max(depth - 1, 0), 8)
