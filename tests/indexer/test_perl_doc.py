"""The pipeline on text that nobody here wrote: Perl's FAQ, from Debian's perl-doc."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.embedder import Embedder
from indexer.pipeline import run_index
from indexer.search import Searcher
from indexer.settings import IndexerSettings
from indexer.store import MilvusStore
from tests.indexer.parsers.test_pod import NEEDS_PERL_DOC, PERL_DOC

ASKED = {
    "How do I get a random number between two values in Perl?": "How do I get a random number between X and Y?",
    "Strip the spaces at both ends of a string": "How do I strip blank space from the beginning/end of a string?",
    "matching across several lines with a regular expression": "I'm having trouble matching over more than one line.",
    "remove duplicates from an array": "How can I remove duplicate elements from a list or array?",
}


@NEEDS_PERL_DOC
@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_questions_about_perl_find_the_section_of_the_faq(settings: IndexerSettings, embedder: Embedder) -> None:
    pages = [PERL_DOC[0] / "perlfaq4.pod", PERL_DOC[0] / "perlfaq6.pod"]
    report = run_index(pages, collection="perlfaq", tenant="perl", settings=settings)
    assert (report.documents.new, report.documents.failed) == (2, 0)
    assert report.chunks.written > 150
    searcher = Searcher(store=MilvusStore(settings.milvus_uri), embedder=embedder)
    results = searcher.search(list(ASKED), collection="perlfaq", tenant="perl", k=3, dense_weight=0.8)
    for result, heading in zip(results, ASKED.values(), strict=True):
        headings = [passage.heading_path[-1] for passage in result.passages if passage.heading_path]
        assert any(found.startswith(heading[:40]) for found in headings), (heading, headings)
        assert all(Path(passage.uri).name in ("perlfaq4.pod", "perlfaq6.pod") for passage in result.passages)
