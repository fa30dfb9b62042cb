from __future__ import annotations

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

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


def test_prompt_and_blank_line_are_of_the_embedders_limit_and_change_nothing_where_there_are_none() -> None:
    settings = IndexerSettings(chunk_tokens=200)
    how = chunker_settings(settings, max_tokens=256, special_tokens=2, prompt_tokens=4, blank_line_tokens=2)
    assert (how.chunk_tokens, how.prefix_tokens) == (200, 48)
    plain = chunker_settings(settings, max_tokens=256, special_tokens=2)
    assert (plain.identity, how.identity) == ("v1 200/30/54", "v1 200/30/48")
    with pytest.raises(InputError, match=r"6 of its own among them; set it to 250 or less"):
        chunker_settings(IndexerSettings(chunk_tokens=251), max_tokens=256, special_tokens=2, prompt_tokens=4)
    tight = chunker_settings(IndexerSettings(chunk_tokens=254), max_tokens=256, special_tokens=2, blank_line_tokens=2)
    assert tight.prefix_tokens == 0


@pytest.fixture(scope="module")
def keeping(tmp_path_factory: pytest.TempPathFactory) -> EmbedderTokenizer:
    """A tokenizer that makes tokens of line ends, as many embedders' do."""
    made, folder = Tokenizer(models.BPE()), tmp_path_factory.mktemp("keeping")
    made.pre_tokenizer = pre_tokenizers.ByteLevel()
    words = "Guide to the soil: words of some length about soil and lime. passage: search_document: " * 3
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(show_progress=False, vocab_size=350, initial_alphabet=letters)
    made.train_from_iterator([words], trainer)
    made.save(str(folder / "tokenizer.json"))
    return EmbedderTokenizer(folder)


@pytest.mark.parametrize("prompt", ["", "passage: ", "search_document:"])
def test_what_the_embedder_reads_is_within_its_limit_prompt_and_blank_line_counted(
    keeping: EmbedderTokenizer, prompt: str
) -> None:
    heading = "Words of some length about soil and lime, and a heading that is far too long for what is left of it all"
    made = document(("heading", heading, (heading,)), ("paragraph", "Words about the soil of lime. " * 30, (heading,)))
    how = chunker_settings(
        IndexerSettings(chunk_tokens=40, chunk_overlap_tokens=8),
        max_tokens=70,
        special_tokens=keeping.special_tokens,
        prompt_tokens=keeping.count_ahead(prompt),
        blank_line_tokens=keeping.blank_line_tokens,
    )
    assert keeping.blank_line_tokens == 2
    chunks = make_chunks(made, tenant="t", document_hash="h", tokens=keeping, settings=how)
    assert all("\n\n" in chunk.search_text for chunk in chunks)
    assert max(keeping.counts([prompt + chunk.search_text for chunk in chunks])) <= 70


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
