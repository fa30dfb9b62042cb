"""Perl POD: headings, paragraphs, lists and verbatim blocks, as `perldoc` would show them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from indexer.parsers.base import HeadingStack, ParsedBlock, ParsedDocument, RawDocument, WholeFile, indent
from indexer.parsers.decode import decode
from indexer.parsers.pod_codes import plain
from indexer.types import BlockKind

_ENCODING = re.compile(rb"^=encoding[ \t]+([A-Za-z0-9_\-]+)", re.MULTILINE)
_COMMAND = re.compile(r"=(?P<name>[a-zA-Z][a-zA-Z0-9]*)(?:\s+(?P<rest>.*))?\Z", re.DOTALL)
_BULLET = re.compile(r"\*|\d+[.)]?|\Z")
_ITEM_LEVEL = 10  # below every heading level, so that a heading always leaves the lists above it


class PodParser(WholeFile):
    """Reads POD as perlpodspec says.

    The label of an `=item` with words becomes the last part of the heading path of the text under it, because
    manuals such as perlfunc are one long list of them. `=for` and `=begin` for other formatters are left out.
    """

    media_type = "text/x-pod"
    extensions = (".pod",)
    version = 1

    def parse(self, raw: RawDocument) -> ParsedDocument:
        """Return the blocks; the title is the text under the heading NAME."""
        declared = _ENCODING.search(raw.content)
        text = decode(raw.content, declared=declared[1].decode("ascii") if declared else None)
        walk = _Walk()
        for paragraph in _paragraphs(text):
            walk.see(paragraph)
        walk.finish()
        return ParsedDocument(title=walk.title, blocks=tuple(walk.blocks))


def _paragraphs(text: str) -> Iterator[str]:
    lines: list[str] = []
    for line in text.split("\n"):
        if line.strip():
            lines.append(line)
        elif lines:
            yield "\n".join(lines)
            lines = []
    if lines:
        yield "\n".join(lines)


class _Walk:
    """Sees one paragraph after the other, as they stand in the file."""

    def __init__(self) -> None:
        self.blocks: list[ParsedBlock] = []
        self.title: str | None = None
        self._headings = HeadingStack()
        self._active = False
        self._foreign: str | None = None
        self._depth = 0
        self._verbatim: list[str] = []
        self._marker = ""

    def see(self, paragraph: str) -> None:
        command = _COMMAND.match(paragraph) if paragraph.startswith("=") else None
        if command is not None:
            self._end_verbatim()
            self._command(command["name"], (command["rest"] or "").strip())
        elif not self._active or self._foreign is not None:
            return
        elif paragraph[0] in " \t":
            self._verbatim.append(paragraph.expandtabs(8).rstrip())
        else:
            self._end_verbatim()
            self._ordinary(_one_line(plain(paragraph)))

    def finish(self) -> None:
        """Take what the end of the file leaves open."""
        self._end_verbatim()

    def _command(self, name: str, rest: str) -> None:
        if self._foreign is not None:
            if name == "end" and rest.split(maxsplit=1)[:1] == [self._foreign]:
                self._foreign = None
            return
        self._active = name != "cut"
        if name.startswith("head") and name[4:].isdigit():
            self._heading(int(name[4:]), _one_line(plain(rest)))
        elif name == "item":
            self._item(_one_line(plain(rest)))
        elif name == "over":
            self._depth += 1
        elif name == "back" and self._depth:
            self._depth -= 1
            self._marker = ""
            self._headings.leave(_ITEM_LEVEL + self._depth)
        elif name == "begin" and not rest.startswith(":"):
            self._foreign = (rest.split(maxsplit=1) or [""])[0]

    def _heading(self, level: int, text: str) -> None:
        self._depth = 0
        self._marker = ""
        if text:
            self._headings.enter(level, text)
            self._add("heading", text)

    def _item(self, label: str) -> None:
        self._depth = max(1, self._depth)
        level = _ITEM_LEVEL + self._depth - 1
        bullet = _BULLET.match(label)
        self._headings.leave(level)
        if bullet is not None and bullet.end() == len(label):
            self._marker = "- " if label in ("", "*") else f"{label} "
            return
        if bullet is not None and label[bullet.end() : bullet.end() + 1].isspace():
            self._marker = "- " if bullet[0] == "*" else f"{bullet[0]} "
            self._ordinary(label[bullet.end() :].strip())
            return
        self._marker = ""
        self._headings.enter(level, label)
        self._add("item", indent(self._depth) + label)

    def _ordinary(self, text: str) -> None:
        if self.title is None and self._headings.path == ("NAME",):
            self.title = text
        if self._marker:
            marker, self._marker = self._marker, ""
            self._add("item", indent(self._depth) + marker + text)
        else:
            self._add("paragraph", text)

    def _end_verbatim(self) -> None:
        if self._verbatim:
            self._add("code", "\n\n".join(self._verbatim))
            self._verbatim = []

    def _add(self, kind: BlockKind, text: str) -> None:
        if text.strip():
            self.blocks.append(ParsedBlock(kind=kind, text=text, heading_path=self._headings.path))


def _one_line(text: str) -> str:
    return " ".join(text.split())
