"""Plain text: paragraphs between blank lines, encoding detected."""

from __future__ import annotations

import re

from indexer.parsers.base import ParsedBlock, ParsedDocument, RawDocument, WholeFile
from indexer.parsers.decode import decode

_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")
_TITLE_CHARS = 100  # a longer first line is a sentence, not a title
_INDENTED = re.compile(r"(?:[ ]{4}|\t)")


class PlainParser(WholeFile):
    """Reads text files; the first line is the title where it stands alone and is short."""

    media_type = "text/plain"
    extensions = (".txt", ".text", ".rst")
    version = 1

    def parse(self, raw: RawDocument) -> ParsedDocument:
        """Return the paragraphs; one whose lines are all indented counts as code."""
        blocks = paragraphs(decode(raw.content))
        title = None
        if len(blocks) > 1 and "\n" not in blocks[0].text and len(blocks[0].text) <= _TITLE_CHARS:
            title = blocks[0].text.strip().strip("=#*- ") or None
        return ParsedDocument(title=title, blocks=blocks)


def paragraphs(text: str, *, heading_path: tuple[str, ...] = (), page: int | None = None) -> tuple[ParsedBlock, ...]:
    """Return the paragraphs of a text, split at blank lines."""
    found = []
    for part in _BLANK_LINES.split(text.strip("\n")):
        if part.strip():
            indented = all(_INDENTED.match(line) for line in part.splitlines() if line.strip())
            found.append(
                ParsedBlock(
                    kind="code" if indented else "paragraph",
                    text=part.rstrip() if indented else part.strip(),
                    heading_path=heading_path,
                    page=page,
                )
            )
    return tuple(found)
