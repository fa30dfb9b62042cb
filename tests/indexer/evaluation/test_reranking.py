"""Whether a reranker is worth it: on rankings made up so that the answer is known."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from indexer.evaluation.evaluate import DENSE, Evaluation, judge_arms, judge_rerankers
from indexer.evaluation.measures import MEASURES, NDCG
from indexer.evaluation.questions import Judged, Split
from indexer.evaluation.reranking import DEPTHS, Head, choose, look_again, median_ms, values
from indexer.passages import Passage
from indexer.rerank.mixing import Rerank
from tests.indexer.evaluation.test_evaluate import passage, searched

SPLITS: tuple[Split, ...] = ("dev", "test")
LONG = [str(number) for number in range(60)]


def head(scores: Sequence[float], *, gold: str, split: Split = "dev", ms: tuple[float, ...] = (10.0, 30.0)) -> Head:
    return Head(
        question=Judged(text="q", split=split, unit="chunk", relevant=frozenset([gold])),
        passages=tuple(passage(name, max(0.0, 1.0 - place / 20)) for place, name in enumerate(LONG)),
        scores=np.asarray(scores, dtype=np.float32),
        ms=ms,
    )


def scores(best: int, count: int = 50) -> list[float]:
    return [1.0 if place == best else 0.0 for place in range(count)]


def test_what_lies_deep_needs_the_depth_and_what_does_not_takes_the_cheaper() -> None:
    assert choose([head(scores(40), gold="40")], by="model", section_weight=0.0)[0].depth == 50
    near = choose([head(scores(3), gold="3")], by="model", section_weight=0.0)[0]
    assert (near.depth, near.weight) == (20, 0.2)


def test_a_weight_is_taken_that_leaves_the_first_ranking_its_word() -> None:
    trusted = [head(scores(1), gold="1")] * 5
    misled = [head([0.0] * 9 + [1.0] + [0.0] * 40, gold="0")] * 4
    weight = choose([*trusted, *misled], by="model", section_weight=0.0)[0].weight
    assert 0 < weight < 1
    rerank = Rerank(by="model", depth=20, weight=weight)
    assert values([*trusted, *misled], rerank, section_weight=0.0)[NDCG] == [1.0] * 9


def test_none_measures_the_ranking_as_it_was() -> None:
    found = values([head(scores(3), gold="3")], None, section_weight=0.0)
    assert [*found] == [*MEASURES]
    assert found["recall@1"] == [0.0]
    assert found["recall@5"] == [1.0]


def test_each_passage_is_judged_once_and_every_depth_has_its_time() -> None:
    asked: list[tuple[str, list[str]]] = []

    def judge(query: str, passages: Sequence[Passage]) -> NDArray[np.float32]:
        asked.append((query, [each.chunk_id for each in passages]))
        time.sleep(0.002 * len(passages))
        return np.arange(len(passages), dtype=np.float32)

    made = head([], gold="0")
    again = look_again(made.question, made.passages, judge=judge)
    assert asked == [("q", LONG[:20]), ("q", LONG[20:50])]
    assert len(again.scores) == DEPTHS[-1]
    assert 40 <= again.ms[0] < again.ms[1]
    assert again.ms[1] >= 100
    short = look_again(made.question, made.passages[:3], judge=judge)
    assert (len(short.scores), len(short.ms)) == (3, 2)


def test_the_time_is_that_of_the_depth_for_the_median_question() -> None:
    heads = [head([], gold="0", ms=ms) for ms in ((1.0, 5.0), (2.0, 50.0), (90.0, 99.0))]
    assert median_ms(heads, Rerank(by="model", depth=20)) == 2.0
    assert median_ms(heads, Rerank(by="model", depth=50)) == 50.0


RIGHT, WRONG = [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]


def judged(*, dev: list[float], test: list[float]) -> Evaluation:
    """Dense finds the answer in the second of four places; what the reranker says differs by split."""
    dense = ["1", "9", "2", "3"]
    asked = [searched(number, split=split, dense=dense, text=dense) for split in SPLITS for number in range(20)]
    found = judge_arms(asked, collection="c", split="test")
    assert found.advised == DENSE
    said = {"dev": np.asarray(dev, np.float32), "test": np.asarray(test, np.float32)}
    asked_again = [
        Head(each.question, each.candidates.dense, said[each.question.split], ms=(10.0, 12.0)) for each in asked
    ]
    before = values(asked_again[20:], None, section_weight=0.0)[NDCG]
    return judge_rerankers(found, {"model": asked_again}, dense=before)


def test_a_reranker_that_is_right_is_advised_with_its_price() -> None:
    found = judged(dev=RIGHT, test=RIGHT)
    arm = found.arms[-1]
    assert (arm.name, arm.rerank_ms) == ("dense, rerank by model", 10.0)
    assert arm.against_first is not None
    assert arm.against_first.value == pytest.approx(1 - 0.631, abs=0.001)
    assert arm.against_dense == arm.against_first
    assert found.advised == arm.weights
    assert found.advised.rerank is not None
    assert (found.advised.dense, found.advised.rerank.by) == (1.0, "model")


def test_a_reranker_that_was_right_on_dev_only_is_not_advised() -> None:
    found = judged(dev=RIGHT, test=WRONG)
    assert found.arms[-1].against_first is not None
    assert found.arms[-1].against_first.value < 0
    assert found.advised == DENSE
