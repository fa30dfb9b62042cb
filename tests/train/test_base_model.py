from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from indexer.errors import InputError, NotFoundError
from tests.train.conftest import write_checkpoint
from train.base_model import describe_base, read_chat_template, resolve_base


def test_a_folder_is_described(tmp_path: Path) -> None:
    folder = tmp_path / "base"
    write_checkpoint(folder)
    base = resolve_base(str(folder), models_dir=tmp_path / "models")
    assert (base.name, base.path) == ("base", folder)
    assert base.modules == {"model.layers.0.self_attn.q_proj": (8, 8), "model.layers.0.mlp.up_proj": (16, 8)}
    assert base.chat_template_hash is not None
    assert not (tmp_path / "models").exists()


def test_the_fingerprint_ignores_how_tensors_are_spread_over_files(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "one")
    write_checkpoint(tmp_path / "two")
    weights = load_file(tmp_path / "two" / "model.safetensors")
    (tmp_path / "two" / "model.safetensors").unlink()
    for number, name in enumerate(weights):
        save_file({name: weights[name]}, tmp_path / "two" / f"model-{number}.safetensors", metadata={"format": "pt"})
    one, two = (describe_base(tmp_path / name, name=name) for name in ("one", "two"))
    assert one.fingerprint == two.fingerprint


@pytest.mark.parametrize("change", ["weights", "dtype", "shape_field"])
def test_the_fingerprint_notices_another_model(tmp_path: Path, change: str) -> None:
    folder = tmp_path / "base"
    write_checkpoint(folder)
    before = describe_base(folder, name="base").fingerprint
    weights = load_file(folder / "model.safetensors")
    if change == "weights":
        weights["model.layers.0.mlp.up_proj.weight"] = weights["model.layers.0.mlp.up_proj.weight"] + 1
    if change == "dtype":
        weights = {name: value.astype(np.float16) for name, value in weights.items()}
    save_file(weights, folder / "model.safetensors")
    if change == "shape_field":
        (folder / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 8, "vocab_size": 1}))
    assert describe_base(folder, name="base").fingerprint != before


def test_a_config_saved_again_by_a_later_library_keeps_the_fingerprint(tmp_path: Path) -> None:
    folder = tmp_path / "base"
    write_checkpoint(folder)
    before = describe_base(folder, name="base").fingerprint
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"transformers_version": "9", "rope_parameters": {}}))
    assert describe_base(folder, name="base").fingerprint == before


def test_the_chat_template_is_found_where_older_libraries_wrote_it(tmp_path: Path) -> None:
    assert read_chat_template(tmp_path) is None
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": "old"}))
    assert read_chat_template(tmp_path) == "old"
    named = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    assert read_chat_template(tmp_path) == "plain"
    (tmp_path / "chat_template.jinja").write_text("new")
    assert read_chat_template(tmp_path) == "new"


def test_what_is_no_base_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"config\.json"):
        resolve_base(str(tmp_path), models_dir=tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="no \\*\\.safetensors weights"):
        resolve_base(str(tmp_path), models_dir=tmp_path)
    for name in ("./nowhere", "/no/where/at/all", "nobody/no-such-model"):
        with pytest.raises(NotFoundError, match=name):
            resolve_base(name, models_dir=tmp_path)


@pytest.mark.slow
def test_the_embedded_model_is_unpacked_once_and_named_quickly(tmp_path: Path) -> None:
    first = resolve_base("smollm2-135m-instruct", models_dir=tmp_path)
    written = (first.path / "model.safetensors").stat().st_mtime_ns
    begin = time.perf_counter()
    second = resolve_base("smollm2-135m-instruct", models_dir=tmp_path)
    assert time.perf_counter() - begin < 1
    assert second == first
    assert (second.path / "model.safetensors").stat().st_mtime_ns == written
    assert first.modules["model.layers.29.mlp.down_proj"] == (576, 1536)
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == ["smollm2-135m-instruct"]
