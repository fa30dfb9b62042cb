from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from tests.train.conftest import write_adapter, write_checkpoint
from train.base_model import describe_base
from train.registry import AdapterRegistry, Provenance, publish_adapter


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings whose registry has one whole version and one that was not finished."""
    write_checkpoint(tmp_path / "base")
    base = describe_base(tmp_path / "base", name="base")
    registry = AdapterRegistry(tmp_path / "home" / "registry")
    for _ in range(2):
        publish_adapter(
            write_adapter_once(tmp_path),
            registry=registry,
            name="a",
            base=base,
            provenance=Provenance(),
            make_stable=False,
        )
    half = registry.root / "adapters" / "a" / "3"
    half.mkdir()
    (half / "adapter_config.json").touch()
    (registry.path("a", 1) / "manifest.json").unlink()
    path = tmp_path / "graftwork.yaml"
    path.write_text(json.dumps({"home": str(tmp_path / "home"), "train": {"base_model": str(tmp_path / "base")}}))
    return path


def write_adapter_once(folder: Path) -> Path:
    adapter = folder / "adapter"
    return adapter if adapter.exists() else write_adapter(adapter)


def run(config: Path, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["--config", str(config), "registry", *arguments], catch_exceptions=False)
    return done.exit_code, done.stdout


def test_check_tells_and_repair_mends_what_it_can(config: Path) -> None:
    code, said = run(config, "check", "--settled-minutes", "0")
    assert code == 3
    assert "half-written: a@3 has files and no manifest.json" in said
    assert "`repair` would delete its files" in said
    assert "a@1, which has no manifest.json, and it is stable; put its files back" in said
    code, said = run(config, "repair", "--settled-minutes", "0", "--json")
    document = json.loads(said)
    assert code == 3
    assert [problem["what"] for problem in document["mended"]] == ["a@3"]
    assert [problem["what"] for problem in document["left"]] == ["a@1"]


def test_what_may_be_in_the_making_is_left_alone_by_default(config: Path) -> None:
    code, said = run(config, "check", "--json")
    assert code == 3
    assert [problem["what"] for problem in json.loads(said)["problems"]] == ["a@1"]


def test_a_registry_that_is_well(tmp_path: Path) -> None:
    path = tmp_path / "graftwork.yaml"
    path.write_text(json.dumps({"home": str(tmp_path / "home")}))
    assert run(path, "check") == (0, f"The index of {tmp_path / 'home' / 'registry'} and what lies there agree.\n")
    assert run(path, "repair")[0] == 0
