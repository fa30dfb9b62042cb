"""PDF: the text layer, page by page."""

from __future__ import annotations

import io
import logging
import re

from pypdf import PdfReader

from indexer.parsers.base import ParsedBlock, ParsedDocument, ParseError, RawDocument, WholeFile
from indexer.parsers.plain import paragraphs

_HYPHENATED = re.compile(r"(?<=[a-zà-ÿ])-\n(?=[a-zà-ÿ])")
_SPACES = re.compile(r"[ \t\u00a0]+")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


class PdfParser(WholeFile):
    """Reads the text layer with pypdf; pages are kept, headings are not known, scanned pages have no text."""

    media_type = "application/pdf"
    extensions = (".pdf",)
    version = 1

    def parse(self, raw: RawDocument) -> ParsedDocument:
        """Return the paragraphs of all pages.

        Raises:
            ParseError: Damaged, encrypted with a password, or without any text.
        """
        logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it tells of each object that it repairs
        try:
            reader = PdfReader(io.BytesIO(raw.content))
            if reader.is_encrypted and not reader.decrypt(""):
                raise ParseError("the PDF is encrypted and needs a password")
            pages = [page.extract_text() for page in reader.pages]
            title = reader.metadata.title if reader.metadata else None
        except ParseError:
            raise
        except Exception as error:
            raise ParseError(f"the PDF is damaged or of a kind unknown ({type(error).__name__}: {error})") from error
        blocks: list[ParsedBlock] = []
        for number, text in enumerate(pages, start=1):
            blocks.extend(paragraphs(_clean(text), page=number))
        if not blocks:
            raise ParseError(f"the PDF has no text layer on any of its {len(pages)} pages; run it through OCR first")
        return ParsedDocument(title=_clean(title).strip() or None if title else None, blocks=tuple(blocks))


def _clean(text: str) -> str:
    joined = _HYPHENATED.sub("", _CONTROL.sub("", text.replace("\r\n", "\n")))
    return "\n".join(_SPACES.sub(" ", line).strip() for line in joined.split("\n"))
