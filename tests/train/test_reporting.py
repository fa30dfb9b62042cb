from __future__ import annotations

import time

import numpy as np
import pytest

from tests.train.plans import plan_of, settings_of
from train.reporting import Pace
from train.reserve import ForwardCost, ForwardWork


def _share(work: ForwardWork, cost: ForwardCost | None) -> float:
    """Of a budget of 100 s, what is used a step after its beginning."""
    started = time.time()
    plan = plan_of(np.full(16, 9), settings_of(workers=2), measuring=work, started=started, deadline=started + 100.0)
    pace = Pace(plan, forward=None if cost is None else lambda: cost)
    pace.begin(0)
    pace._last_end -= 10.0
    return pace.end_step()


def test_measuring_at_the_end_takes_its_part_of_the_time_budget() -> None:
    """A step took 10 s, the next one will, saving and publishing take 8 s; 60 s of measuring leave 32 s in all."""
    unmeasured = _share(ForwardWork(), None)
    measured = _share(ForwardWork(passes=1000, tokens=2000), ForwardCost(pass_s=0.1, token_s=0.01))
    assert unmeasured == pytest.approx(10 / 92, abs=0.02)
    assert measured == pytest.approx(10 / 32, abs=0.02)


def test_without_a_time_budget_nothing_of_it_is_used() -> None:
    pace = Pace(plan_of(np.full(16, 9), settings_of(workers=2)))
    pace.begin(0)
    assert pace.end_step() == 0.0
