"""The formats that can be indexed, by media type."""

from __future__ import annotations

from indexer.parsers.base import Parser
from indexer.parsers.html import HtmlParser
from indexer.parsers.json_lines import JsonLinesParser
from indexer.parsers.markdown import MarkdownParser
from indexer.parsers.parquet import ParquetParser
from indexer.parsers.pdf import PdfParser
from indexer.parsers.plain import PlainParser
from indexer.parsers.pod import PodParser

_PARSERS: tuple[Parser, ...] = (
    HtmlParser(),
    JsonLinesParser(),
    MarkdownParser(),
    ParquetParser(),
    PdfParser(),
    PlainParser(),
    PodParser(),
)
PARSERS: dict[str, Parser] = {parser.media_type: parser for parser in _PARSERS}
PARSER_VERSIONS: tuple[str, ...] = tuple(sorted(f"{parser.media_type}={parser.version}" for parser in _PARSERS))
