from __future__ import annotations

import pytest

from train.reserve import ForwardCost, ForwardWork


def test_the_cost_is_read_from_two_passes() -> None:
    cost = ForwardCost.of_two((8, 0.030), (128, 0.270))
    assert cost.token_s == pytest.approx(0.002)
    assert cost.pass_s == pytest.approx(0.014)


def test_many_short_rows_take_longer_than_few_long_ones_of_as_many_tokens() -> None:
    cost = ForwardCost(pass_s=0.02, token_s=0.002)
    assert cost.seconds(ForwardWork(passes=100, tokens=1000), workers=2) == pytest.approx(2.0)
    assert cost.seconds(ForwardWork(passes=2, tokens=1000), workers=2) == pytest.approx(1.02)


def test_work_adds_up() -> None:
    assert (ForwardWork(1, 10) + ForwardWork(2, 5)).times(2) == ForwardWork(6, 30)


def test_a_clock_that_errs_makes_no_time_negative() -> None:
    assert ForwardCost.of_two((8, 0.03), (128, 0.02)) == ForwardCost(pass_s=0.03, token_s=0.0)
    assert ForwardCost.of_two((8, 0.001), (128, 0.270)).pass_s == 0.0
