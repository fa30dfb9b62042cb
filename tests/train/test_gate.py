"""What a gate lets pass, and what it refuses before anything runs."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.errors import InputError
from train.gate import Condition, check_measured, parse_gate, unmet


def test_conditions_stand_between_commas() -> None:
    assert parse_gate("f1>=0.40, forgetting <= 5e-2,eval_gain>0 , eval_loss<1.5") == (
        Condition("f1", ">=", 0.4),
        Condition("forgetting", "<=", 0.05),
        Condition("eval_gain", ">", 0.0),
        Condition("eval_loss", "<", 1.5),
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", "''"),
        ("f1>=0.4,", "''"),
        ("f1", "'f1'"),
        ("f1=0.4", "'f1=0.4'"),
        ("f1>=much", "'f1>=much'"),
        ("f1>=nan", "'f1>=nan'"),
        ("f1>=inf", "'f1>=inf'"),
        ("f1>=0.4 forgetting<=1", "'f1>=0.4 forgetting<=1'"),
    ],
)
def test_what_is_no_condition_is_named(text: str, shown: str) -> None:
    with pytest.raises(InputError, match="is no condition; write one such as") as refused:
        parse_gate(text)
    assert shown in str(refused.value)


@given(
    st.sampled_from(["f1", "forgetting"]),
    st.sampled_from([">=", "<=", ">", "<"]),
    st.floats(-1e6, 1e6, allow_nan=False),
)
def test_a_condition_is_read_as_it_is_written(score: str, comparison: str, bound: float) -> None:
    [read] = parse_gate(f"{score}{comparison}{bound!r}")
    assert read == Condition(score, comparison, bound)


def test_a_score_that_a_run_does_not_measure_is_refused_with_those_it_does() -> None:
    gate = parse_gate("forgetting<=0.05, f1>=0.4")
    check_measured(gate, measured={"forgetting", "f1"})
    with pytest.raises(InputError, match=r"f1>=0\.4 asks for 'f1', which this run does not measure; it measures forg"):
        check_measured(gate, measured={"forgetting"})


def test_every_condition_that_is_not_met_is_told_with_its_score() -> None:
    gate = parse_gate("f1>=0.40, forgetting<=0.05, eval_gain>0")
    assert unmet(gate, {"f1": 0.4, "forgetting": 0.05, "eval_gain": 0.001}) == ()
    assert unmet(gate, {"f1": 0.39, "forgetting": 0.31, "eval_gain": 0.0}) == (
        "f1 is 0.39 where the gate wants >= 0.4",
        "forgetting is 0.31 where the gate wants <= 0.05",
        "eval_gain is 0 where the gate wants > 0",
    )


def test_what_has_no_number_passes_no_gate() -> None:
    gate = parse_gate("f1>=0, forgetting<=1")
    assert unmet(gate, {"forgetting": math.nan}) == (
        "f1 is without a value where the gate wants >= 0",
        "forgetting is nan where the gate wants <= 1",
    )
