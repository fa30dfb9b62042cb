from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from indexer.embedding.embedder import Embedder
from indexer.errors import InputError, NotFoundError, UnavailableError
from indexer.filters import parse_filter
from indexer.fusion import blend, fuse, with_sections
from indexer.rerank.mixing import Rerank, mix
from indexer.search import CANDIDATES, Searcher, chosen_weights, open_searcher
from indexer.settings import IndexerSettings
from indexer.store.generation import advised_properties
from indexer.store.milvus import MilvusStore
from indexer.store.schema import ADVISED_PROPERTY
from indexer.types import FusionWeights, Generation
from tests.indexer.making import chunk
from tests.models import build_word_matcher

FACTS = [
    "Lime raises the pH of acid soil.",
    "Bees pollinate apple trees in spring.",
    "The pump P-117 needs oil every forty hours.",
    "Irrigate wheat twice a week in summer.",
    "Sheep are shorn before the lambing season.",
]


@pytest.fixture(scope="module")
def searcher(milvus_uri: str, embedder: Embedder) -> Searcher:
    store = MilvusStore(milvus_uri)
    made = store.ensure_generation("facts", embedder=embedder.identity, dimension=embedder.dimension)
    starts = [sum(len(text) + 2 for text in FACTS[:number]) for number in range(len(FACTS))]
    chunks = [
        chunk(text, ordinal=number, search_text=text, start=start, end=start + len(text))
        for number, (text, start) in enumerate(zip(FACTS, starts, strict=True))
    ]
    store.upsert(made.physical, chunks, embedder.encode_documents(FACTS), tenant="t")
    store.point_alias("facts", made.physical)
    empty = store.ensure_generation("nothing", embedder=embedder.identity, dimension=embedder.dimension)
    store.point_alias("nothing", empty.physical)
    return Searcher(store=store, embedder=embedder)


@pytest.fixture(scope="module")
def matching(searcher: Searcher, tmp_path_factory: pytest.TempPathFactory, milvus_uri: str) -> Searcher:
    """The same with a reranker that knows one word."""
    model = build_word_matcher(tmp_path_factory.mktemp("models") / "matcher", ["season"])
    return open_searcher(IndexerSettings(milvus_uri=milvus_uri, reranker=str(model)), cross_encoder=True)


@pytest.mark.parametrize("dense_weight", [1.0, 0.7, 0.0])
def test_the_right_fact_is_first(searcher: Searcher, dense_weight: float) -> None:
    results = searcher.search(
        ["what do bees pollinate?", "when does the pump P-117 need oil"],
        collection="facts", tenant="t", k=3, dense_weight=dense_weight,
    )  # fmt: skip
    assert [result.passages[0].text for result in results] == [FACTS[1], FACTS[2]]
    for result in results:
        assert len(result.passages) <= 3
        scores = [passage.score for passage in result.passages]
        assert scores == sorted(scores, reverse=True)
        assert (result.collection, result.generation) == ("facts", 1)
        assert result.search_ms > 0


def test_both_searches_have_a_say_in_a_mix(searcher: Searcher) -> None:
    found = searcher.candidates(["insects and pump P-117"], collection="facts", tenant="t", depth=CANDIDATES)[0]
    mixed = searcher.search(["insects and pump P-117"], collection="facts", tenant="t", k=3, dense_weight=0.5)[0]
    assert mixed.passages == fuse(found.dense, found.text, dense_weight=0.5, section_weight=0.0)[:3]
    assert (found.text[0].text, mixed.passages[0].score) == (FACTS[2], 1.0)


@pytest.mark.parametrize("dense_weight", [1.0, 0.5, 0.0])
def test_a_filter_holds_for_every_search(searcher: Searcher, dense_weight: float) -> None:
    only = parse_filter({"field": "metadata.author", "op": "==", "value": "Ada"})
    nobody = parse_filter({"not": {"field": "metadata.author", "op": "==", "value": "Ada"}})
    asked = {"collection": "facts", "tenant": "t", "k": 3, "dense_weight": dense_weight}
    everything, found, nothing = (
        searcher.search(["pump P-117"], **asked, only=each)[0].passages  # type: ignore[arg-type]
        for each in (None, only, nobody)
    )
    assert everything == found
    assert found
    assert nothing == ()


