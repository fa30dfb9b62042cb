"""What the tests of the local instance share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.home import Home, make_home


@pytest.fixture
def home(tmp_path: Path, tiny_base: Path) -> Iterator[Home]:
    """A home whose base model loads in a moment; nothing of it runs after the test."""
    made = make_home(tmp_path, base_model=tiny_base)
    yield made
    made.clear()
