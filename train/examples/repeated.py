"""Questions that were asked already. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from train.data.duplicates import exact_groups, near_groups
from train.examples.types import Question, Rejection


def without_repeated(questions: Sequence[Question]) -> tuple[tuple[Question, ...], tuple[Rejection, ...]]:
    """Return the questions that are new, in their order, and why the others are not: the first of alike ones stays.

    Both sides of the split are compared with each other, so that evaluation asks nothing that training answers.
    """
    said = [" ".join(question.text.casefold().split()) for question in questions]
    first: dict[int, tuple[int, bool]] = {}
    for group in near_groups(said):
        first.update({place: (group[0], False) for place in group[1:]})
    for group in exact_groups(said):
        first.update({place: (group[0], True) for place in group[1:]})
    kept = tuple(question for place, question in enumerate(questions) if place not in first)
    rejected = tuple(
        Rejection(
            "equal question" if equal else "nearly equal question",
            questions[place].golden.chunk_id,
            questions[place].text,
            f"as {questions[leader].text!r}",
        )
        for place, (leader, equal) in sorted(first.items())
    )
    return kept, rejected
