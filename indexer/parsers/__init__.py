"""The formats that can be indexed, by media type and by file name ending."""

from __future__ import annotations

from indexer.parsers.base import Parser
from indexer.parsers.csv import CsvParser
from indexer.parsers.docx import DocxParser
from indexer.parsers.html import HtmlParser
from indexer.parsers.json import JsonParser
from indexer.parsers.json_lines import JsonLinesParser
from indexer.parsers.markdown import MarkdownParser
from indexer.parsers.parquet import ParquetParser
from indexer.parsers.pdf import PdfParser
from indexer.parsers.plain import PlainParser
from indexer.parsers.pod import PodParser
from indexer.parsers.xlsx import XlsxParser

_PARSERS: tuple[Parser, ...] = (
    CsvParser(),
    DocxParser(),
    HtmlParser(),
    JsonParser(),
    JsonLinesParser(),
    MarkdownParser(),
    ParquetParser(),
    PdfParser(),
    PlainParser(),
    PodParser(),
    XlsxParser(),
)
PARSERS: dict[str, Parser] = {parser.media_type: parser for parser in _PARSERS}
EXTENSIONS: dict[str, str] = {ending: parser.media_type for parser in _PARSERS for ending in parser.extensions}
PARSER_VERSIONS: tuple[str, ...] = tuple(sorted(f"{parser.media_type}={parser.version}" for parser in _PARSERS))
