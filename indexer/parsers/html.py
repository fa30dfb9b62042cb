"""HTML: the main content, without navigation, scripts and page furniture."""

from __future__ import annotations

import re

from selectolax.lexbor import LexborHTMLParser, LexborNode

from indexer.parsers.base import HeadingStack, ParsedBlock, ParsedDocument, RawDocument, WholeFile, indent
from indexer.parsers.decode import decode
from indexer.parsers.html_page import is_anchor_mark, is_furniture, is_layout, main_content, names
from indexer.types import BlockKind

_MAX_LAYOUTS = 10  # tables inside one another that are looked into for whether they only place text
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = names("""
    address article blockquote body center dd details div dl dt fieldset figcaption figure footer header hr li main ol p
    section summary table caption thead tbody tfoot tr td th ul pre h1 h2 h3 h4 h5 h6
""")
_DECLARED = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.\-]{2,40})", re.IGNORECASE)
_XML_DECLARED = re.compile(rb"\A\s*<\?xml[^>]{0,100}encoding\s*=\s*[\"']([A-Za-z0-9_.\-]{2,40})", re.IGNORECASE)
_SPACES = re.compile(r"[ \t\r\n\f\u00a0]+")


class HtmlParser(WholeFile):
    """Reads the `main` element, else a lone `article`, else the body less its navigation.

    Navigation is told by element, role, class and id; where nothing is left of a page, class and id do not count.
    """

    media_type = "text/html"
    extensions = (".html", ".htm", ".xhtml")
    version = 2

    def parse(self, raw: RawDocument) -> ParsedDocument:
        """Return headings, paragraphs, list items, preformatted text and tables of the main content."""
        tree = LexborHTMLParser(decode(raw.content, declared=_declared_encoding(raw.content)))
        walk = _Walk()
        for root, by_name in ((main_content(tree), True), (tree.body, True), (tree.body, False)):
            if root is not None and not walk.blocks:
                walk = _Walk(by_name=by_name)
                walk.run(root)
        title_node = tree.css_first("title")
        title = _squeeze(title_node.text()) if title_node is not None else ""
        return ParsedDocument(title=title or walk.first_heading, blocks=tuple(walk.blocks))


def fragment_text(html: str) -> str:
    """Return the text of a piece of HTML inside another document, one block per line."""
    body = LexborHTMLParser(html).body
    walk = _Walk()
    if body is not None:
        walk.run(body)
    return "\n".join(block.text for block in walk.blocks)


def _declared_encoding(content: bytes) -> str | None:
    head = content[:4096]
    match = _XML_DECLARED.search(head) or _DECLARED.search(head)
    return match[1].decode("ascii") if match else None


