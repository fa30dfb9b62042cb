"""Bootstrap intervals: known values and properties."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer.evaluation.bootstrap import estimate, paired_difference

SAMPLES = st.lists(st.floats(min_value=-1e6, max_value=1e6), min_size=1, max_size=40)


def test_an_empty_sample_has_no_estimate():
    assert estimate([]) is None
    assert paired_difference([], []) is None


def test_half_of_a_hundred_has_the_binomial_interval():
    found = estimate([0.0, 1.0] * 50)
    assert found is not None
    half_width = 1.96 * math.sqrt(0.25 / 100)
    assert (found.value, found.n) == (0.5, 100)
    assert found.low == pytest.approx(0.5 - half_width, abs=0.015)
    assert found.high == pytest.approx(0.5 + half_width, abs=0.015)


def test_the_median_is_not_the_mean():
    found = estimate([1.0, 2.0, 3.0, 4.0, 100.0], statistic="median")
    assert found is not None
    assert found.value == 3.0
    assert found.low >= 1.0
    assert found.high <= 100.0


def test_equal_values_leave_no_doubt():
    found = estimate([0.1] * 7)
    assert found is not None
    assert found.low == pytest.approx(0.1)
    assert found.high == pytest.approx(0.1)


@settings(max_examples=50)
@given(SAMPLES, st.sampled_from(["mean", "median"]))
def test_the_interval_holds_the_value_and_stays_in_the_sample(sample, statistic):
    found = estimate(sample, statistic=statistic, resamples=200)
    assert found is not None
    assert found.low <= found.value <= found.high
    slack = 1e-9 * (1 + max(map(abs, sample)))
    assert min(sample) - slack <= found.low
    assert found.high <= max(sample) + slack


@settings(max_examples=25)
@given(SAMPLES, st.integers(min_value=0, max_value=2**32))
def test_the_seed_decides(sample, seed):
    assert estimate(sample, resamples=100, seed=seed) == estimate(sample, resamples=100, seed=seed)


def test_another_seed_draws_other_samples():
    sample = [float(i * i) for i in range(30)]
    assert estimate(sample, resamples=100, seed=1) != estimate(sample, resamples=100, seed=2)


def test_pairing_cancels_what_makes_a_question_hard():
    first = [float(i % 10) for i in range(60)]
    second = [value + 0.5 for value in first]
    found = paired_difference(first, second)
    assert found is not None
    assert found.value == pytest.approx(0.5)
    assert found.excludes_zero
    alone = estimate(second)
    assert alone is not None
    assert alone.high - alone.low > 0.5 > found.high - found.low


def test_no_difference_is_seen_as_none():
    found = paired_difference([0.0, 1.0] * 20, [1.0, 0.0] * 20)
    assert found is not None
    assert found.value == 0.0
    assert not found.excludes_zero


def test_pairs_are_needed():
    with pytest.raises(ValueError, match="zip"):
        paired_difference([1.0], [1.0, 2.0])