def test_passages_grow_by_their_neighbours_and_those_that_meet_become_one(searcher: Searcher) -> None:
    for_one, for_two = searcher.search(
        ["what do bees pollinate?", "when are sheep shorn?"], collection="facts", tenant="t", k=1, neighbours=1
    )
    assert for_one.passages[0].text == "\n\n".join(FACTS[:3])
    assert for_two.passages[0].text == "\n\n".join(FACTS[3:])
    (everything,) = searcher.search(["bees, pump"], collection="facts", tenant="t", k=5, neighbours=1)
    assert [passage.text for passage in everything.passages] == ["\n\n".join(FACTS)]
    with pytest.raises(InputError, match="neighbours is 6; give 0 to 5"):
        searcher.search(["bees"], collection="facts", tenant="t", k=1, neighbours=6)


def test_words_of_a_question_are_no_words_to_look_for(searcher: Searcher) -> None:
    [found] = searcher.search(["what do they do"], collection="facts", tenant="t", k=1, dense_weight=0.0)
    assert len(found.passages) == 0
    [found] = searcher.search(["how do the bees do"], collection="facts", tenant="t", k=9, dense_weight=0.0)
    assert [passage.text for passage in found.passages] == [text for text in FACTS if "bees" in text.lower()]


ORCHARD = "apple trees in season"


@pytest.mark.parametrize(("dense_weight", "section_weight"), [(1.0, 0.0), (0.8, 0.3)])
def test_a_reranker_decides_among_those_it_looks_at(
    matching: Searcher, dense_weight: float, section_weight: float
) -> None:
    def ask(rerank: Rerank | None, k: int = 5) -> list[str]:
        [found] = matching.search(
            [ORCHARD], collection="facts", tenant="t", k=k,
            dense_weight=dense_weight, section_weight=section_weight, rerank=rerank,
        )  # fmt: skip
        assert rerank is not None or found.rerank_ms == 0  # a clock may stand still for some milliseconds
        return [passage.text for passage in found.passages]

    before = ask(None)
    assert (before[0], before.index(FACTS[4]) > 0) == (FACTS[1], True)
    assert ask(Rerank(by="model", depth=5, weight=1.0))[0] == FACTS[4]
    assert ask(Rerank(by="model", depth=5, weight=1.0), k=1) == [FACTS[4]]
    assert ask(Rerank(by="model", depth=5, weight=0.0)) == before
    assert ask(Rerank(by="model", depth=1)) == before


def test_the_embedders_own_words_decide_too(searcher: Searcher) -> None:
    found = searcher.candidates(["a forty hour week"], collection="facts", tenant="t", depth=CANDIDATES)[0]
    blended = blend(found.dense, (), dense_weight=1.0)
    scores = searcher.judge("a forty hour week", blended, by="maxsim")
    assert blended[int(np.argmax(scores))].text == FACTS[2]
    [result] = searcher.search(
        ["a forty hour week"], collection="facts", tenant="t", k=5, rerank=Rerank(by="maxsim", weight=0.7)
    )
    assert result.passages == with_sections(mix(blended, scores, weight=0.7), weight=0.0)


def test_a_reranker_that_is_not_there_is_named(searcher: Searcher) -> None:
    with pytest.raises(InputError, match=r"needs a cross-encoder; name one in the setting indexer\.reranker"):
        searcher.search(["bees"], collection="facts", tenant="t", k=1, rerank=Rerank(by="model"))


def test_nothing_found_is_nothing_to_order(matching: Searcher) -> None:
    [found] = matching.search(["bees"], collection="nothing", tenant="t", k=1, rerank=Rerank(by="model"))
    assert found.passages == ()


def test_dense_finds_meaning_where_no_word_is_shared(searcher: Searcher) -> None:
    query = ["insects fertilising fruit blossom"]
    found = searcher.search(query, collection="facts", tenant="t", k=1)
    assert found[0].passages[0].text == FACTS[1]
    assert searcher.search(query, collection="facts", tenant="t", k=1, dense_weight=0.0)[0].passages == ()


@pytest.mark.parametrize("dense_weight", [1.0, 0.5, 0.0])
def test_an_empty_collection_and_an_unknown_tenant_give_nothing(searcher: Searcher, dense_weight: float) -> None:
    for collection, tenant in (("nothing", "t"), ("facts", "nobody")):
        results = searcher.search(
            ["bees", "pumps"], collection=collection, tenant=tenant, k=5, dense_weight=dense_weight
        )
        assert [result.passages for result in results] == [(), ()]


