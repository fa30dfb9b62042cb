from __future__ import annotations

from collections.abc import Callable

import pytest
from docx import Document
from docx.document import Document as DocxDocument
from docx.enum.text import WD_BREAK
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls

from indexer.parsers.base import ParsedDocument, ParseError, RawDocument
from indexer.parsers.docx import DocxParser
from tests.indexer.parsers.making import make_docx, saved, with_part

DOCUMENT = "word/document.xml"


def parse(content: bytes) -> ParsedDocument:
    return DocxParser().parse(RawDocument(key=None, content=content))


def parse_made(make: Callable[[DocxDocument], object]) -> list[tuple[str, str]]:
    document = Document()
    make(document)
    return [(block.kind, block.text) for block in parse(saved(document)).blocks]


def parse_body(xml: str) -> list[tuple[str, str]]:
    """The blocks of a document with this XML in its body."""

    def fill(document: DocxDocument) -> None:
        body = parse_xml(f"<w:body {nsdecls('w', 'wp')}>{xml}</w:body>")
        for element in list(body):
            document.element.body.insert(len(document.element.body) - 1, element)

    return parse_made(fill)


def test_headings_paragraphs_and_their_paths() -> None:
    document = Document()
    document.add_paragraph("Pump manual", style="Title")
    document.add_heading("Service", level=1)
    document.add_paragraph("Every March.").add_run().add_break(WD_BREAK.PAGE)
    document.add_heading("Seals", level=2)
    document.add_paragraph("Check both.")
    document.add_heading("Storage", level=1)
    parsed = parse(saved(document))
    assert parsed.title == "Pump manual"
    assert [(block.kind, block.text, block.heading_path) for block in parsed.blocks] == [
        ("heading", "Pump manual", ("Pump manual",)),
        ("heading", "Service", ("Pump manual", "Service")),
        ("paragraph", "Every March.", ("Pump manual", "Service")),
        ("heading", "Seals", ("Pump manual", "Service", "Seals")),
        ("paragraph", "Check both.", ("Pump manual", "Service", "Seals")),
        ("heading", "Storage", ("Pump manual", "Storage")),
    ]


def test_the_title_of_the_properties_comes_first_and_none_is_made_up() -> None:
    assert parse(make_docx("Text", title="Stated")).title == "Stated"
    assert parse(make_docx("Text")).title is None
    assert parse(with_part(make_docx("Text"), "_rels/.rels", without_properties)).title is None


def without_properties(relations: bytes) -> bytes:
    before, _, rest = relations.partition(b"metadata/core-properties")
    return before[: before.rindex(b"<")] + rest[rest.index(b">") + 1 :]


def test_an_outline_level_makes_a_heading_of_any_style() -> None:
    blocks = parse_body(
        '<w:p><w:pPr><w:outlineLvl w:val="1"/></w:pPr><w:r><w:t>Own</w:t></w:r></w:p>'
        '<w:p><w:pPr><w:pStyle w:val="Heading1"/><w:outlineLvl w:val="9"/></w:pPr><w:r><w:t>Not</w:t></w:r></w:p>'
    )
    assert blocks == [("heading", "Own"), ("paragraph", "Not")]


def test_a_style_based_on_a_heading_is_one() -> None:
    def make(document: DocxDocument) -> None:
        style = document.styles.add_style("House heading", 1)
        style.base_style = document.styles["Heading 2"]
        document.add_paragraph("Based", style=style)

    assert parse_made(make) == [("heading", "Based")]


def test_lists_have_markers_and_depth() -> None:
    def make(document: DocxDocument) -> None:
        for style, text in (
            ("List Bullet", "one"),
            ("List Bullet 2", "inner"),
            ("List Number", "first"),
            ("List Number", "second"),
        ):
            document.add_paragraph(text, style=style)

    assert parse_made(make) == [
        ("item", "- one"),
        ("item", "  - inner"),
        ("item", "1. first"),
        ("item", "2. second"),
    ]


def test_numbers_start_anew_under_the_next_item() -> None:
    numbering = f"""<w:numbering {nsdecls("w")}><w:abstractNum w:abstractNumId="5">
        <w:lvl w:ilvl="0"><w:start w:val="3"/><w:numFmt w:val="decimal"/></w:lvl>
        <w:lvl w:ilvl="1"><w:start w:val="1"/><w:numFmt w:val="lowerLetter"/></w:lvl></w:abstractNum>
        <w:num w:numId="7"><w:abstractNumId w:val="5"/></w:num></w:numbering>"""
    document = Document()
    document.add_paragraph("")
    for level, text in ((0, "three"), (1, "a"), (1, "b"), (0, "four"), (1, "a again"), (0, "off")):
        properties = document.add_paragraph(text)._p.get_or_add_pPr().get_or_add_numPr()
        properties.get_or_add_ilvl().val = level
        properties.get_or_add_numId().val = 0 if text == "off" else 7
    content = with_part(saved(document), "word/numbering.xml", lambda _: numbering.encode())
    assert [block.text for block in parse(content).blocks] == [
        "3. three", "  1. a", "  2. b", "4. four", "  1. a again", "off",
    ]  # fmt: skip


