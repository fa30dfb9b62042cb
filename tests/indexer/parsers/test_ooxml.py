from __future__ import annotations

import io
import re
import struct
import tracemalloc
from zipfile import ZIP_BZIP2, ZipFile

import pytest

from indexer.parsers.base import ParseError, Parser, RawDocument
from indexer.parsers.docx import DocxParser
from indexer.parsers.ooxml import OLE2, OfficeFile, unpacked
from indexer.parsers.xlsx import XlsxParser
from tests.indexer.parsers.making import make_docx, make_xlsx, with_part

DOCUMENT = "word/document.xml"


def split(content: bytes, *, max_bytes: int) -> list[object]:
    return list(OfficeFile().split(io.BytesIO(content), max_bytes=max_bytes))


def test_the_limit_holds_for_the_text_when_it_is_unpacked() -> None:
    bomb = with_part(make_docx("Text"), DOCUMENT, lambda part: part + b" " * 20_000_000)
    assert len(bomb) < 100_000
    with pytest.raises(ParseError, match=r"is 20\d{6} bytes when unpacked, more than the limit of 1000000 bytes"):
        split(bomb, max_bytes=1_000_000)
    assert len(split(bomb, max_bytes=30_000_000)) == 1


def test_pictures_do_not_count() -> None:
    content = with_part(make_docx("Text"), "word/media/image1.png", lambda _: b"\0" * 20_000_000)
    assert split(content, max_bytes=1_000_000) == [RawDocument(key=None, content=content)]
    with ZipFile(unpacked(content, "docx")) as container:
        assert container.read("word/media/image1.png") == b""
        assert b"Text" in container.read(DOCUMENT)


def test_a_part_that_holds_more_than_it_declares_is_not_unpacked() -> None:
    honest = with_part(make_docx("Text"), DOCUMENT, lambda part: part + b" " * 60_000_000)
    declared = struct.pack("<L", len(ZipFile(io.BytesIO(honest)).read(DOCUMENT)))
    lying = honest.replace(declared, struct.pack("<L", 2000))
    assert lying != honest
    assert len(split(lying, max_bytes=1_000_000)) == 1
    tracemalloc.start()
    try:
        with pytest.raises(ParseError, match=r"word/document\.xml is damaged"):
            unpacked(lying, "docx")
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_xml_entities_are_refused_before_they_are_expanded(encoding: str) -> None:
    bomb = '<!DOCTYPE d [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><d>&b;</d>'
    if encoding == "utf-16":
        bomb = f'<?xml version="1.0" encoding="utf-16"?>{bomb}'
    for content, kind, part in ((make_docx("x"), "docx", DOCUMENT), (make_xlsx([["x"]]), "xlsx", "xl/workbook.xml")):
        with pytest.raises(ParseError, match="defines XML entities"):
            unpacked(with_part(content, part, lambda _: bomb.encode(encoding)), kind)  # type: ignore[arg-type]


@pytest.mark.parametrize("parser", [DocxParser(), XlsxParser()], ids=["docx", "xlsx"])
def test_the_strict_form_is_read_too(parser: Parser) -> None:
    content = make_docx("Oats") if isinstance(parser, DocxParser) else make_xlsx([["Oats"]])
    for name in ZipFile(io.BytesIO(content)).namelist():
        content = with_part(content, name, strict)
    assert b"purl.oclc.org" in ZipFile(io.BytesIO(content)).read("_rels/.rels")
    assert "Oats" in parser.parse(RawDocument(key=None, content=content)).blocks[-1].text


def strict(part: bytes) -> bytes:
    return re.sub(
        rb"http://schemas\.openxmlformats\.org/(\w+)/2006/(main|relationships)\b",
        rb"http://purl.oclc.org/ooxml/\1/\2",
        part,
    ).replace(b"http://purl.oclc.org/ooxml/package/", b"http://schemas.openxmlformats.org/package/2006/")


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_a_container_that_is_cut_off_says_so(keep: float) -> None:
    content = make_docx("Text")
    with pytest.raises(ParseError, match="damaged or cut off"):
        split(content[: int(len(content) * keep)], max_bytes=1_000_000)


def test_a_damaged_part_says_so() -> None:
    content = make_docx("Text")
    place = content.index(b"word/document.xml") + 200
    with pytest.raises(ParseError, match=r"word/document\.xml is damaged"):
        unpacked(content[:place] + bytes(100) + content[place + 100 :], "docx")


def test_another_zip_file_is_refused() -> None:
    packed = io.BytesIO()
    with ZipFile(packed, "w") as out:
        out.writestr("a.txt", "text")
    with pytest.raises(ParseError, match="no Office document"):
        unpacked(packed.getvalue(), "docx")
    with pytest.raises(ParseError, match=r"without the main part of a \.docx"):
        unpacked(make_xlsx([["a"]]), "docx")


def test_a_packing_that_no_office_program_uses_is_refused() -> None:
    packed = io.BytesIO()
    with ZipFile(packed, "w", ZIP_BZIP2) as out:
        out.writestr("[Content_Types].xml", "<Types/>")
    with pytest.raises(ParseError, match="method 12"):
        unpacked(packed.getvalue(), "docx")


def test_a_password_and_an_old_format_are_told_apart() -> None:
    with pytest.raises(ParseError, match="needs a password"):
        unpacked(OLE2 + bytes(500) + "EncryptedPackage".encode("utf-16-le"), "docx")
    with pytest.raises(ParseError, match="97-2003"):
        unpacked(OLE2 + bytes(500), "docx")
    content = bytearray(make_docx("Text"))
    for header, flags_at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = -1
        while (place := content.find(header, place + 1)) >= 0:
            content[place + flags_at] |= 1
    with pytest.raises(ParseError, match="is encrypted and needs a password"):
        unpacked(bytes(content), "docx")
