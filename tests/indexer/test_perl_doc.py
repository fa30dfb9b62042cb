"""The pipeline on text that nobody here wrote: Perl's FAQ, from Debian's perl-doc."""

from __future__ import annotations

import pytest

from indexer.embedding.embedder import Embedder
from indexer.run.pipeline import run_index
from indexer.search import Searcher
from indexer.settings import IndexerSettings
from indexer.store.milvus import MilvusStore
from tests.indexer.parsers.test_pod import NEEDS_PERL_DOC, PERL_DOC

ASKED = {
    "How do I get a random number between two values in Perl?": "How do I get a random number between X and Y?",
    "Strip the spaces at both ends of a string": "How do I strip blank space from the beginning/end of a string?",
    "remove duplicates from an array": "How can I remove duplicate elements from a list or array?",
    "sort a hash by its values": "How do I sort a hash (optionally by value instead of key)?",
}


@NEEDS_PERL_DOC
@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_questions_about_perl_find_the_section_of_the_faq(settings: IndexerSettings, embedder: Embedder) -> None:
    page = PERL_DOC[0] / "perlfaq4.pod"
    report = run_index([page], collection="perlfaq", tenant="perl", settings=settings)
    assert (report.documents.new, report.documents.failed) == (1, 0)
    assert report.chunks.written > 100
    searcher = Searcher(store=MilvusStore(settings.milvus_uri), embedder=embedder)
    results = searcher.search(list(ASKED), collection="perlfaq", tenant="perl", k=3, dense_weight=1.0)
    for result, heading in zip(results, ASKED.values(), strict=True):
        headings = [passage.heading_path[-1] for passage in result.passages if passage.heading_path]
        assert any(found.startswith(heading[:40]) for found in headings), (heading, headings)
        assert {passage.uri for passage in result.passages} == {page.as_uri()}
