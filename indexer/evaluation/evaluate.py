"""Dense, BM25 and their mix over the same questions: weights chosen on one split, judged on another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from indexer.errors import InputError
from indexer.evaluation.bootstrap import Estimate, estimate, paired_difference
from indexer.evaluation.measures import MEASURES, NDCG, measure, ranking
from indexer.evaluation.questions import Judged, Split
from indexer.evaluation.reranking import Head, choose, look_again, median_ms, values
from indexer.fusion import blend, fuse
from indexer.passages import Candidates, Passage
from indexer.rerank.mixing import Rerank, RerankBy
from indexer.search import CANDIDATES, Searcher
from indexer.types import FusionWeights

DENSE_WEIGHTS = tuple(step / 10 for step in range(11))
SECTION_WEIGHTS = tuple(step / 5 for step in range(5))
_BATCH = 16  # questions per call of the searcher


@dataclass(frozen=True, slots=True)
class Weights(FusionWeights):
    """Settings of a specialist's retrieval: how the searches are mixed, and how the head is ordered anew."""

    rerank: Rerank | None = None


DENSE, BM25 = Weights(dense=1.0), Weights(dense=0.0)


@dataclass(frozen=True, slots=True)
class Figure:
    """A measure's mean over the questions, with its interval."""

    measure: str
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class Arm:
    """One way of searching.

    Attributes:
        name: `dense`, `BM25`, `hybrid` or `hybrid, sections`; that of the best of them with `, rerank by ...`.
        weights: How it ranks.
        figures: One for each of MEASURES.
        against_dense: Mean of the paired differences in nDCG@10 from dense search alone; zero for itself.
        against_first: The same from the ranking that was ordered anew; None for an arm without a reranker.
        rerank_ms: Milliseconds that ordering anew took here, median over the questions; None likewise.
    """

    name: str
    weights: Weights
    figures: tuple[Figure, ...]
    against_dense: Estimate
    against_first: Estimate | None = None
    rerank_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        collection: The alias that was asked.
        generation: Number of the physical collection that answered.
        split: The questions that the figures are over.
        chosen_on: Number of questions that weights were chosen on, those of the split `dev`.
        arms: Dense first.
        advised: Weights to write into a specialist: of a hybrid that is better than dense beyond chance, else dense's;
            with a reranker where that is better than without beyond chance.
    """

    collection: str
    generation: int
    split: Split
    chosen_on: int
    arms: tuple[Arm, ...]
    advised: Weights


@dataclass(frozen=True, slots=True)
class Searched:
    """A question with what both searches found for it."""

    question: Judged
    candidates: Candidates


def evaluate(
    questions: Sequence[Judged],
    *,
    searcher: Searcher,
    collection: str,
    tenant: str,
    split: Split = "test",
    rerankers: Sequence[RerankBy] = (),
    progress: Callable[[int], None] = lambda _done: None,
    reranking: Callable[[int], None] = lambda _done: None,
) -> Evaluation:
    """Search for every question once in each way, choose weights on `dev`, and measure them on a split.

    A reranker is tried on the ranking that is advised without, which takes a forward pass for each of the first
    passages of every question.

    Args:
        questions: With what answers them in this collection.
        searcher: Asks the collection.
        collection: Alias of the collection.
        tenant: Whose rows are searched.
        split: What the figures are over.
        rerankers: What to order the first passages anew by; the searcher has them.
        progress: Called with the number of questions asked so far.
        reranking: Called with the number of questions whose passages were ordered anew so far.

    Raises:
        InputError: No question in `dev` or in the split; or as Searcher.candidates.
        NotFoundError: No such collection.
        UnavailableError: Milvus does not answer.
    """
    for needed in sorted({"dev", split}):
        if not any(question.split == needed for question in questions):
            raise InputError(f"None of {len(questions)} questions is of the split {needed!r}; give some that split.")
    searched: list[Searched] = []
    for start in range(0, len(questions), _BATCH):
        batch = questions[start : start + _BATCH]
        found = searcher.candidates(
            [question.text for question in batch], collection=collection, tenant=tenant, depth=CANDIDATES
        )
        searched.extend(Searched(question, candidates) for question, candidates in zip(batch, found, strict=True))
        progress(len(searched))
    heads: dict[RerankBy, list[Head]] = {}
    judged = judge_arms(searched, collection=collection, split=split)
    for by in rerankers:
        heads[by] = []
        for each in searched:
            if each.question.split in ("dev", split):
                near, worded = each.candidates.dense, each.candidates.text
                passages = blend(near, worded, dense_weight=judged.advised.dense)
                heads[by].append(look_again(each.question, passages, judge=partial(searcher.judge, by=by)))
                reranking(len(heads[by]))
    dense = _values([each for each in searched if each.question.split == split], DENSE)[NDCG]
    return judge_rerankers(judged, heads, dense=dense)


def judge_arms(searched: Sequence[Searched], *, collection: str, split: Split) -> Evaluation:
    """Choose weights on `dev` and measure every arm on `split`; both have questions."""
    dev = [each for each in searched if each.question.split == "dev"]
    reported = [each for each in searched if each.question.split == split]
    mixes = [Weights(dense=dense) for dense in DENSE_WEIGHTS[1:-1]]
    with_sections = [Weights(dense=dense, section=share) for dense in DENSE_WEIGHTS for share in SECTION_WEIGHTS[1:]]
    (hybrid, hybrid_value), (sections, sections_value) = _best(mixes, dev), _best(with_sections, dev)
    base = _values(reported, DENSE)[NDCG]
    named = {"dense": DENSE, "BM25": BM25, "hybrid": hybrid, "hybrid, sections": sections}
    arms = tuple(_arm(name, weights, _values(reported, weights), base) for name, weights in named.items())
    by_dev = sorted(((hybrid_value, arms[2]), (sections_value, arms[3])), key=lambda pair: -pair[0])
    better = [arm.weights for _, arm in by_dev if arm.against_dense.low > 0]
    return Evaluation(
        collection=collection,
        generation=searched[0].candidates.generation,
        split=split,
        chosen_on=len(dev),
        arms=arms,
        advised=better[0] if better else DENSE,
    )


def judge_rerankers(
    found: Evaluation, heads: Mapping[RerankBy, Sequence[Head]], *, dense: Sequence[float]
) -> Evaluation:
    """Choose each reranker's depth and weight on `dev`, measure them on the evaluation's split, and add their arms.

    Args:
        found: The evaluation without them; what it advises is what is ordered anew.
        heads: For each reranker the questions of both splits, with what was found at the advised weight of dense.
        dense: nDCG@10 of dense alone for the questions of the evaluation's split, in their order.
    """
    first = next(arm for arm in found.arms if arm.weights == found.advised)
    share = first.weights.section
    arms: list[Arm] = []
    better: list[tuple[float, Weights]] = []
    for by, asked in heads.items():
        dev = [head for head in asked if head.question.split == "dev"]
        reported = [head for head in asked if head.question.split == found.split]
        rerank, value = choose(dev, by=by, section_weight=share)
        before, after = (values(reported, how, section_weight=share) for how in (None, rerank))
        gain = _known(paired_difference(before[NDCG], after[NDCG]))
        weights = replace(first.weights, rerank=rerank)
        arm = _arm(f"{first.name}, rerank by {by}", weights, after, dense)
        arms.append(replace(arm, against_first=gain, rerank_ms=median_ms(reported, rerank)))
        if gain.low > 0:
            better.append((value, weights))
    advised = max(better, key=lambda pair: pair[0])[1] if better else found.advised
    return replace(found, arms=(*found.arms, *arms), advised=advised)


def _best(choices: Sequence[Weights], searched: Sequence[Searched]) -> tuple[Weights, float]:
    """Return the weights with the highest mean nDCG@10, and that; among equals the ones nearest to dense alone."""
    means = {weights: sum(_values(searched, weights)[NDCG]) / len(searched) for weights in choices}
    best = max(choices, key=lambda weights: (round(means[weights], 6), weights.dense, -weights.section))
    return best, means[best]


def _arm(name: str, weights: Weights, found: Mapping[str, Sequence[float]], base: Sequence[float]) -> Arm:
    return Arm(
        name=name,
        weights=weights,
        figures=tuple(Figure(name, _known(estimate(found[name]))) for name in MEASURES),
        against_dense=_known(paired_difference(base, found[NDCG])),
    )


def _known(found: Estimate | None) -> Estimate:
    assert found is not None, "evaluate refuses a split without questions"
    return found


def _values(searched: Sequence[Searched], weights: Weights) -> dict[str, list[float]]:
    return measure([ranking(each.question, _ranked(each.candidates, weights)) for each in searched])


def _ranked(found: Candidates, weights: Weights) -> Sequence[Passage]:
    """Return the passages as Searcher.search orders them for these weights."""
    if weights == DENSE:
        return found.dense
    if weights == BM25:
        return found.text
    return fuse(found.dense, found.text, dense_weight=weights.dense, section_weight=weights.section)
