from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.errors import InputError
from tests.train.plans import plan_of, settings_of
from train.elastic import batch_shape, check_sizes, plan_for
from train.plan import WorkerPlan

LENGTHS = st.lists(st.integers(1, 1000), min_size=1, max_size=60).map(lambda lengths: np.array(lengths, dtype=np.int64))


def _micro_batches(plan: WorkerPlan) -> list[set[tuple[int, ...]]]:
    """Of every step, what is read in one forward pass."""
    size = plan.settings.per_device_batch_size
    steps = plan.order.rows.reshape(plan.order.steps, -1, size)
    return [{tuple(sorted(batch)) for batch in step.tolist()} for step in steps]


@given(lengths=LENGTHS, workers=st.integers(1, 4), micro=st.integers(1, 3), now=st.integers(1, 4))
def test_every_step_reads_the_same_rows_whatever_the_workers(
    lengths: np.ndarray, workers: int, micro: int, now: int
) -> None:
    settings = settings_of(workers=workers, per_device_batch_size=micro, gradient_accumulation=12, min_workers=1)
    check_sizes(settings)
    plan = plan_of(lengths, settings)
    found = plan_for(plan, lengths, workers=now)
    assert _micro_batches(found) == _micro_batches(plan)
    assert (found.order.tokens == plan.order.tokens).all()
    assert found.settings.workers == now
    assert batch_shape(found.settings).rows == batch_shape(settings).rows
    asked = plan_of(lengths, found.settings)
    assert (found.order.rows == asked.order.rows).all()


@given(lengths=LENGTHS)
def test_every_worker_of_a_smaller_group_gets_as_many_tokens(lengths: np.ndarray) -> None:
    settings = settings_of(workers=4, gradient_accumulation=6, min_workers=1)
    found = plan_for(plan_of(lengths, settings), lengths, workers=2)
    steps = lengths[found.order.rows].reshape(found.order.steps, 12, 2).sum(axis=1)
    assert (abs(steps[:, 0] - steps[:, 1]) <= lengths.max()).all()


def test_a_run_that_may_not_shrink_stays_as_it_is() -> None:
    settings = settings_of(workers=3, gradient_accumulation=5)
    check_sizes(settings)
    assert settings.least_workers == 3
    plan = plan_of(np.arange(1, 40), settings)
    assert plan_for(plan, np.arange(1, 40), workers=3) is plan


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"workers": 2, "min_workers": 3}, r"min_workers is 3, and the run has 2 workers; "),
        ({"workers": 4, "min_workers": 1}, r"with 3 workers, among which the 16 forward .* a multiple of 3\."),
        (
            {"workers": 8, "min_workers": 4},
            r"min_workers 4 .* with 5, 6 or 7 workers, among which the 32 .* a multiple of 105\.",
        ),
    ],
)
def test_sizes_that_get_no_equal_shares_are_named(settings: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_sizes(settings_of(**settings))


@given(workers=st.integers(1, 8), data=st.data())
def test_the_advice_is_right(workers: int, data: st.DataObject) -> None:
    least = data.draw(st.integers(1, workers))
    settings = settings_of(workers=workers, min_workers=least, gradient_accumulation=1)
    try:
        check_sizes(settings)
    except InputError as error:
        advised = int(str(error).rsplit(" ", 1)[1].rstrip("."))
        check_sizes(settings.model_copy(update={"gradient_accumulation": advised}))
        check_sizes(settings.model_copy(update={"gradient_accumulation": 3 * advised}))
        for fewer in range(1, advised):
            with pytest.raises(InputError):
                check_sizes(settings.model_copy(update={"gradient_accumulation": fewer}))


def test_a_size_that_was_not_let_pass_is_refused() -> None:
    settings = settings_of(workers=4, gradient_accumulation=1)
    plan = plan_of(np.arange(1, 40), settings)
    with pytest.raises(ValueError, match="4 workers' steps cannot be shared out among 3"):
        plan_for(plan, np.arange(1, 40), workers=3)
