"""Ratios of rounds."""

from __future__ import annotations

import pytest

from train.bench.figures import Speed, measured, median_speed


def test_the_first_step_and_its_start_do_not_count() -> None:
    assert median_speed([10.0, 11.0, 13.0, 14.0], [500, 600, 800, 930]) == 100.0


def test_a_ratio_is_between_runs_of_one_round() -> None:
    runs = {
        "ray": (Speed(9, 90), Speed(9, 50), Speed(9, 100)),
        "alone": (Speed(3, 100), Speed(3, 50), Speed(3, 125)),
        "trl": (Speed(3, 60), Speed(3, 20), Speed(3, 50)),
    }
    found = measured(runs, steps=4, tokens=930)
    assert found.ratios == pytest.approx({"ray/alone": 0.9, "ray/trl": 2.0})