class _Walk:
    """Goes through the tree with a loop, not by recursion: pages with thousands of nested tags exist."""

    def __init__(self, *, by_name: bool = False) -> None:
        self.blocks: list[ParsedBlock] = []
        self._by_name = by_name
        self.first_heading: str | None = None
        self._headings = HeadingStack()
        self._inline: list[str] = []
        self._pre = 0
        self._lists: list[str] = []
        self._marker = ""
        self._terms: list[str] = []  # of a description list, put in front of their description
        self._rows: list[str] | None = None
        self._cells: list[str] = []
        self._layouts = 0
        self._inside_content = 0

    def run(self, root: LexborNode) -> None:
        node: LexborNode | None = root
        while node is not None:
            descend = self._enter(node, is_root=node.mem_id == root.mem_id)
            if descend and node.child is not None:
                node = node.child
                continue
            if descend:
                self._leave(node)
            while node is not None:
                if node.mem_id == root.mem_id:
                    node = None
                elif node.next is not None:
                    node = node.next
                    break
                else:
                    node = node.parent
                    if node is not None:
                        self._leave(node)
        self._flush("paragraph")

    def _enter(self, node: LexborNode, *, is_root: bool) -> bool:
        """Begin a node; False leaves its subtree out."""
        if node.is_text_node:
            self._inline.append(node.text_content or "")
            return False
        if not node.is_element_node:
            return False
        tag = node.tag or ""
        if not is_root and is_furniture(node, inside_content=self._inside_content > 0, by_name=self._by_name):
            return False
        if tag == "br":
            self._inline.append("\n")
            return False
        if tag == "img":
            self._inline.append(node.attributes.get("alt") or "")
            return False
        if tag == "a" and is_anchor_mark(node):
            return False
        if tag in _BLOCKS:
            self._open(tag, node)
        return True

    def _open(self, tag: str, node: LexborNode) -> None:
        self._flush("item" if self._lists else "paragraph")
        if tag == "pre":
            self._pre += 1
        elif tag in ("ul", "ol"):
            self._lists.append("-" if tag == "ul" else "1.")
        elif tag == "li" and self._lists:
            self._marker = f"{self._lists[-1]} "
            if self._lists[-1] != "-":
                self._lists[-1] = f"{int(self._lists[-1][:-1]) + 1}."
        elif tag == "table" and self._rows is None:
            if self._layouts < _MAX_LAYOUTS and is_layout(node):
                self._layouts += 1
            else:
                self._rows = []
        elif tag == "dl":
            self._lone_terms()
        elif tag in ("main", "article"):
            self._inside_content += 1

    def _leave(self, node: LexborNode) -> None:
        tag = node.tag or ""
        if tag in ("td", "th") and self._rows is not None:
            self._cells.append(_squeeze("".join(self._inline)))
            self._inline.clear()
        elif tag == "tr" and self._rows is not None:
            if any(self._cells):
                self._rows.append(" | ".join(self._cells))
            self._cells = []
        elif tag == "table" and self._rows is not None:
            self._inline.clear()
            rows, self._rows = self._rows, None
            self._add("table", "\n".join(rows))
        elif tag == "table":
            self._flush("paragraph")
            self._layouts = max(0, self._layouts - 1)
        elif tag in _HEADINGS:
            self._heading(_HEADINGS[tag])
        elif tag == "pre":
            self._flush("code")
            self._pre -= 1
        elif tag in ("ul", "ol"):
            self._flush("item")
            if self._lists:
                self._lists.pop()
        elif tag == "dt" and self._rows is None:
            term = _squeeze("".join(self._inline))
            self._inline.clear()
            self._terms += [term] if term else []
        elif tag in ("li", "dd"):
            self._flush("item")
        elif tag == "dl":
            self._flush("item")
            self._lone_terms()
        elif tag in _BLOCKS:
            self._flush("item" if self._lists else "paragraph")
            if tag in ("main", "article"):
                self._inside_content -= 1

    def _heading(self, level: int) -> None:
        text = _squeeze("".join(self._inline))
        self._inline.clear()
        if not text:
            return
        if self._rows is not None:
            self._inline.append(f"{text} ")
            return
        self.first_heading = self.first_heading or text
        self._headings.enter(level, text)
        self._add("heading", text)

    def _flush(self, kind: BlockKind) -> None:
        if self._rows is not None:  # a block inside a table cell stays part of the cell
            if self._inline and not self._inline[-1].endswith(" "):
                self._inline.append(" ")
            return
        joined = "".join(self._inline)
        self._inline.clear()
        if self._pre:
            self._add("code", joined.strip("\n").rstrip())
            return
        self._add(kind, _squeeze(joined))

    def _add(self, kind: BlockKind, text: str) -> None:
        if not text.strip():
            return
        if kind not in ("item", "paragraph"):
            self._lone_terms()
        elif self._terms:
            kind, text, self._terms = "item", ": ".join([*self._terms, text]), []
        if kind == "item":
            text, self._marker = indent(len(self._lists)) + self._marker + text, ""
        self.blocks.append(ParsedBlock(kind=kind, text=text, heading_path=self._headings.path))

    def _lone_terms(self) -> None:
        terms, self._terms = self._terms, []
        for term in terms:
            self.blocks.append(ParsedBlock(kind="item", text=f"{term}:", heading_path=self._headings.path))


def _squeeze(text: str) -> str:
    return _SPACES.sub(" ", text).strip()
