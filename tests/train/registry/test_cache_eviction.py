from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from train.registry.cache_eviction import CachedVersion, choose_evicted


def version(name: str, size: int, last_used: float, *, held: bool = False) -> CachedVersion:
    return CachedVersion(Path("/cache") / name, size, last_used, held)


OLD, MIDDLE, NEW = version("c", 4, 1.0), version("b", 4, 2.0), version("a", 4, 3.0)


def test_the_least_recently_used_go_first_and_no_more_than_must() -> None:
    for max_bytes, gone in ((12, ()), (11, (OLD,)), (8, (OLD,)), (7, (OLD, MIDDLE)), (0, (OLD, MIDDLE, NEW))):
        assert choose_evicted([NEW, OLD, MIDDLE], max_bytes=max_bytes) == gone


def test_what_is_held_stays_and_another_goes_for_it() -> None:
    held = version("h", 100, 0.0, held=True)
    assert choose_evicted([held, OLD, NEW], max_bytes=104) == (OLD,)
    assert choose_evicted([held], max_bytes=0) == ()


versions = st.lists(
    st.builds(
        CachedVersion,
        path=st.integers(0, 10**6).map(lambda number: Path(f"/{number}")),
        bytes=st.integers(0, 50),
        last_used=st.floats(0, 5),
        held=st.booleans(),
    ),
    unique_by=lambda version: version.path,
)


@given(found=versions, max_bytes=st.integers(0, 200))
def test_it_fits_or_all_that_is_left_is_held(found: list[CachedVersion], max_bytes: int) -> None:
    gone = choose_evicted(found, max_bytes=max_bytes)
    left = [version for version in found if version not in gone]
    assert not any(version.held for version in gone)
    assert sum(version.bytes for version in left) <= max_bytes or all(version.held for version in left)
    assert all(one.last_used <= other.last_used for one in gone for other in left if not other.held)
    if gone:
        assert sum(version.bytes for version in (*left, gone[-1])) > max_bytes
