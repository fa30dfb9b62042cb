"""What the tests of `deploy` share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.processes import start_ticks
from deploy.local.ray_environment import ensure_token
from deploy.local.state import InstanceState, ServerProcess, instance_id, temp_dir_of
from tests.home import Home, make_home
from tests.models import build_tiny_llama
from tests.small_app import SmallApp, small_app


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer model that loads in a moment."""
    return build_tiny_llama(tmp_path_factory.mktemp("base") / "tiny-base")


@pytest.fixture
def bare_home(tmp_path: Path) -> Iterator[Home]:
    """A home whose base model does not exist, for what needs no engine; nothing of it runs after the test."""
    made = make_home(tmp_path, base_model=tmp_path / "absent")
    yield made
    made.clear()


@pytest.fixture
def app() -> Iterator[SmallApp]:
    """A small server that answers as an app that is up."""
    with small_app() as running:
        yield running


@pytest.fixture
def up_state(bare_home: Home, app: SmallApp) -> InstanceState:
    """The state of an instance of `bare_home` that is up: its API is `app`, its only server this very process."""
    instance = instance_id(bare_home.folder)
    ticks = start_ticks(os.getpid())
    assert ticks is not None
    return InstanceState(
        instance=instance,
        phase="up",
        started_at="2026-01-01T00:00:00+00:00",
        home=str(bare_home.folder),
        config=None,
        settings_digest="",
        temp_dir=str(temp_dir_of(instance)),
        token_path=str(ensure_token(bare_home.folder / "run")),
        urls={"api": app.url, "dashboard": app.url},
        processes=(ServerProcess("raylet", os.getpid(), ticks),),
    )
