from __future__ import annotations

import math

import pytest

from tests.train.runs.conftest import reports
from train.runs.sparkline import sparkline


def test_the_text_line_falls_with_the_loss_and_is_no_wider_than_asked_for() -> None:
    assert sparkline(reports(8.0, 4.0, 1.0)) == "█▄▁"
    assert sparkline(reports(1.0, 1.0)) == "▁▁"
    long = sparkline(reports(*(float(loss) for loss in range(100, 0, -1))), width=8)
    assert long == "█▇▆▅▄▃▂▁"


@pytest.mark.parametrize("losses", [(), (math.nan,)])
def test_a_run_without_a_loss_has_none(losses: tuple[float, ...]) -> None:
    assert sparkline(reports(*losses)) == ""
