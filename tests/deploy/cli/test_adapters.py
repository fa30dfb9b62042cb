from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from indexer.errors import ConflictError, InputError, NotFoundError
from tests.stack import build_tiny_adapter
from tests.train.conftest import write_adapter, write_checkpoint


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A settings file with a small base model, and a home of its own."""
    write_checkpoint(tmp_path / "base")
    path = tmp_path / "graftwork.yaml"
    settings = {"home": str(tmp_path / "home"), "train": {"base_model": str(tmp_path / "base")}}
    path.write_text(json.dumps(settings))
    return path


def adapters(config: Path, *arguments: str) -> dict[str, object]:
    """The JSON of one `graftwork adapters` command; its error is raised."""
    done = CliRunner().invoke(
        app, ["--config", str(config), "adapters", *arguments, "--json"], catch_exceptions=False, standalone_mode=False
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(found, dict)
    return found


def test_an_adapter_goes_in_and_out(config: Path, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "adapter")
    assert adapters(config, "import", str(folder), "--name", "guest")["adapter"] == "guest@1"
    exported = adapters(config, "export", "guest@1", str(tmp_path / "out"))
    assert exported["files"] == ["adapter_config.json", "adapter_model.safetensors", "manifest.json"]
    assert (tmp_path / "out" / "adapter_model.safetensors").read_bytes() == (
        folder / "adapter_model.safetensors"
    ).read_bytes()
    with pytest.raises(ConflictError, match="not an empty folder; give one that is empty or does not exist"):
        adapters(config, "export", "guest@1", str(tmp_path / "out"))


def test_a_version_is_merged_into_its_base(tmp_path: Path, tiny_base: Path) -> None:
    config = tmp_path / "graftwork.yaml"
    settings = {"home": str(tmp_path / "home"), "train": {"base_model": str(tiny_base)}}
    config.write_text(json.dumps(settings))
    adapters(config, "import", str(build_tiny_adapter(tiny_base, tmp_path / "a", seed=1)), "--name", "guest")
    merged = adapters(config, "merge", "guest@stable", "--into", str(tmp_path / "merged"))
    assert (merged["adapter"], merged["dtype"], merged["folder"]) == ("guest@1", "bfloat16", str(tmp_path / "merged"))
    assert (tmp_path / "merged" / "model.safetensors").is_file()
    with pytest.raises(ConflictError, match="not an empty folder"):
        adapters(config, "merge", "guest@1", "--into", str(tmp_path / "merged"))


def test_weights_that_can_run_code_are_refused_with_a_way_out(config: Path, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "adapter")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(InputError, match=r"adapter_model\.bin, which can run code when loaded.*as safetensors"):
        adapters(config, "import", str(folder), "--name", "guest")


def test_a_rank_above_the_engines_is_refused(config: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="rank 17"):
        adapters(config, "import", str(write_adapter(tmp_path / "adapter", rank=17)), "--name", "guest")
    assert adapters(config, "list")["adapters"] == []


def test_the_verbs_change_what_serves_and_events_tells_it(config: Path, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "adapter")
    for _ in range(3):
        adapters(config, "import", str(folder), "--name", "guest", "--no-stable")
    trial = adapters(config, "canary", "guest@2", "--percent", "10")
    assert trial["canary"] == {"version": 2, "percent": 10}
    promoted = adapters(config, "promote", "guest@2")
    assert (promoted["stable"], promoted["former"], promoted["canary"], promoted["served"]) == (2, [1], None, None)
    assert adapters(config, "pin", "guest@3")["pinned"] == [3]
    assert adapters(config, "unpin", "guest@3")["pinned"] == []
    assert adapters(config, "retire", "guest@3")["retired"] == [3]
    assert adapters(config, "rollback", "guest")["stable"] == 1
    assert adapters(config, "verify", "guest@2")["verified"] is True
    assert adapters(config, "list")["adapters"] == [
        {
            "name": "guest",
            "versions": [1, 2, 3],
            "stable": 1,
            "former": [],
            "canary": None,
            "retired": [3],
            "pinned": [],
        }
    ]
    told = adapters(config, "events", "guest")["events"]
    assert isinstance(told, list)
    assert [(event["verb"], event["from"], event["to"]) for event in told[3:]] == [
        ("canary", None, "2 at 10%"),
        ("promote", "1", "2"),
        ("pin", None, "3 pinned"),
        ("unpin", "3 pinned", None),
        ("retire", "live", "3 retired"),
        ("rollback", "2", "1"),
    ]
    assert all(event["who"] and event["at"] for event in told)
    with pytest.raises(ConflictError, match="guest@1 is the stable version"):
        adapters(config, "retire", "guest@1")
    with pytest.raises(NotFoundError, match="guest@3 is retired"):
        adapters(config, "promote", "guest@3")
    with pytest.raises(InputError, match="names no one version"):
        adapters(config, "pin", "guest")


def test_lines_for_people_say_what_each_version_is(config: Path, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "adapter")
    for _ in range(3):
        adapters(config, "import", str(folder), "--name", "guest", "--no-stable")
    adapters(config, "canary", "guest@3", "--percent", "25")
    adapters(config, "retire", "guest@2")

    def said(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["--config", str(config), "adapters", *arguments], catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout.strip()

    assert said("list") == "guest  1 (stable), 2 (retired), 3 (canary, 25%)"
    assert said("pin", "guest@1") == "guest  1 (stable, pinned), 2 (retired), 3 (canary, 25%)"
    assert said("pin", "guest@1").endswith("(unchanged)")
    assert said("events", "guest").splitlines()[-1].endswith("pin  guest  none -> 1 pinned")
