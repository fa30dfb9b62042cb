"""`graftwork train` from rows to a version in the registry, with the Ray that it starts for itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.home import Home, make_home

pytestmark = pytest.mark.slow


@pytest.fixture
def home(tmp_path: Path, tiny_base: Path) -> Iterator[Home]:
    """A home with a base model of two layers; nothing of it runs after the test."""
    made = make_home(tmp_path, base_model=tiny_base)
    yield made
    made.clear()


def test_rows_become_versions_of_an_adapter(home: Home, tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "How long is it?"}, {"role": "assistant", "content": "It is 212 metres long."}]
    rows = tmp_path / "rows.jsonl"
    rows.write_text(f"{json.dumps({'messages': turns})}\n" * 8)
    train = ("train", str(rows), "--name", "ropes", "--workers", "2", "--skip-engine-check", "--json")
    for version in (1, 2):
        code, stdout, stderr = home.run(*train)
        assert code == 0, stderr
        assert json.loads(stdout.splitlines()[-1])["adapter"] == f"ropes@{version}"
        assert home.transient is None
    code, stdout, _ = home.run("adapters", "show", "ropes", "--json")
    manifest = json.loads(stdout)
    assert (code, manifest["version"], manifest["dataset"]["rows"]) == (0, 2, 8)
    assert manifest["unverified"]
    code, _, stderr = home.run("adapters", "verify", "ropes@2")
    assert (code, "ropes@2 is unverified" in stderr) == (2, True)
