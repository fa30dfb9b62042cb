from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from serve import draining
from serve.draining import Draining, StopFile


async def test_nothing_is_over_while_the_replica_is_not_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "LOOK_S", 0.01)
    drain = Draining(stopping=lambda: False, grace_s=0.0)
    following = asyncio.create_task(drain.follow())
    await asyncio.sleep(0.1)
    assert (drain.begun, drain.over.done(), following.done()) == (False, False, False)
    following.cancel()


async def test_it_is_over_before_the_grace_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "LOOK_S", 0.01)
    drain = Draining(stopping=lambda: True, grace_s=2.0)
    following = asyncio.create_task(drain.follow())
    since = time.monotonic()
    await asyncio.sleep(0.05)
    assert (drain.begun, drain.over.done()) == (True, False)
    await asyncio.wait_for(drain.over, timeout=2.0)
    assert 1.0 < time.monotonic() - since < 2.0
    await following


async def test_new_requests_are_taken_while_somebody_may_not_have_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "LOOK_S", 0.01)
    drain = Draining(stopping=lambda: True, grace_s=0.8, reachable_s=0.3)
    following = asyncio.create_task(drain.follow())
    await asyncio.sleep(0.1)
    assert (drain.begun, drain.refusing) == (True, False)
    await asyncio.sleep(0.3)
    assert (drain.refusing, drain.over.done()) == (True, False)
    await following
    assert drain.over.done()


async def test_who_has_no_grace_left_is_refused_at_once() -> None:
    drain = Draining(stopping=lambda: True, grace_s=0.0, reachable_s=30.0)
    await asyncio.wait_for(drain.follow(), timeout=1)
    assert (drain.refusing, drain.over.done()) == (True, True)


def test_a_file_counts_only_where_it_is_touched_after_the_start(tmp_path: Path) -> None:
    path = tmp_path / "stopping"
    path.touch()
    os.utime(path, (time.time() - 5, time.time() - 5))  # of a container that ran here before
    file = StopFile(path)
    assert file.touched() is False
    os.utime(path, (time.time() + 1, time.time() + 1))
    assert file.touched() is True
    assert StopFile(tmp_path / "absent").touched() is False
    assert StopFile(None).touched() is False
