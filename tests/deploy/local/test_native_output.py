from __future__ import annotations

import os

import pytest

from deploy.local.native_output import held_back


def test_what_is_written_past_python_is_held_back(capfd: pytest.CaptureFixture[str]) -> None:
    with held_back():
        os.write(2, b"noise\n")
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "after\n"


def fail() -> None:
    with held_back():
        os.write(2, b"the cause\n")
        raise ValueError("broken")


def test_it_is_shown_where_the_block_fails(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="broken"):
        fail()
    assert capfd.readouterr().err == "the cause\n"
