from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.train.examples.making import SmallEndpoint, running_endpoint


@pytest.fixture
def endpoint() -> Iterator[SmallEndpoint]:
    with running_endpoint() as running:
        yield running
