from __future__ import annotations

import pytest

from indexer.parsers.base import ParseError
from indexer.parsers.decode import decode, is_text

WESTERN = {
    "German": "Der Müller mahlt größere Äpfel für süße Brötchen.",
    "French": "L’été, la forêt brûle déjà à côté du château.",
    "Spanish": "El niño comió jalapeños mañana según José.",
    "Portuguese": "Não há informação sobre a situação.",
    "Italian": "Perché la città è così bella?",
    "Danish": "Blåbærsyltetøy på brød",
    "signs": "The “quoted” word – and 5 €.",
    "one letter": "Smith lives in Zürich.",
    "mixed": "Käse aus Gruyère",
}
CENTRAL = {
    "Czech": "Příliš žluťoučký kůň úpěl ďábelské ódy.",
    "Polish": "Zażółć gęślą jaźń w Łodzi",
    "Hungarian": "Árvíztűrő tükörfúrógép",
    "Croatian": "Češće šaljivdžije žive u Čakovcu, a đaci ćute.",
}
JAPANESE = ("日本語のテキストです。\n", "ポンプの水圧は3バールで、毎年3月に点検する。\nPump manual 2031\n")


@pytest.mark.parametrize("text", WESTERN.values(), ids=WESTERN)
@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_western_text(text: str, encoding: str) -> None:
    try:
        content = text.encode(encoding)
    except UnicodeEncodeError:
        pytest.skip("Latin-1 lacks these signs")
    assert decode(content) == text


@pytest.mark.parametrize("text", CENTRAL.values(), ids=CENTRAL)
@pytest.mark.parametrize("encoding", ["cp1250", "iso8859_2"])
def test_central_european_text(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize("encoding", ["shift_jis", "euc_jp", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("text", JAPANESE)
def test_japanese_text(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize("encoding", ["cp1251", "koi8_r", "cp1253"])
def test_other_alphabets(encoding: str) -> None:
    text = (
        "Η αντλία χρειάζεται έλεγχο κάθε χρόνο τον Μάρτιο, γιατί τα λάστιχα φθείρονται με τον καιρό."
        if encoding == "cp1253"
        else "Насос нужно проверять каждый год в марте, потому что резина со временем изнашивается."
    )
    assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize("text", ["Plain words.\n", "Größe 5 €", "Пример, 5 км"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark(text: str, encoding: str) -> None:
    assert decode(text.encode(encoding)) == text
    assert is_text(text.encode(encoding))


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\nx,\0y\n",
        b"text\0text\0\0text!",
        b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0",
        bytes(range(256)) * 4,
        b"\0" * 64,
        b"\0",
    ],
)
def test_binary_is_no_text(content: bytes) -> None:
    assert not is_text(content)
    with pytest.raises(ParseError, match="binary"):
        decode(content)


def test_what_is_declared_is_tried_before_utf8() -> None:
    assert decode("Größe".encode("cp1252"), declared="windows-1252") == "Größe"
    for wrong in ("no such encoding", "undefined", "utf-16", "hex"):
        assert decode("Größe!".encode(), declared=wrong) == "Größe!"


def test_a_mark_that_lies_is_refused() -> None:
    with pytest.raises(ParseError, match="starts as utf-16"):
        decode(b"\xff\xfea")
