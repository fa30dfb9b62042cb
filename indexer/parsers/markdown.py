"""Markdown, in the CommonMark dialect with tables."""

from __future__ import annotations

import re

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from indexer.parsers.base import HeadingStack, ParsedBlock, ParsedDocument, RawDocument, WholeFile, indent
from indexer.parsers.decode import decode
from indexer.parsers.html import fragment_text
from indexer.types import BlockKind

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(?P<body>.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_MARKDOWN = MarkdownIt("commonmark").enable("table").enable("strikethrough")


class MarkdownParser(WholeFile):
    """Reads headings, paragraphs, list items, fenced and indented code, tables, and YAML front matter."""

    media_type = "text/markdown"
    extensions = (".md", ".markdown")
    version = 1

    def parse(self, raw: RawDocument) -> ParsedDocument:
        """Return the blocks; the title is the front matter's, else the first heading of level 1."""
        text = decode(raw.content)
        title, metadata, body = _front_matter(text)
        walk = _Walk()
        for token in _MARKDOWN.parse(body):
            walk.see(token)
        return ParsedDocument(title=title or walk.title, blocks=tuple(walk.blocks), metadata=metadata)


class _Walk:
    """Turns markdown-it's flat list of opening and closing tokens into blocks."""

    def __init__(self) -> None:
        self.blocks: list[ParsedBlock] = []
        self.title: str | None = None
        self._headings = HeadingStack()
        self._heading_level: int | None = None
        self._lists: list[str] = []  # marker of the next item of each open list
        self._fresh_item = False
        self._row: list[str] | None = None
        self._rows: list[str] = []

    def see(self, token: Token) -> None:
        kind = token.type
        if kind == "heading_open":
            self._heading_level = int(token.tag[1:])
        elif kind == "heading_close":
            self._heading_level = None
        elif kind == "inline":
            self._text(inline_text(token))
        elif kind in ("fence", "code_block"):
            self._add("code", token.content.rstrip("\n"))
        elif kind == "html_block":
            self._add("paragraph", fragment_text(token.content))
        elif kind in ("bullet_list_open", "ordered_list_open"):
            self._lists.append("-" if kind == "bullet_list_open" else f"{token.attrGet('start') or 1}.")
        elif kind in ("bullet_list_close", "ordered_list_close"):
            self._lists.pop()
        elif kind == "list_item_open":
            self._fresh_item = True
        elif kind == "list_item_close":
            self._fresh_item = False
            self._lists[-1] = next_marker(self._lists[-1])
        else:
            self._table(kind)

    def _table(self, kind: str) -> None:
        if kind == "table_open":
            self._rows = []
        elif kind == "tr_open":
            self._row = []
        elif kind == "tr_close":
            self._rows.append(" | ".join(self._row or []))
            self._row = None
        elif kind == "table_close":
            self._add("table", "\n".join(self._rows))

    def _text(self, text: str) -> None:
        if self._row is not None:
            self._row.append(" ".join(text.split()))
        elif self._heading_level is not None:
            heading = " ".join(text.split())
            if heading:
                if self._heading_level == 1 and self.title is None:
                    self.title = heading
                self._headings.enter(self._heading_level, heading)
                self._add("heading", heading)
        elif self._lists:
            marker = f"{self._lists[-1]} " if self._fresh_item else ""
            self._fresh_item = False
            self._add("item", indent(len(self._lists)) + marker + text)
        else:
            self._add("paragraph", text)

    def _add(self, kind: BlockKind, text: str) -> None:
        if text.strip():
            self.blocks.append(ParsedBlock(kind=kind, text=text, heading_path=self._headings.path))


def inline_text(token: Token) -> str:
    """Return the text of an inline token: links by their text, images by their alternative text, no HTML tags."""
    parts: list[str] = []
    for child in token.children or []:
        if child.type in ("text", "code_inline", "text_special"):
            parts.append(child.content)
        elif child.type in ("softbreak", "hardbreak"):
            parts.append("\n")
        elif child.type == "image":
            parts.append(inline_text(child))
    return "".join(parts)


def next_marker(marker: str) -> str:
    """Return the marker after this one: `2.` after `1.`, `-` after `-`."""
    return marker if marker == "-" else f"{int(marker[:-1]) + 1}."


def _front_matter(text: str) -> tuple[str | None, tuple[tuple[str, str], ...], str]:
    match = _FRONT_MATTER.match(text)
    if match is None:
        return None, (), text
    try:
        fields = yaml.safe_load(match["body"])
    except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: a date such as 2031-02-30
        return None, (), text
    if not isinstance(fields, dict):
        return None, (), text
    title = fields.get("title")
    if isinstance(title, dict | list):  # aliases could make its text endless
        title = None
    metadata = tuple(
        (str(name), str(value))
        for name, value in fields.items()
        if name != "title" and not isinstance(value, dict | list)
    )
    return str(title) if title else None, metadata, text[match.end() :]
