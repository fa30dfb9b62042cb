from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.order import BatchShape, deal_step, training_order

SHAPES = st.builds(BatchShape, st.integers(1, 4), st.integers(1, 3), st.integers(1, 4))
LENGTHS = st.lists(st.integers(1, 1000), min_size=1, max_size=60).map(lambda lengths: np.array(lengths, dtype=np.int64))


@given(lengths=LENGTHS, shape=SHAPES, epochs=st.sampled_from([0.3, 1.0, 2.0, 3.5]), seed=st.integers(0, 9))
def test_every_row_is_read_about_equally_often(
    lengths: np.ndarray, shape: BatchShape, epochs: float, seed: int
) -> None:
    order = training_order(lengths, shape=shape, epochs=epochs, max_steps=None, seed=seed)
    wanted = max(1, round(epochs * len(lengths)))
    assert len(order.rows) == order.steps * shape.rows
    assert wanted <= len(order.rows) < wanted + shape.rows
    counts = np.bincount(order.rows, minlength=len(lengths))
    assert counts.max() - counts.min() <= 1
    assert order.tokens[-1] == lengths[order.rows].sum()


@given(lengths=LENGTHS, seed=st.integers(0, 9))
def test_the_rows_of_a_step_do_not_depend_on_the_workers(lengths: np.ndarray, seed: int) -> None:
    alone = training_order(lengths, shape=BatchShape(1, 2, 4), epochs=2, max_steps=None, seed=seed)
    shared = training_order(lengths, shape=BatchShape(4, 1, 2), epochs=2, max_steps=None, seed=seed)
    for one, many in zip(alone.rows.reshape(-1, 8), shared.rows.reshape(-1, 8), strict=True):
        assert sorted(one) == sorted(many)
    assert (alone.tokens == shared.tokens).all()


def test_the_same_seed_gives_the_same_order_and_another_another() -> None:
    lengths = np.arange(1, 50)
    orders = [
        training_order(lengths, shape=BatchShape(2, 1, 4), epochs=2, max_steps=None, seed=seed) for seed in (1, 1, 2)
    ]
    assert (orders[0].rows == orders[1].rows).all()
    assert (orders[0].rows != orders[2].rows).any()


def test_long_and_short_rows_are_shared_out_evenly() -> None:
    lengths = np.array([900, 100, 850, 150, 800, 200, 750, 250])
    dealt = deal_step(np.arange(8), lengths, shape=BatchShape(2, 1, 4))
    first, second = lengths[dealt[0::2]].sum(), lengths[dealt[1::2]].sum()
    assert first + second == lengths.sum()
    assert abs(first - second) <= 100


def test_neighbours_in_length_share_a_forward_pass() -> None:
    lengths = np.array([10, 900, 11, 901, 12, 902, 13, 903])
    dealt = deal_step(np.arange(8), lengths, shape=BatchShape(2, 2, 2))
    for pair in lengths[dealt].reshape(-1, 2):
        assert pair.max() - pair.min() <= 3


@pytest.mark.parametrize(("max_steps", "steps"), [(None, 10), (3, 3), (99, 10)])
def test_max_steps_cuts_the_run(max_steps: int | None, steps: int) -> None:
    order = training_order(
        np.ones(40, dtype=np.int64), shape=BatchShape(2, 1, 2), epochs=1, max_steps=max_steps, seed=0
    )
    assert order.steps == steps
