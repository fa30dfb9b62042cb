"""What all tests share: no model hub, and one live instance per run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
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


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """One Ray for all tests that need no instance. Two logical CPUs; workers import the packages from this checkout."""
    import ray

    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    root = str(Path(__file__).parents[1])
    start = partial(
        ray.init,
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=200_000_000,
        runtime_env={"env_vars": {"PYTHONPATH": root, "HF_HUB_OFFLINE": "1"}},
    )
    try:
        start()
    except Exception as error:
        # Ray waits 30 s for its raylet, whatever the machine has to do besides (ray/_private/node.py).
        if "timed out during startup" not in str(error):
            raise
        ray.shutdown()
        start()
    yield
    ray.shutdown()
