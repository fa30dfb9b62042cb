"""DOCX: headings, paragraphs, lists and tables of the text body."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from docx import Document
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.opc.package import OpcPackage
from docx.oxml.ns import qn
from docx.oxml.xmlchemy import BaseOxmlElement

from indexer.parsers.base import HeadingStack, ParsedBlock, ParsedDocument, ParseError, RawDocument, indent
from indexer.parsers.docx_styles import Paragraphs
from indexer.parsers.ooxml import OfficeFile, unpacked
from indexer.types import BlockKind

_TRANSPARENT = frozenset(map(qn, ("w:sdt", "w:sdtContent", "w:customXml", "w:smartTag", "w:ins", "w:moveTo")))
_LEFT_OUT = frozenset(
    {
        *map(qn, ("w:pPr", "w:del", "w:moveFrom", "w:instrText", "w:delText", "w:fldData", "w:rt", "w:softHyphen")),
        "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback",  # the same again for old readers
    }
)
_MATH_TEXT = "{http://schemas.openxmlformats.org/officeDocument/2006/math}t"
_CONTENTS_STYLE = re.compile(r"toc \d", re.IGNORECASE)
_CONTENTS_GALLERY = "Table of Contents"


class DocxParser(OfficeFile):
    """Reads the body as a reader sees it: insertions in, deletions and hidden text out, text boxes after their place.

    Headers, footers, footnotes, comments and tables of contents are left out; pages are not known.
    """

    media_type = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    extensions = (".docx", ".docm")
    version = 1

    def parse(self, raw: RawDocument) -> ParsedDocument:
        """Return the blocks; the title is the core properties', else of style Title, else the first heading 1."""
        container = unpacked(raw.content, "docx")
        try:
            document = Document(container)
            walk = _Walk(Paragraphs(document.part))
            walk.run(document.element.body)
            title = _stated_title(document.part.package)
        except ParseError:
            raise
        except Exception as error:
            raise ParseError(f"the DOCX is damaged ({type(error).__name__}: {error})") from error
        return ParsedDocument(title=title or walk.title, blocks=tuple(walk.blocks))


def _stated_title(package: OpcPackage | None) -> str:
    """Return the title in the core properties; python-docx would make some up where there are none."""
    if package is None:
        return ""
    try:
        package.part_related_by(RELATIONSHIP_TYPE.CORE_PROPERTIES)
    except KeyError:
        return ""
    return _one_line(package.core_properties.title)


class _Walk:
    """Goes through the body in reading order; lxml allows 256 levels, so that recursion is safe."""

    def __init__(self, paragraphs: Paragraphs) -> None:
        self.blocks: list[ParsedBlock] = []
        self.title: str | None = None
        self._paragraphs = paragraphs
        self._headings = HeadingStack()

    def run(self, container: BaseOxmlElement) -> None:
        for element in _children(container):
            if element.tag == qn("w:p"):
                self._paragraph(element)
            elif element.tag == qn("w:tbl"):
                self._table(element)

    def _paragraph(self, element: BaseOxmlElement) -> None:
        boxes: list[BaseOxmlElement] = []
        text = "".join(_texts(element, boxes)).strip()
        if text:
            self._add_paragraph(element, text)
        for box in boxes:
            self.run(box)

    def _add_paragraph(self, element: BaseOxmlElement, text: str) -> None:
        style = self._paragraphs.style_name(element)
        level = self._paragraphs.heading_level(element)
        if _CONTENTS_STYLE.fullmatch(style):
            return
        if level is not None:
            heading = _one_line(text)
            if self.title is None and level <= 1:
                self.title = heading
            self._headings.enter(level, heading)
            self._add("heading", heading)
        elif (place := self._paragraphs.list_place(element)) is not None:
            self._add("item", f"{indent(place.depth)}{place.marker} {text}")
        else:
            self._add("paragraph", text)

    def _table(self, table: BaseOxmlElement) -> None:
        rows = [
            [cell for cell in _children(row) if cell.tag == qn("w:tc")]
            for row in _children(table)
            if row.tag == qn("w:tr")
        ]
        if len(rows) == 1 and len(rows[0]) == 1:  # a frame around text, not a table
            self.run(rows[0][0])
            return
        lines = [[_one_line(" ".join(_cell_texts(cell))) for cell in row] for row in rows]
        self._add("table", "\n".join(" | ".join(cells) for cells in lines if any(cells)))

    def _add(self, kind: BlockKind, text: str) -> None:
        if text:
            self.blocks.append(ParsedBlock(kind=kind, text=text, heading_path=self._headings.path))


def _children(element: BaseOxmlElement) -> Iterator[BaseOxmlElement]:
    """Yield the children, those inside content controls and insertions too, a table of contents not."""
    for child in element:
        if child.tag not in _TRANSPARENT:
            yield child
        elif not _is_contents(child):
            yield from _children(child)


def _is_contents(element: BaseOxmlElement) -> bool:
    gallery = element.find(f"{qn('w:sdtPr')}/{qn('w:docPartObj')}/{qn('w:docPartGallery')}")
    return gallery is not None and gallery.get(qn("w:val")) == _CONTENTS_GALLERY


def _cell_texts(cell: BaseOxmlElement) -> Iterator[str]:
    for paragraph in cell.iter(qn("w:p")):
        boxes: list[BaseOxmlElement] = []  # their paragraphs are found by themselves
        yield "".join(_texts(paragraph, boxes))


def _texts(element: BaseOxmlElement, boxes: list[BaseOxmlElement]) -> Iterator[str]:
    """Yield the text of a paragraph in pieces; text boxes anchored in it are put into `boxes`."""
    for child in element:
        tag = child.tag
        if tag in (qn("w:t"), _MATH_TEXT):
            yield child.text or ""
        elif tag == qn("w:tab"):
            yield "\t"
        elif tag == qn("w:br"):
            yield "\n" if child.get(qn("w:type")) in (None, "textWrapping") else " "
        elif tag == qn("w:cr"):
            yield "\n"
        elif tag == qn("w:noBreakHyphen"):
            yield "-"
        elif tag == qn("w:txbxContent"):
            boxes.append(child)
        elif tag == qn("wp:docPr"):
            yield child.get("descr") or ""
        elif tag not in _LEFT_OUT and not _is_hidden(child):
            yield from _texts(child, boxes)


def _is_hidden(run: BaseOxmlElement) -> bool:
    mark = run.find(f"{qn('w:rPr')}/{qn('w:vanish')}")
    return mark is not None and mark.get(qn("w:val")) not in ("0", "false", "off")


def _one_line(text: str | Iterable[str]) -> str:
    return " ".join("".join(text).split())
