"""What all tests share: no model hub, and one live instance per run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack import Stack, open_stack, start_stack

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Settings of whoever runs the tests are none of theirs.
for name in [name for name in os.environ if name.startswith("GRAFTWORK_") and not name.startswith("GRAFTWORK_TEST_")]:
    del os.environ[name]


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A live instance behind HAProxy with a tiny engine; started once, ended with the run.

    GRAFTWORK_TEST_STACK names the folder of one that `python -m tests.stack FOLDER` left up, to save its start.
    """
    if folder := os.environ.get("GRAFTWORK_TEST_STACK"):
        yield open_stack(Path(folder))
        return
    started = start_stack(tmp_path_factory.mktemp("stack"), haproxy=True)
    yield started
    assert started.run("down", "--json").json["graceful"] is True
