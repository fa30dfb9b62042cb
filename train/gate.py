"""Conditions on a run's scores that an adapter must meet to be published: "f1>=0.40, forgetting<=0.05". Pure."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar

from indexer.errors import GraftworkError, InputError

_CONDITION = re.compile(r"\s*([a-z][a-z0-9_]*)\s*(>=|<=|>|<)\s*(\S+)\s*")
_HOLDS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


class GateError(GraftworkError):
    """The adapter is trained and kept, but its scores do not let it be published."""

    exit_code: ClassVar[int] = 7


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition.

    Attributes:
        score: Name of the score, see `train.scores`.
        comparison: One of >=, <=, > and <.
        bound: What the score is compared with.
    """

    score: str
    comparison: str
    bound: float

    def __str__(self) -> str:
        """Return it as it is written."""
        return f"{self.score}{self.comparison}{self.bound:g}"

    def holds(self, value: float) -> bool:
        """Whether a score meets it; what is no number meets none."""
        return not math.isnan(value) and _HOLDS[self.comparison](value, self.bound)


def parse_gate(text: str) -> tuple[Condition, ...]:
    """Read conditions that stand between commas.

    Raises:
        InputError: One of them is no condition, or there is none.
    """
    return tuple(_parse(part) for part in text.split(","))


def _parse(part: str) -> Condition:
    match = _CONDITION.fullmatch(part)
    try:
        bound = float(match[3]) if match else math.nan
    except ValueError:
        bound = math.nan
    if match is None or not math.isfinite(bound):
        raise InputError(f"The gate {part.strip()!r} is no condition; write one such as f1>=0.40 or forgetting<=0.05.")
    return Condition(match[1], match[2], bound)


def check_measured(conditions: Collection[Condition], *, measured: Collection[str]) -> None:
    """See that a run will have every score that a gate asks for.

    Raises:
        InputError: One of them will not be measured.
    """
    for condition in conditions:
        if condition.score not in measured:
            raise InputError(
                f"The gate {condition} asks for {condition.score!r}, which this run does not measure; it measures "
                f"{', '.join(sorted(measured))} (f1 and eval_loss want an evaluation dataset)."
            )


def unmet(conditions: Collection[Condition], scores: Mapping[str, float]) -> tuple[str, ...]:
    """Return what is wrong, a phrase for each condition that its score does not meet or that has no score."""
    return tuple(
        f"{condition.score} is {_shown(scores.get(condition.score))} where the gate wants {condition.comparison} "
        f"{condition.bound:g}"
        for condition in conditions
        if not condition.holds(scores.get(condition.score, math.nan))
    )


def _shown(value: float | None) -> str:
    return "without a value" if value is None else f"{value:.4g}"
