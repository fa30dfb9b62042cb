"""What a paragraph of a DOCX is, by its own properties and its style's: a heading, a list item, or neither."""

from __future__ import annotations

import re
from dataclasses import dataclass

from docx.opc.constants import RELATIONSHIP_TYPE
from docx.oxml.ns import qn
from docx.oxml.xmlchemy import BaseOxmlElement
from docx.parts.document import DocumentPart

_HEADING_NAME = re.compile(r"heading (\d)", re.IGNORECASE)
_LIST_NAME = re.compile(r"List (?:Bullet|Number|Continue)(?: (\d))?", re.IGNORECASE)
_BODY_LEVEL = 9  # of `w:outlineLvl`: no heading
_TITLE_LEVEL = 0  # above every heading


@dataclass(frozen=True, slots=True)
class ListPlace:
    """Where a list item stands: its depth from 1, and `-` or its number."""

    depth: int
    marker: str


@dataclass(frozen=True, slots=True)
class _Style:
    name: str
    based_on: str | None
    properties: BaseOxmlElement | None


class Paragraphs:
    """The styles and lists of one document; `list_place` counts, so paragraphs are asked for in order."""

    def __init__(self, part: DocumentPart) -> None:
        """Read the styles and the list definitions."""
        self._styles: dict[str, _Style] = {}
        for style in part.styles.element.iter(qn("w:style")):
            identifier = style.get(qn("w:styleId")) or ""
            self._styles[identifier] = _Style(
                name=_value(style, "w:name") or "",
                based_on=_value(style, "w:basedOn"),
                properties=style.find(qn("w:pPr")),
            )
        self._formats = _list_formats(part)
        self._counts: dict[tuple[str, int], int] = {}

    def style_name(self, paragraph: BaseOxmlElement) -> str:
        """Return the name of the paragraph's style, empty where it has none."""
        chain = self._chain(paragraph)
        return chain[0].name if chain else ""

    def heading_level(self, paragraph: BaseOxmlElement) -> int | None:
        """Return the level of a heading from 1, 0 for the title, None for other text."""
        chain = self._chain(paragraph)
        if any(style.name.lower() == "title" for style in chain):
            return _TITLE_LEVEL
        stated = self._first(paragraph, "w:outlineLvl")
        level = _number(stated)
        if level is not None:
            return level + 1 if 0 <= level < _BODY_LEVEL else None
        named = (_HEADING_NAME.fullmatch(style.name) for style in chain)
        return next((int(match[1]) for match in named if match), None)

    def list_place(self, paragraph: BaseOxmlElement) -> ListPlace | None:
        """Return the place of a list item, None for other text."""
        number = self._first(paragraph, "w:numPr/w:numId")
        names = (_LIST_NAME.fullmatch(style.name) for style in self._chain(paragraph))
        named = next((match for match in names if match), None)
        if number in (None, "0") and (named is None or number == "0"):
            return None
        level = _number(self._first(paragraph, "w:numPr/w:ilvl")) or 0
        depth = max(level + 1, int(named[1] or 1) if named else 1)
        if number is None:
            return ListPlace(depth=depth, marker="-")
        return ListPlace(depth=depth, marker=self._marker(number, level))

    def _marker(self, number: str, level: int) -> str:
        start = self._formats.get((number, level))
        if start is None:
            return "-"
        count = self._counts.get((number, level), start - 1) + 1
        self._counts[(number, level)] = count
        for deeper in [key for key in self._counts if key[0] == number and key[1] > level]:
            del self._counts[deeper]
        return f"{count}."

    def _first(self, paragraph: BaseOxmlElement, path: str) -> str | None:
        """Return a property of the paragraph, else of the nearest style that states it."""
        own = paragraph.find(qn("w:pPr"))
        places = [own, *(style.properties for style in self._chain(paragraph))]
        found = (_value(place, path) for place in places if place is not None)
        return next((value for value in found if value is not None), None)

    def _chain(self, paragraph: BaseOxmlElement) -> list[_Style]:
        """Return the paragraph's style and those that it is based on."""
        own = paragraph.find(qn("w:pPr"))
        identifier = _value(own, "w:pStyle") if own is not None else None
        chain: dict[str, _Style] = {}
        while identifier is not None and identifier in self._styles and identifier not in chain:
            chain[identifier] = self._styles[identifier]
            identifier = self._styles[identifier].based_on
        return list(chain.values())


def _list_formats(part: DocumentPart) -> dict[tuple[str, int], int | None]:
    """Return by list and level the first number, None for bullets."""
    try:
        numbering = part.part_related_by(RELATIONSHIP_TYPE.NUMBERING).element  # type: ignore[attr-defined]
    except KeyError:
        return {}
    levels: dict[str, dict[int, int | None]] = {}
    for abstract in numbering.iter(qn("w:abstractNum")):
        formats: dict[int, int | None] = {}
        for level in abstract.iter(qn("w:lvl")):
            bullet = _value(level, "w:numFmt") in ("bullet", "none", None)
            formats[_number(level.get(qn("w:ilvl"))) or 0] = None if bullet else _number(_value(level, "w:start")) or 1
        levels[abstract.get(qn("w:abstractNumId")) or ""] = formats
    return {
        (number.get(qn("w:numId")) or "", level): start
        for number in numbering.iter(qn("w:num"))
        for level, start in levels.get(_value(number, "w:abstractNumId") or "", {}).items()
    }


def _value(element: BaseOxmlElement, path: str) -> str | None:
    found = element.find("/".join(map(qn, path.split("/"))))
    return None if found is None else found.get(qn("w:val"))


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.lstrip("-").isdigit() else None
