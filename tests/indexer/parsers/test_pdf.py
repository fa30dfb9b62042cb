from __future__ import annotations

import io

import pytest
from fpdf import FPDF
from pypdf import PdfReader, PdfWriter

from indexer.parsers.base import ParseError, RawDocument
from indexer.parsers.pdf import PdfParser


def make_pdf(*pages: str, title: str | None = None) -> bytes:
    pdf = FPDF()
    pdf.set_font("helvetica", size=12)
    if title is not None:
        pdf.set_title(title)
    for text in pages:
        pdf.add_page()
        if text:
            pdf.multi_cell(0, 8, text)
    return bytes(pdf.output())


def parse(content: bytes):
    return PdfParser().parse(RawDocument(key=None, content=content))


def test_text_comes_with_its_page() -> None:
    parsed = parse(make_pdf("The pump holds 40 litres.", "Service it in March.", title="Pump manual"))
    assert parsed.title == "Pump manual"
    assert [(block.text, block.page) for block in parsed.blocks] == [
        ("The pump holds 40 litres.", 1),
        ("Service it in March.", 2),
    ]


def test_words_divided_at_a_line_end_are_joined() -> None:
    assert "irrigation of" in parse(make_pdf("The irri-\ngation of fields.")).blocks[0].text


def test_a_page_without_text_is_passed_over() -> None:
    assert [block.page for block in parse(make_pdf("", "Text")).blocks] == [2]


def test_no_text_layer_is_a_clear_failure() -> None:
    with pytest.raises(ParseError, match="no text layer on any of its 2 pages"):
        parse(make_pdf("", ""))


@pytest.mark.parametrize("content", [b"%PDF-1.7 nothing more", b"not a pdf", b""])
def test_damaged_files_are_refused(content: bytes) -> None:
    with pytest.raises(ParseError, match="damaged"):
        parse(content)


def test_a_truncated_file_is_refused_or_read_but_never_crashes() -> None:
    whole = make_pdf("Some text on a page.", "More text.")
    refused = 0
    for end in range(0, len(whole), 97):
        try:
            parse(whole[:end])
        except ParseError:
            refused += 1
    assert refused > 3


def test_a_password_is_asked_for() -> None:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(make_pdf("Secret"))))
    writer.encrypt("open sesame", algorithm="RC4-128")
    sealed = io.BytesIO()
    writer.write(sealed)
    with pytest.raises(ParseError, match="password"):
        parse(sealed.getvalue())
