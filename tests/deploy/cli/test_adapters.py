from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from indexer.errors import ConflictError, InputError
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


def test_weights_that_can_run_code_are_refused_with_a_way_out(config: Path, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "adapter")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(InputError, match=r"adapter_model\.bin, which can run code when loaded.*as safetensors"):
        adapters(config, "import", str(folder), "--name", "guest")


def test_a_rank_above_the_engines_is_refused(config: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="rank 17"):
        adapters(config, "import", str(write_adapter(tmp_path / "adapter", rank=17)), "--name", "guest")
    assert adapters(config, "list")["adapters"] == []
