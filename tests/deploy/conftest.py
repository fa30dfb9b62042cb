"""What the tests of `deploy` share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models import build_tiny_llama


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer model that loads in a moment."""
    return build_tiny_llama(tmp_path_factory.mktemp("base") / "tiny-base")