def test_a_table_is_one_block_with_merged_cells_once() -> None:
    def make(document: DocxDocument) -> None:
        table = document.add_table(rows=3, cols=2)
        for row, texts in zip(table.rows, (("Well", "m"), ("A\nold", "12"), ("wide", "")), strict=True):
            for cell, text in zip(row.cells, texts, strict=True):
                cell.text = text
        table.cell(2, 0).merge(table.cell(2, 1))
        document.add_paragraph("after")

    assert parse_made(make) == [("table", "Well | m\nA old | 12\nwide"), ("paragraph", "after")]


def test_a_table_of_one_cell_is_a_frame() -> None:
    def make(document: DocxDocument) -> None:
        cell = document.add_table(rows=1, cols=1).cell(0, 0)
        cell.text = "Note"
        cell.add_paragraph("List item", style="List Bullet")

    assert parse_made(make) == [("paragraph", "Note"), ("item", "- List item")]


def test_tracked_changes_hidden_text_and_fields_are_read_as_shown() -> None:
    assert parse_body(
        "<w:p><w:r><w:t>Pay </w:t></w:r><w:del><w:r><w:delText>ten</w:delText></w:r></w:del>"
        "<w:ins><w:r><w:t>five</w:t></w:r></w:ins><w:r><w:tab/><w:t>euros</w:t><w:br/><w:t>now</w:t></w:r>"
        "<w:r><w:rPr><w:vanish/></w:rPr><w:t>hidden</w:t></w:r><w:r><w:instrText>PAGE</w:instrText></w:r>"
        "<w:hyperlink><w:r><w:t>, see</w:t><w:noBreakHyphen/></w:r></w:hyperlink></w:p>"
    ) == [("paragraph", "Pay five\teuros\nnow, see-")]


def test_content_controls_are_read_and_tables_of_contents_are_not() -> None:
    contents = '<w:sdtPr><w:docPartObj><w:docPartGallery w:val="Table of Contents"/></w:docPartObj></w:sdtPr>'
    inside = "<w:sdtContent><w:p><w:r><w:t>{}</w:t></w:r></w:p></w:sdtContent>"
    blocks = parse_body(
        f"<w:sdt>{contents}{inside.format('1 Seals')}</w:sdt><w:sdt><w:sdtPr/>{inside.format('Kept')}</w:sdt>"
    )
    assert blocks == [("paragraph", "Kept")]


def test_a_text_box_follows_its_paragraph_and_is_read_once() -> None:
    box = "<w:txbxContent><w:p><w:r><w:t>In the box</w:t></w:r></w:p></w:txbxContent>"
    mc = 'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
    assert parse_body(
        f"<w:p><w:r><mc:AlternateContent {mc}><mc:Choice>{box}</mc:Choice><mc:Fallback>{box}</mc:Fallback>"
        '</mc:AlternateContent><w:drawing><wp:docPr descr="A pump. "/></w:drawing><w:t>Around</w:t></w:r></w:p>'
    ) == [("paragraph", "A pump. Around"), ("paragraph", "In the box")]


def test_a_document_with_macros_is_read_without_them() -> None:
    plain = b"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    content = with_part(
        make_docx("Text"),
        "[Content_Types].xml",
        lambda types: types.replace(plain, b"application/vnd.ms-word.document.macroEnabled.main+xml"),
    )
    assert [block.text for block in parse(content).blocks] == ["Text"]


@pytest.mark.parametrize("change", [lambda _: b"", lambda part: part[:-50], lambda _: b"<a/>", lambda _: b"not XML"])
def test_a_document_part_that_is_none_is_refused(change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ParseError, match="damaged"):
        parse(with_part(make_docx("Text"), DOCUMENT, change))


def test_a_container_without_a_document_is_refused() -> None:
    content = with_part(
        make_docx("Text"), "_rels/.rels", lambda part: part.replace(b"word/document.xml", b"word/no.xml")
    )
    with pytest.raises(ParseError, match="damaged"):
        parse(content)


def test_deep_nesting_is_refused() -> None:
    deep = b"<w:sdt><w:sdtContent>" * 5000 + b"</w:sdtContent></w:sdt>" * 5000
    with pytest.raises(ParseError, match="damaged"):
        parse(with_part(make_docx("Text"), DOCUMENT, lambda part: part.replace(b"<w:sectPr", deep + b"<w:sectPr", 1)))
