from __future__ import annotations

import math
from dataclasses import replace

import pytest

from train.engine.check import BOUNDS, Comparison, compare, problems
from train.engine.probe import Reading

BOUND = BOUNDS["float32"]
# Of two rows; the adapter changes every token's score by 1 nat, up and down.
BASE = ((-2.0, -3.0, -1.0), (-4.0, -2.0))
ADAPTER = ((-1.0, -4.0, -2.0), (-3.0, -1.0))
PEFT = Reading(base=BASE, adapter=ADAPTER, written=((7, 8, 9),), margins=((2.0, 0.05, 3.0),))
SAME = Reading(base=BASE, adapter=ADAPTER, written=((7, 8, 9),))


def moved(by: float) -> Reading:
    """An engine whose adapter's scores are all off by so much."""
    return replace(SAME, adapter=tuple(tuple(score + by for score in row) for row in ADAPTER))


def found(engine: Reading, peft: Reading = PEFT) -> tuple[Comparison, tuple[str, ...]]:
    comparison = compare(peft, engine, bounds=BOUND)
    return comparison, problems(comparison, bounds=BOUND)


def test_an_engine_that_says_the_same_passes() -> None:
    comparison, wrong = found(SAME)
    assert wrong == ()
    assert comparison == Comparison(
        tokens=5, base_median=0, base_most=0, median=0, most=0, arrived=pytest.approx(1.0), written=1, astray=()
    )


@pytest.mark.parametrize(("by", "passes"), [(0.0199, True), (-0.0199, True), (0.021, False)])
def test_the_median_is_bounded(by: float, passes: bool) -> None:
    comparison, wrong = found(moved(by))
    assert comparison.median == pytest.approx(abs(by))
    assert (wrong == ()) is passes
    if not passes:
        assert wrong == (
            "log-probabilities differ from PEFT's by 0.021 nats at the median of 5 tokens, where 0.02 is allowed",
        )


def test_one_token_far_off_is_one_too_many() -> None:
    engine = replace(SAME, adapter=((-1.0, -4.0, -2.21), ADAPTER[1]))
    assert found(engine)[1] == ("a log-probability differs from PEFT's by 0.21 nats, where 0.2 is allowed",)
    assert found(replace(SAME, adapter=((-1.0, -4.0, -2.19), ADAPTER[1])))[1] == ()


def test_a_weak_adapter_that_does_nothing_in_the_engine_is_found_although_the_differences_are_small() -> None:
    weak = tuple(tuple(score + 0.01 for score in row) for row in BASE)
    comparison, wrong = found(replace(SAME, adapter=BASE), replace(PEFT, adapter=weak))
    assert (comparison.median, comparison.arrived) == (pytest.approx(0.01), 0.0)
    assert wrong == ("0.00 of what the adapter changes arrives in the engine, where 0.8 to 1.25 is allowed",)


def test_an_adapter_of_another_scale_is_found_by_what_arrives() -> None:
    weak = tuple(tuple(score + 0.01 for score in row) for row in BASE)
    twice = tuple(tuple(score + 0.02 for score in row) for row in BASE)
    comparison, wrong = found(replace(SAME, adapter=twice), replace(PEFT, adapter=weak))
    assert comparison.arrived == pytest.approx(2.0)
    assert len(wrong) == 1
    assert wrong[0].startswith("2.00 of what the adapter changes")


def test_what_arrives_is_not_judged_where_the_base_differs_as_much_as_the_adapter_changes() -> None:
    noisy = tuple(tuple(score + 0.01 for score in row) for row in BASE)
    weak = tuple(tuple(score + 0.02 for score in row) for row in BASE)
    comparison, wrong = found(Reading(noisy, noisy, SAME.written), replace(PEFT, adapter=weak))
    assert (comparison.arrived, wrong) == (None, ())


def test_an_adapter_that_changes_nothing_passes() -> None:
    comparison, wrong = found(replace(SAME, adapter=BASE), replace(PEFT, adapter=BASE))
    assert (comparison.arrived, wrong) == (None, ())


def test_an_engine_that_differs_on_the_base_model_is_told_apart_from_a_bad_adapter() -> None:
    other = tuple(tuple(score - 0.5 for score in row) for row in BASE)
    _, wrong = found(replace(SAME, base=other))
    assert wrong == (
        "the engine and PEFT differ about the base model itself, by 0.5 nats at the median and 0.5 at most, where 0.02 "
        "and 0.2 are allowed",
    )


def test_what_is_no_number_fails() -> None:
    engine = replace(SAME, adapter=((math.nan, -4.0, -2.0), ADAPTER[1]))
    _, wrong = found(engine)
    assert len(wrong) == 3
    assert "by nan nats" in wrong[0]
    assert len(found(replace(SAME, base=((math.nan, -3.0, -1.0), BASE[1])))[1]) == 1


def test_answers_agree_up_to_the_first_close_choice() -> None:
    assert found(replace(SAME, written=((7, 1, 2),)))[1] == ()
    comparison, wrong = found(replace(SAME, written=((1, 8, 9),)))
    assert comparison.written == 0
    assert wrong == (
        "token 1 of answer 1 is 1 in place of 7, which for PEFT is ahead by 2.00 nats, where 0.1 settles it",
    )
    clear = replace(PEFT, margins=((2.0, 0.1, 3.0),))
    assert found(replace(SAME, written=((7, 8, 1),)), clear)[1][0].startswith("token 3 of answer 1 is 1 in place of 9")


def test_two_that_were_asked_different_things_are_not_compared() -> None:
    with pytest.raises(ValueError, match="shorter"):
        compare(PEFT, replace(SAME, adapter=ADAPTER[:1]), bounds=BOUND)
