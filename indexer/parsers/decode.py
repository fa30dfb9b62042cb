"""Bytes to text: byte-order mark, what the document declares, UTF-8, a European alphabet that fits, then a guess."""

from __future__ import annotations

import codecs
import re
from collections import Counter

from charset_normalizer import from_bytes

from indexer.parsers.base import ParseError

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_GUESS_BYTES = 64 * 1024  # a guess from the head is as good and keeps a large file quick
_NUL_SHARE = 0.05  # of every second byte of UTF-16 without a mark: digits, spaces or line ends in any script
_NUL_SHARE_ASCII = 0.9  # where the other bytes are ASCII text
_ASCII = re.compile(rb"[\x00\t\n\r\x0c -~]*")
_PRINTABLE = 0.95  # of its characters
# Letters beyond ASCII, a language each, by the encodings made for them. What charset-normalizer lists first for such
# text is often another encoding of equal rank, mostly cp1250, in which some of the letters are wrong.
_WESTERN = (
    *("äöüß", "àâæçéèêëîïôœùûüÿ", "áéíóúüñ", "áâãàçéêíóôõúü", "àèéìíîòóùú"),
    *("åäöæøéüšž", "áèéêëïíóöüú", "áðéíóúýþæö"),
)
_CENTRAL = ("áčďéěíňóřšťúůýž", "áäčďéíĺľňóôŕšťúýž", "ąćęłńóśźż", "áéíóöőúüű", "čćđšž", "ăâîşţ")
_TURKISH = ("âçğıîöşüû",)
_ALPHABETS = (("cp1252", _WESTERN), ("cp1250", _CENTRAL), ("iso8859_2", _CENTRAL), ("cp1254", _TURKISH))
_SIGNS = frozenset("“”„‘’‚‹›«»–—…•·€£§°©®™¿¡ºª²³½¼\u00a0\u00ad")  # of every language
_USUAL = "cp1252"
_FEW_LETTERS = 8  # fewer do not tell a language
_FITS = 0.97  # of the letters beyond ASCII: foreign names occur
_WIDE_NAME = re.compile(r"utf[-_]?(16|32)|ucs", re.IGNORECASE)  # cannot be true where there is no NUL
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f]")


def decode(content: bytes, *, declared: str | None = None) -> str:
    r"""Return the text of `content` with `\n` line ends and without control characters.

    Args:
        content: The document's bytes.
        declared: Encoding that the document itself names, tried before UTF-8; an unknown name is passed over.

    Raises:
        ParseError: The bytes are not text in any encoding that can be told.
    """
    text = _decode(content, declared)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROL.sub("", text.replace("\x0c", "\n\n"))


def _decode(content: bytes, declared: str | None) -> str:
    for mark, encoding in _BOMS:
        if content.startswith(mark):
            return _strict(content, encoding)
    if b"\0" in content:
        wide = _wide(content)
        if wide is None:
            raise ParseError("the content is binary, not text")
        return _strict(content, wide)
    if declared is not None and not _WIDE_NAME.match(declared) and (text := _try(content, declared)) is not None:
        return text
    if (text := _try(content, "utf-8")) is not None:
        return text
    encoding = _european(content[:_GUESS_BYTES]) or _guess(content[:_GUESS_BYTES])
    if (text := _try(content, encoding)) is not None:
        return text
    return content.decode(encoding, "replace")


def is_text(head: bytes) -> bool:
    """Tell whether the first bytes of a file may be text: they hold no NUL but those of UTF-16 and UTF-32."""
    return b"\0" not in head or head.startswith(tuple(mark for mark, _ in _BOMS)) or _wide(head) is not None


def _wide(content: bytes) -> str | None:
    """Return the kind of UTF-16 that has no byte-order mark, by where its NULs stand."""
    head = content[:_GUESS_BYTES]
    even, odd = head[::2].count(0), head[1::2].count(0)
    least = (_NUL_SHARE_ASCII if _ASCII.fullmatch(head) else _NUL_SHARE) * len(head) / 2
    if len(content) % 2 or max(even, odd) < least or min(even, odd) * 20 > max(even, odd):
        return None
    encoding = "utf-16-le" if odd > even else "utf-16-be"
    text = head.decode(encoding, "replace")
    printable = sum(character.isprintable() or character.isspace() for character in text)
    return encoding if printable - text.count("\ufffd") >= _PRINTABLE * len(text) - 1 else None


def _european(head: bytes) -> str | None:
    """Return the encoding in which the letters are those of one language, None where they are of none."""
    best, encoding = 0.0, None
    for name, alphabets in _ALPHABETS:
        text = _try(head, name)
        if text is None or _CONTROL.search(text):
            continue
        letters = Counter(character for character in text.lower() if character > "\x7f" and character not in _SIGNS)
        if name == _USUAL and letters.total() < _FEW_LETTERS and set(letters).issubset("".join(alphabets)):
            return name
        for alphabet in alphabets if letters else ():
            share = sum(letters[letter] for letter in alphabet) / letters.total()
            if share > best:
                best, encoding = share, name
    return encoding if best >= _FITS else None


def _guess(head: bytes) -> str:
    best = from_bytes(head).best()
    if best is None:
        raise ParseError("no encoding fits the content")
    return "cp932" if best.encoding.startswith("shift_jis") else best.encoding


def _strict(content: bytes, encoding: str) -> str:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise ParseError(
            f"the content starts as {encoding} but is not: {error.reason} at byte {error.start}"
        ) from error


def _try(content: bytes, encoding: str) -> str | None:
    try:
        return content.decode(encoding)
    except (UnicodeError, LookupError):
        return None
