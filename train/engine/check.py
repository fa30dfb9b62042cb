"""Whether the engine computes with an adapter what PEFT computes with it, decided from what both said. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from train.engine.probe import Reading, Scores


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far the engine may be from PEFT.

    Attributes:
        median: Of all tokens' differences of log-probability, in nats.
        most: Of any token's, in nats.
        margin: Where PEFT's best token is ahead by less, in nats, the engine may write another.
    """

    median: float
    most: float
    margin: float


# Measured between PEFT and vLLM 0.29 on a CPU with SmolLM2-135M on 1,016 tokens, without an adapter and with one: in
# float32 2e-6 at the median and 9e-5 at most, in bfloat16 0.018 and 0.62. In bfloat16 either of the two is as far from
# PEFT in float32 as from the other, so that is the number type's doing, and its bounds are three to six times that.
BOUNDS: Mapping[str, Bounds] = {
    "float32": Bounds(median=0.02, most=0.2, margin=0.1),
    "bfloat16": Bounds(median=0.1, most=2.0, margin=0.5),
}
# Where PEFT's adapter changes scores by more than so many times what the two differ by without any, it can be told how
# much of that change arrives, and it has to be nearly all: in bfloat16 it was 1.01.
_TELLING = 3.0
_ARRIVES = (0.8, 1.25)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was found.

    Attributes:
        tokens: Tokens whose log-probabilities were compared.
        base_median: Median difference without the adapter, in nats.
        base_most: The greatest.
        median: Median difference with the adapter, in nats.
        most: The greatest.
        arrived: The share of what the adapter changes of log-probabilities that the engine shows, by least squares: 0
            where it does nothing there, 1 where it does all; None where it changes too little to tell.
        written: Tokens written alike, up to each answer's first whose choice was close.
        astray: Where an answer leaves PEFT's although its choice was clear, a phrase each.
    """

    tokens: int
    base_median: float
    base_most: float
    median: float
    most: float
    arrived: float | None
    written: int
    astray: tuple[str, ...]


def compare(peft: Reading, engine: Reading, *, bounds: Bounds) -> Comparison:
    """Hold the engine against PEFT, on the same tokens.

    Raises:
        ValueError: The two were asked different things.
    """
    without = _differences(peft.base, engine.base)
    with_it = _differences(peft.adapter, engine.adapter)
    answers = [
        _agreement(number, *each, bounds=bounds)
        for number, each in enumerate(zip(peft.written, engine.written, peft.margins, strict=True), start=1)
    ]
    return Comparison(
        tokens=len(with_it),
        base_median=_median(without),
        base_most=_most(without),
        median=_median(with_it),
        most=_most(with_it),
        arrived=_arrived(peft, engine, noise=without),
        written=sum(alike for alike, _ in answers),
        astray=tuple(phrase for _, phrase in answers if phrase is not None),
    )


def problems(found: Comparison, *, bounds: Bounds) -> tuple[str, ...]:
    """Return what is wrong, a phrase for each check that fails. What is no number fails every check."""
    if not (found.base_median <= bounds.median and found.base_most <= bounds.most):
        return (
            f"the engine and PEFT differ about the base model itself, by {_shown(found.base_median)} nats at the "
            f"median and {_shown(found.base_most)} at most, where {bounds.median:g} and {bounds.most:g} are allowed",
        )
    arrived = math.nan if found.arrived is None else found.arrived
    checks = [
        (
            found.median <= bounds.median,
            f"log-probabilities differ from PEFT's by {_shown(found.median)} nats at the median of {found.tokens} "
            f"tokens, where {bounds.median:g} is allowed",
        ),
        (
            found.most <= bounds.most,
            f"a log-probability differs from PEFT's by {_shown(found.most)} nats, where {bounds.most:g} is allowed",
        ),
        (
            found.arrived is None or _ARRIVES[0] <= arrived <= _ARRIVES[1],
            f"{arrived:.2f} of what the adapter changes arrives in the engine, where {_ARRIVES[0]:g} to "
            f"{_ARRIVES[1]:g} is allowed",
        ),
    ]
    return (*(phrase for holds, phrase in checks if not holds), *found.astray)


def _differences(peft: Scores, engine: Scores) -> list[float]:
    return [
        abs(theirs - ours)
        for row, other in zip(peft, engine, strict=True)
        for theirs, ours in zip(row, other, strict=True)
    ]


def _median(differences: Sequence[float]) -> float:
    return math.nan if any(math.isnan(each) for each in differences) else statistics.median(differences)


def _most(differences: Sequence[float]) -> float:
    return math.nan if any(math.isnan(each) for each in differences) else max(differences)


def _arrived(peft: Reading, engine: Reading, *, noise: Sequence[float]) -> float | None:
    theirs, ours = _effect(peft), _effect(engine)
    if not _mean_square(theirs) > _TELLING**2 * _mean_square(noise):
        return None
    return sum(one * other for one, other in zip(theirs, ours, strict=True)) / sum(one * one for one in theirs)


def _effect(reading: Reading) -> list[float]:
    return [
        with_it - without
        for row, other in zip(reading.adapter, reading.base, strict=True)
        for with_it, without in zip(row, other, strict=True)
    ]


def _mean_square(values: Iterable[float]) -> float:
    return statistics.fmean(value * value for value in values)


def _agreement(
    number: int, theirs: Sequence[int], ours: Sequence[int], margins: Sequence[float], *, bounds: Bounds
) -> tuple[int, str | None]:
    """Tokens of an answer that are alike, and where it leaves PEFT's although it should not."""
    for place, (token, other, margin) in enumerate(zip(theirs, ours, margins, strict=True)):
        if margin < bounds.margin:
            return place, None
        if token != other:
            return place, (
                f"token {place + 1} of answer {number} is {other} in place of {token}, which for PEFT is ahead by "
                f"{margin:.2f} nats, where {bounds.margin:g} settles it"
            )
    return len(theirs), None


def _shown(value: float) -> str:
    return f"{value:.2g}"
