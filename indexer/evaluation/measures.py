"""The usual measures of a ranking, by trec_eval: one value per question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytrec_eval

from indexer.evaluation.questions import Judged
from indexer.passages import Passage

RECALL_AT = (1, 5, 10, 20)
HEAD = 10  # how far nDCG and the reciprocal rank look
DEPTH = max(*RECALL_AT, HEAD)

RECALL = tuple(f"recall@{k}" for k in RECALL_AT)
MRR, NDCG = f"MRR@{HEAD}", f"nDCG@{HEAD}"
MEASURES = (*RECALL, MRR, NDCG)


@dataclass(frozen=True, slots=True)
class Ranking:
    """What was found for a question, and what should have been.

    Attributes:
        found: Ids, best first, each once.
        relevant: Ids of what answers the question.
    """

    found: tuple[str, ...]
    relevant: frozenset[str]


def ranking(question: Judged, passages: Sequence[Passage]) -> Ranking:
    """Return what was found for a question, each document at the place of its first passage where those are ranked."""
    ids = (each.document_id if question.unit == "document" else each.chunk_id for each in passages)
    return Ranking(found=tuple(dict.fromkeys(ids))[:DEPTH], relevant=question.relevant)


def measure(rankings: Sequence[Ranking]) -> dict[str, list[float]]:
    """Return the values of every measure in MEASURES, in the order of the rankings, 0 to 1."""
    judged = {str(number): dict.fromkeys(ranking.relevant, 1) for number, ranking in enumerate(rankings)}
    whole = pytrec_eval.RelevanceEvaluator(
        judged, {f"recall.{','.join(map(str, RECALL_AT))}", f"ndcg_cut.{HEAD}"}
    ).evaluate(_run(rankings, DEPTH))
    # trec_eval's reciprocal rank has no limit of its own: the ranking is cut instead.
    head = pytrec_eval.RelevanceEvaluator(judged, {"recip_rank"}).evaluate(_run(rankings, HEAD))
    names = {**{f"recall@{k}": f"recall_{k}" for k in RECALL_AT}, NDCG: f"ndcg_cut_{HEAD}"}
    questions = [str(number) for number in range(len(rankings))]
    values = {ours: [_value(whole, question, theirs) for question in questions] for ours, theirs in names.items()}
    values[MRR] = [_value(head, question, "recip_rank") for question in questions]
    return {name: values[name] for name in MEASURES}


def _run(rankings: Sequence[Ranking], depth: int) -> dict[str, dict[str, float]]:
    """Return scores that fall with the place, so that equal scores of a search cannot be put in another order."""
    return {
        str(number): {found: float(-place) for place, found in enumerate(ranking.found[:depth])}
        for number, ranking in enumerate(rankings)
    }


def _value(results: dict[str, dict[str, float]], question: str, measure: str) -> float:
    """Return a value; trec_eval leaves out a question for which nothing was found."""
    return float(results.get(question, {}).get(measure, 0.0))
