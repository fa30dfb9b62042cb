"""When a run is ended for its loss."""

from __future__ import annotations

import math

import pytest

from train.watchdog import Watchdog


@pytest.mark.parametrize(
    ("loss", "gradient", "says"),
    [
        (math.nan, 1.0, "the loss is nan"),
        (math.inf, None, "the loss is inf"),
        (1.0, math.nan, "the norm of the gradients is nan"),
        (1.0, math.inf, "the norm of the gradients is inf"),
    ],
)
def test_what_is_no_number_ends_a_run(loss: float, gradient: float | None, says: str) -> None:
    dog = Watchdog(spike=None)
    assert dog.fault(loss=2.0, gradient=1.0) is None
    assert dog.fault(loss=loss, gradient=gradient) == says


def test_a_spike_is_measured_by_the_median_of_late() -> None:
    dog = Watchdog(spike=3.0)
    assert dog.fault(loss=9.0, gradient=None) is None
    for loss in (2.0, 2.2, 1.8):
        assert dog.fault(loss=loss, gradient=None) is None
    assert dog.fault(loss=6.0, gradient=None) is None  # the median is 2.1
    assert dog.fault(loss=7.0, gradient=None) == "the loss is 7, over 3 times its median of late, 2.2"
    assert dog.fault(loss=2.0, gradient=None) is None  # a spike is no part of the median


def test_the_first_losses_are_no_spike_and_without_a_limit_nothing_is() -> None:
    dog = Watchdog(spike=2.0)
    assert [dog.fault(loss=loss, gradient=None) for loss in (0.1, 1.0, 0.1)] == [None] * 3
    free = Watchdog(spike=None)
    assert [free.fault(loss=loss, gradient=None) for loss in (1.0,) * 9 + (1e6,)] == [None] * 10
