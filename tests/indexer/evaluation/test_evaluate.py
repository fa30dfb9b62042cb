"""Choosing and judging weights: on candidates made up so that the answer is known, and on a real collection."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from indexer.embedding.embedder import Embedder
from indexer.errors import InputError
from indexer.evaluation.evaluate import BM25, DENSE, Evaluation, Searched, Weights, evaluate, judge_arms
from indexer.evaluation.measures import MEASURES, NDCG
from indexer.evaluation.questions import Judged, Split, Unit
from indexer.passages import Candidates, Passage
from indexer.rerank.cross_encoder import CrossEncoderReranker
from indexer.search import Searcher
from indexer.store.milvus import MilvusStore
from tests.indexer.making import chunk
from tests.models import build_word_matcher


def passage(name: str, score: float) -> Passage:
    return Passage(
        chunk_id=name,
        document_id=f"d{name}",
        title="T",
        heading_path=(name,),
        uri="file:///d",
        page=None,
        ordinal=int(name),
        text=name,
        score=score,
    )


def searched(number: int, *, split: Split, dense: list[str], text: list[str], unit: Unit = "chunk") -> Searched:
    arms = [tuple(passage(name, 1.0 - place / 10) for place, name in enumerate(arm)) for arm in (dense, text)]
    gold = "9" if unit == "chunk" else "d9"  # the last of equals: ties help nobody
    return Searched(
        question=Judged(text=f"q{number}", split=split, unit=unit, relevant=frozenset([gold])),
        candidates=Candidates(dense=arms[0], text=arms[1], generation=3, physical="c__g3", embed_ms=0.0, search_ms=0.0),
    )


def value(found: Evaluation, arm: int) -> float:
    return next(figure.estimate.value for figure in found.arms[arm].figures if figure.measure == NDCG)


def both(dense: list[str], text: list[str], count: int = 30) -> list[Searched]:
    splits: tuple[Split, ...] = ("dev", "test")
    return [searched(number, split=split, dense=dense, text=text) for split in splits for number in range(count)]


def test_a_hybrid_that_is_always_better_is_advised() -> None:
    found = judge_arms(both(["1", "9", "2", "3"], ["4", "9", "5", "6"]), collection="c", split="test")
    assert [arm.name for arm in found.arms] == ["dense", "BM25", "hybrid", "hybrid, sections"]
    assert (found.arms[0].weights, found.arms[1].weights) == (DENSE, BM25)
    assert value(found, 0) == pytest.approx(0.631, abs=0.001)
    assert value(found, 2) == 1.0
    assert found.arms[2].against_dense.low > 0
    assert 0 < found.advised.dense < 1
    assert (found.generation, found.split, found.chosen_on) == (3, "test", 30)


def test_a_hybrid_that_cannot_help_is_not_advised() -> None:
    found = judge_arms(both(["9", "1", "2"], ["5", "6", "7"]), collection="c", split="test")
    assert value(found, 0) == 1.0
    assert found.advised == DENSE


def test_what_helps_by_chance_on_dev_is_not_advised() -> None:
    rng = random.Random(1)
    names = [str(number) for number in range(10)]
    noise = [
        searched(number, split=split, dense=rng.sample(names, 10), text=rng.sample(names, 10))
        for split in ("dev", "test")
        for number in range(40)
    ]
    found = judge_arms(noise, collection="c", split="test")
    assert not found.arms[2].against_dense.excludes_zero
    assert found.advised == DENSE


def test_weights_come_from_dev_and_figures_from_the_split_asked_for() -> None:
    helped = [searched(number, split="dev", dense=["1", "9"], text=["9", "1"]) for number in range(5)]
    hurt = [searched(number, split="test", dense=["9", "1"], text=["1", "9"]) for number in range(7)]
    found = judge_arms([*helped, *hurt], collection="c", split="test")
    assert found.arms[2].against_dense.n == 7
    assert found.arms[2].against_dense.value < 0
    assert judge_arms([*helped, *hurt], collection="c", split="dev").arms[2].against_dense.value > 0


def test_documents_are_ranked_by_their_first_passage() -> None:
    only = [searched(0, split=split, dense=["1", "9"], text=["1"], unit="document") for split in ("dev", "test")]
    found = judge_arms(only, collection="c", split="test")
    assert [figure.estimate.value for figure in found.arms[0].figures][:2] == [0.0, 1.0]


TEXTS = {
    "Bees pollinate apple trees in spring.": "Which insects fertilise fruit blossom?",
    "The pump P-117 needs oil every forty hours.": "When is P-117 lubricated?",
    "Sheep are shorn before the lambing season.": "When do ewes lose their wool?",
}


@pytest.fixture
def searcher(store: MilvusStore, embedder: Embedder) -> Searcher:
    made = store.ensure_generation("evaluated", embedder=embedder.identity, dimension=embedder.dimension)
    chunks = [chunk(text, ordinal=number, search_text=text) for number, text in enumerate(TEXTS)]
    store.upsert(made.physical, chunks, embedder.encode_documents([*TEXTS]), tenant="t")
    store.point_alias("evaluated", made.physical)
    return Searcher(store=store, embedder=embedder)


def questions() -> list[Judged]:
    return [
        Judged(question, split, "chunk", frozenset({chunk(text, ordinal=number).chunk_id}))
        for number, (text, question) in enumerate(TEXTS.items())
        for split in ("dev", "test")
    ]


def test_a_real_collection_is_asked_once_per_question(searcher: Searcher) -> None:
    told: list[int] = []
    found = evaluate(questions(), searcher=searcher, collection="evaluated", tenant="t", progress=told.append)
    assert told == [6]
    assert [figure.measure for figure in found.arms[0].figures] == [*MEASURES]
    assert value(found, 0) == 1.0
    assert 0 < value(found, 1) < 1


def test_the_advised_weights_rank_as_the_searcher_does(searcher: Searcher) -> None:
    found = evaluate(questions(), searcher=searcher, collection="evaluated", tenant="t")
    weights: Weights = found.arms[2].weights
    results = searcher.search(
        [*TEXTS.values()],
        collection="evaluated",
        tenant="t",
        k=1,
        dense_weight=weights.dense,
        section_weight=weights.section,
    )
    firsts = [result.passages[0].text for result in results]
    right = [first == text for first, text in zip(firsts, TEXTS, strict=True)]
    recall_at_1 = found.arms[2].figures[0]
    assert recall_at_1.estimate.value == pytest.approx(sum(right) / 3)


def test_what_the_searcher_can_order_anew_by_gets_an_arm(
    store: MilvusStore, searcher: Searcher, embedder: Embedder, tmp_path: Path
) -> None:
    model = CrossEncoderReranker(str(build_word_matcher(tmp_path / "matcher", ["lubricated", "oil"])))
    able = Searcher(store=store, embedder=embedder, rerankers={"model": model})
    told: list[int] = []
    found = evaluate(
        questions(), searcher=able, collection="evaluated", tenant="t", rerankers=["maxsim", "model"],
        reranking=told.append,
    )  # fmt: skip
    assert [arm.name for arm in found.arms][4:] == ["dense, rerank by maxsim", "dense, rerank by model"]
    assert told == [1, 2, 3, 4, 5, 6] * 2
    assert all(arm.rerank_ms is not None and arm.rerank_ms > 0 for arm in found.arms[4:])
    assert found.advised == DENSE


@pytest.mark.parametrize(("kept", "missing"), [("test", "dev"), ("dev", "test")])
def test_a_split_without_questions_is_refused(searcher: Searcher, kept: Split, missing: Split) -> None:
    some = [question for question in questions() if question.split == kept]
    with pytest.raises(InputError, match=f"None of 3 questions is of the split '{missing}'"):
        evaluate(some, searcher=searcher, collection="evaluated", tenant="t")
