"""From answers to figures: a row of scores per specialist, and paired differences between them. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from deploy.demo import recipe, scoring
from deploy.demo.ask import Answer
from deploy.demo.questions import Question, document_key
from indexer.evaluation.bootstrap import Estimate, estimate, paired_difference
from train.wording import is_refusal, token_f1

Score = Callable[[Question, Answer], float]


@dataclass(frozen=True, slots=True)
class ArmFigures:
    """One specialist's row; None where a figure has no sample.

    Attributes:
        specialist: Its name.
        grafts: What is grafted onto the base.
        must_include: Share of answerable questions whose answer holds all required phrases.
        token_f1: Mean word overlap with the gold answer, over answerable questions.
        refused_rightly: Share of unanswerable questions that it refused.
        refused_wrongly: Share of answerable questions that it refused.
        found: Share of answerable questions for which all gold sources were among the passages it was given.
        citation_precision: Share of cited documents that are gold sources, over answers that cite any.
        citation_recall: Share of gold sources that were cited, over answerable questions.
        invalid_markers: Citation markers that pointed at no passage, over all answers.
        ttft_s: Median seconds to the first token.
        tokens_per_s: Median tokens per second after the first.
        completion_tokens: Median length of an answer.
    """

    specialist: str
    grafts: str
    must_include: Estimate | None
    token_f1: Estimate | None
    refused_rightly: Estimate | None
    refused_wrongly: Estimate | None
    found: Estimate | None
    citation_precision: Estimate | None
    citation_recall: Estimate | None
    invalid_markers: int
    ttft_s: Estimate | None
    tokens_per_s: Estimate | None
    completion_tokens: Estimate | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """How much better the second specialist is than the first over the same questions."""

    metric: str
    first: str
    second: str
    difference: Estimate


@dataclass(frozen=True, slots=True)
class Figures:
    """All figures.

    Attributes:
        asked: Questions that all four specialists answered; only they count.
        answerable: Of those, questions that the corpus answers.
        unanswerable: The others.
        dropped: Questions left out because a specialist gave an error.
        arms: A row per specialist.
        comparisons: Paired differences.
    """

    asked: int
    answerable: int
    unanswerable: int
    dropped: tuple[str, ...]
    arms: tuple[ArmFigures, ...]
    comparisons: tuple[Comparison, ...]


COMPARED: tuple[tuple[recipe.Arm, recipe.Arm], ...] = (
    (recipe.BASE, recipe.WITH_RETRIEVAL),
    (recipe.BASE, recipe.WITH_ADAPTER),
    (recipe.WITH_RETRIEVAL, recipe.WITH_BOTH),
    (recipe.WITH_ADAPTER, recipe.WITH_BOTH),
)


def all_figures(questions: Sequence[Question], answers: Sequence[Answer]) -> Figures:
    """Score the answers to the questions that every specialist answered."""
    table = {(answer.question_id, answer.specialist): answer for answer in answers}
    begun = {answer.question_id for answer in answers}
    names = [arm.name for arm in recipe.ARMS]
    whole = [
        question
        for question in questions
        if all((found := table.get((question.id, name))) is not None and found.error is None for name in names)
    ]
    kept = {question.id for question in whole}
    answerable = [question for question in whole if question.answerable]
    return Figures(
        asked=len(whole),
        answerable=len(answerable),
        unanswerable=len(whole) - len(answerable),
        dropped=tuple(question.id for question in questions if question.id in begun - kept),
        arms=tuple(_arm_figures(arm, whole, table) for arm in recipe.ARMS),
        comparisons=tuple(_comparisons(answerable, table)),
    )


def cited_documents(answer: Answer) -> tuple[str, ...]:
    """Documents that an answer cites, as questions name them."""
    return tuple(document_key(source.document) for source in answer.sources if source.cited)


def given_documents(answer: Answer) -> tuple[str, ...]:
    """Documents whose passages the model was given, as questions name them."""
    return tuple(document_key(source.document) for source in answer.sources)


def _must_include(question: Question, answer: Answer) -> float:
    return float(scoring.has_all(answer.text, question.must_include))


def _token_f1(question: Question, answer: Answer) -> float:
    return token_f1(answer.text, question.answer)


def _refusal(question: Question, answer: Answer) -> float:  # noqa: ARG001
    return float(is_refusal(answer.text))


def _found(question: Question, answer: Answer) -> float:
    return float(set(question.sources) <= set(given_documents(answer)))


def _arm_figures(arm: recipe.Arm, questions: Sequence[Question], table: Mapping[tuple[str, str], Answer]) -> ArmFigures:
    pairs = [(question, table[question.id, arm.name]) for question in questions]
    answerable = [pair for pair in pairs if pair[0].answerable]
    required = [pair for pair in answerable if pair[0].must_include]
    unanswerable = [pair for pair in pairs if not pair[0].answerable]
    precisions = [scoring.citation_precision(cited_documents(a), q.sources) for q, a in answerable]
    recalls = [scoring.citation_recall(cited_documents(a), q.sources) for q, a in answerable]
    return ArmFigures(
        specialist=arm.name,
        grafts=arm.grafts,
        must_include=estimate([_must_include(*pair) for pair in required]),
        token_f1=estimate([_token_f1(*pair) for pair in answerable]),
        refused_rightly=estimate([_refusal(*pair) for pair in unanswerable]),
        refused_wrongly=estimate([_refusal(*pair) for pair in answerable]),
        found=estimate([_found(*pair) for pair in answerable]) if arm.retrieval else None,
        citation_precision=estimate([value for value in precisions if value is not None]),
        citation_recall=estimate([value for value in recalls if value is not None]) if arm.retrieval else None,
        invalid_markers=sum(answer.invalid_markers for _, answer in pairs),
        ttft_s=estimate([a.ttft_s for _, a in pairs if a.ttft_s is not None], statistic="median"),
        tokens_per_s=estimate([a.tokens_per_s for _, a in pairs if a.tokens_per_s is not None], statistic="median"),
        completion_tokens=estimate([float(a.completion_tokens) for _, a in pairs], statistic="median"),
    )


def _comparisons(questions: Sequence[Question], table: Mapping[tuple[str, str], Answer]) -> list[Comparison]:
    metrics: tuple[tuple[str, Score, Sequence[Question]], ...] = (
        ("must_include", _must_include, [question for question in questions if question.must_include]),
        ("token_f1", _token_f1, questions),
    )
    found: list[Comparison] = []
    for metric, score, over in metrics:
        for first, second in COMPARED:
            difference = paired_difference(
                [score(question, table[question.id, first.name]) for question in over],
                [score(question, table[question.id, second.name]) for question in over],
            )
            if difference is not None:
                found.append(Comparison(metric, first.name, second.name, difference))
    return found
