from __future__ import annotations

import pytest

from indexer.chunking.chunks import chunker_settings, make_chunks
from indexer.chunking.tokens import EmbedderTokenizer
from indexer.errors import InputError
from indexer.settings import IndexerSettings
from tests.indexer.making import document


def test_the_embedders_limit_is_shared_between_text_and_headings() -> None:
    how = chunker_settings(IndexerSettings(chunk_tokens=200), max_tokens=256, special_tokens=2)
    assert (how.chunk_tokens, how.prefix_tokens) == (200, 54)


def test_chunks_over_the_embedders_limit_are_refused_with_the_limit() -> None:
    with pytest.raises(InputError, match=r"chunk_tokens is 255, .* set it to 254 or less"):
        chunker_settings(IndexerSettings(chunk_tokens=255), max_tokens=256, special_tokens=2)


def test_chunks_are_slices_with_stable_ids_and_fit_the_embedder(tokenizer: EmbedderTokenizer) -> None:
    made = document(("heading", "Soil", ("Soil",)), ("paragraph", "Words of some length about soil. " * 30, ("Soil",)))
    how = chunker_settings(IndexerSettings(chunk_tokens=40, chunk_overlap_tokens=8), max_tokens=64, special_tokens=2)

    def run(tenant: str = "t"):
        return make_chunks(made, tenant=tenant, document_hash="h", tokens=tokenizer, settings=how)

    chunks = run()
    assert len(chunks) > 3
    assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))
    assert {chunk.chunk_count for chunk in chunks} == {len(chunks)}
    assert all(chunk.text == made.text[chunk.start : chunk.end] for chunk in chunks)
    assert all(tokenizer.count(chunk.search_text) <= 62 for chunk in chunks)
    assert chunks == run()
    assert len({chunk.chunk_id for chunk in chunks + run(tenant="other")}) == 2 * len(chunks)