def test_the_time_to_find_the_collection_counts_as_searching(
    searcher: Searcher, milvus_uri: str, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MilvusStore(milvus_uri)
    locate = store.locate

    def slowly(collection: str) -> Generation:
        time.sleep(0.2)
        return locate(collection)

    monkeypatch.setattr(store, "locate", slowly)
    began = time.perf_counter()
    [result] = Searcher(store=store, embedder=embedder).search(["bees"], collection="facts", tenant="t", k=1)
    whole_ms = (time.perf_counter() - began) * 1000
    assert result.search_ms >= 200
    assert result.embed_ms + result.search_ms <= whole_ms


def test_unknown_collection(searcher: Searcher) -> None:
    with pytest.raises(NotFoundError, match="'nowhere' does not exist"):
        searcher.search(["bees"], collection="nowhere", tenant="t", k=1)


def test_a_collection_of_another_embedder_is_refused_with_both_names(searcher: Searcher, milvus_uri: str) -> None:
    store = MilvusStore(milvus_uri)
    made = store.ensure_generation("elsewhere", embedder="other-model@1234", dimension=8)
    store.point_alias("elsewhere", made.physical)
    with pytest.raises(InputError, match=r"other-model@1234.*all-minilm-l6-v2@"):
        searcher.search(["bees"], collection="elsewhere", tenant="t", k=1)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"k": 0}, "k is 0"),
        ({"k": 1001}, "k is 1001"),
        ({"dense_weight": 1.5}, "dense_weight is 1.5"),
        ({"section_weight": -0.1}, "section_weight is -0.1"),
        ({"tenant": ""}, "Tenant"),
        ({"collection": "a-b"}, "Collection name"),
        ({"queries": ["x", "  "]}, "blank"),
        ({"queries": "one string"}, "one string"),
    ],
)
def test_bad_arguments_are_named(searcher: Searcher, changes: dict[str, object], text: str) -> None:
    arguments: dict[str, object] = {"queries": ["bees"], "collection": "facts", "tenant": "t", "k": 1}
    with pytest.raises(InputError, match=text):
        searcher.search(**{**arguments, **changes})  # type: ignore[arg-type]


def test_no_queries_no_results(searcher: Searcher) -> None:
    assert searcher.search([], collection="facts", tenant="t", k=1) == []


def test_threads_get_their_own_answers(searcher: Searcher) -> None:
    def ask(number: int) -> str:
        return searcher.search([FACTS[number]], collection="facts", tenant="t", k=1)[0].passages[0].text

    wanted = list(range(len(FACTS))) * 4
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, wanted)) == [FACTS[number] for number in wanted]


def test_the_reranker_of_the_settings_is_loaded_only_where_it_is_wanted(settings: IndexerSettings) -> None:
    named = settings.model_copy(update={"reranker": "/nowhere"})
    assert open_searcher(named, cross_encoder=False).rerankers == ("maxsim",)
    with pytest.raises(UnavailableError, match="/nowhere"):
        open_searcher(named, cross_encoder=True)


def test_open_searcher(searcher: Searcher, settings: IndexerSettings) -> None:
    own = open_searcher(settings, cross_encoder=False)
    [found] = own.search(["bees"], collection="facts", tenant="t", k=1)
    assert found.passages


def test_vectors_are_of_unit_length_and_alike_in_any_batch(embedder: Embedder) -> None:
    together = embedder.encode_documents(FACTS)
    assert together.shape == (len(FACTS), embedder.dimension)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(embedder.encode_documents(FACTS[:1])[0], together[0], atol=1e-5)
    assert embedder.encode_documents([]).shape == (0, embedder.dimension)


def test_weights_kept_with_a_collection_count_where_a_search_names_none(searcher: Searcher, milvus_uri: str) -> None:
    store = MilvusStore(milvus_uri)
    physical = store.locate("facts").physical
    asked = {"queries": ["do pumps pollinate the bees' clover"], "collection": "facts", "tenant": "t", "k": 3}
    plain, by_words = searcher.search(**asked), searcher.search(**asked, dense_weight=0.0)
    assert [found.passages for found in plain] != [found.passages for found in by_words]
    store.record(physical, advised_properties(FusionWeights(dense=0.0)))
    try:
        fresh = Searcher(store=store, embedder=searcher.embedder)
        assert fresh.search(**asked)[0].passages == by_words[0].passages
        assert fresh.search(**asked, dense_weight=1.0)[0].passages == plain[0].passages
    finally:
        store.record(physical, {ADVISED_PROPERTY: ""})


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({"dense": None, "section": None}, FusionWeights(0.7, 0.8)),
        ({"dense": 0.4, "section": None}, FusionWeights(0.4, 0.0)),
        ({"dense": None, "section": 0.2}, FusionWeights(1.0, 0.2)),
    ],
)
def test_weights_are_advised_as_a_pair(named: dict[str, float | None], expected: FusionWeights) -> None:
    assert chosen_weights(FusionWeights(0.7, 0.8), dense=named["dense"], section=named["section"]) == expected


def test_without_advice_a_search_is_dense() -> None:
    assert chosen_weights(None, dense=None, section=None) == FusionWeights(1.0, 0.0)
