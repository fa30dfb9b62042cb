"""Which answers are learned from. Pure; the filters that need more than a line are modules of their own."""

from __future__ import annotations

from train.examples.grounded import grounding, numbers
from train.examples.pointing import pointed_at
from train.examples.types import Answered, Question, Reason, Rejection
from train.markers import cited
from train.wording import is_refusal, token_f1

_LISTED = 6


def judge_question(question: Question) -> Rejection | None:
    """See that a question can be understood by itself."""
    pointing = pointed_at(question.text)
    return _rejection("points at its passage", question, f"says {pointing!r}") if pointing is not None else None


def judge_answer(answered: Answered, *, threshold: float) -> Rejection | None:
    """See that an answer is whole, is one, and is made of what its passages say: those that it cites, if any.

    Args:
        answered: The question and its answer.
        threshold: Share of its content words that have to be in the passages, 0 to 1; of its numbers all have to.
    """
    question = answered.question
    if answered.cut:
        return _rejection("cut", question, "at its longest length")
    if not answered.answer.strip() or is_refusal(answered.answer):
        return _rejection("refused", question, answered.answer[:80])
    numbered = [answered.shown[number - 1] for number in cited(answered.answer) if 1 <= number <= len(answered.shown)]
    found = grounding(answered.answer, numbered or answered.shown)
    if found.holds(threshold):
        return None
    missing = (*found.missing_numbers, *found.missing_words)[:_LISTED]
    return _rejection("ungrounded", question, f"{found.share:.2f} of its words; not there: {', '.join(missing)}")


def judge_closed_book(answered: Answered, closed_book: str, *, threshold: float) -> Rejection | None:
    """See that a question is not answered as well without passages: alike in words, and with every number.

    Args:
        answered: The question and the answer from passages.
        closed_book: The answer without them.
        threshold: Token F1 of both from which they say the same, 0 to 1.
    """
    if is_refusal(closed_book) or not set(numbers(answered.answer)) <= set(numbers(closed_book)):
        return None
    alike = token_f1(closed_book, answered.answer)
    if alike < threshold:
        return None
    return _rejection("known without passages", answered.question, f"token F1 {alike:.2f}")


def _rejection(reason: Reason, question: Question, detail: str) -> Rejection:
    return Rejection(reason, question.golden.chunk_id, question.text, detail)
