from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from train.data.mixing import mixed

SOURCES = st.lists(st.tuples(st.integers(1, 30), st.floats(0.05, 4.0)), min_size=1, max_size=4)


@given(sources=SOURCES, seed=st.integers(0, 2**31))
def test_each_row_is_there_as_often_as_its_weight_says_or_once_more(
    sources: list[tuple[int, float]], seed: int
) -> None:
    sizes, weights = [size for size, _ in sources], [weight for _, weight in sources]
    places = mixed(sizes, weights, seed=seed)
    times = Counter(places)
    for number, (size, weight) in enumerate(sources):
        found = [times[number, row] for row in range(size)]
        assert set(found) <= {int(weight), int(weight) + 1}
        assert abs(sum(found) - weight * size) <= 1
    assert places == sorted(places)
    assert places == mixed(sizes, weights, seed=seed)


def test_another_source_beside_it_changes_nothing() -> None:
    alone = mixed([40], [0.5], seed=3)
    assert [place for place in mixed([40, 9], [0.5, 2.0], seed=3) if place[0] == 0] == alone
    assert mixed([40], [0.5], seed=4) != alone
