from __future__ import annotations

import pytest

from tests.train.examples.making import answered, passage, question
from train.examples.judging import judge_answer, judge_closed_book, judge_question
from train.examples.types import Reason

GOLDEN = passage(0, "The hawser of the north berth is 212 metres long and is tarred every third autumn.")
GOOD = "The hawser is 212 metres long [1]."


@pytest.mark.parametrize(
    ("answer", "cut", "reason"),
    [
        (GOOD, False, None),
        (GOOD, True, "cut"),
        ("", False, "refused"),
        ("The documents do not say.", False, "refused"),
        ("The hawser is 213 metres long.", False, "ungrounded"),
        ("Captain Ode painted barrels yesterday.", False, "ungrounded"),
    ],
)
def test_answers(answer: str, cut: bool, reason: Reason | None) -> None:
    found = judge_answer(answered(GOLDEN, answer, cut=cut), threshold=0.8)
    assert (found and found.reason) == reason
    assert found is None or (found.chunk_id, found.question) == ("c0", "How long is the hawser?")


def test_what_an_answer_cites_has_to_hold_it() -> None:
    shown = (GOLDEN, passage(1, "The chain is 90 metres long."))
    for answer, holds in (
        ("The hawser is 212 metres long [1].", True),
        ("The hawser is 212 metres long [2].", False),
        ("The hawser is 90 metres long [1].", False),
        ("The hawser is 90 metres long [1][2].", True),
        ("The hawser is 90 metres long [7].", True),
    ):
        assert (judge_answer(answered(GOLDEN, answer, shown=shown), threshold=0.8) is None) is holds, answer


@pytest.mark.parametrize(
    ("closed_book", "known"),
    [
        ("The hawser is 212 metres long.", True),
        ("The hawser is 200 metres long.", False),
        ("212, I think, but who am I to say how far ropes of that kind may reach these days?", False),
        ("I do not know how long the hawser of 212 metres is.", False),
        ("", False),
    ],
)
def test_what_is_known_without_passages(closed_book: str, known: bool) -> None:
    found = judge_closed_book(answered(GOLDEN, GOOD), closed_book, threshold=0.6)
    assert (found is not None) is known


def test_questions() -> None:
    assert judge_question(question(GOLDEN)) is None
    found = judge_question(question(GOLDEN, "What does the passage say?"))
    assert found is not None
    assert (found.reason, found.detail) == ("points at its passage", "says 'the passage'")
