"""A merged checkpoint says what the base says with its adapter, and appears whole or not at all."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from indexer.errors import ConflictError, GraftworkError, InputError, NotFoundError, UnavailableError
from tests.full_disk import full_disk
from tests.models import build_tiny_llama
from tests.stack import build_tiny_adapter
from train.base_model import BaseModelFiles, describe_base
from train.registry import AdapterRegistry, Provenance, publish_adapter
from train.registry.files import hash_file
from train.registry.merging import MERGE_RECORD, merge_adapter

PROMPTS = ("How long is the hawser?", "The ferry does not cross when the ebb runs", "24 metres, cast in 1871 [2].")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModelFiles:
    """The two-layer model in float32, with a generation config of its own."""
    folder = build_tiny_llama(tmp_path_factory.mktemp("models") / "tiny")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model.save_pretrained(folder)
    GenerationConfig(eos_token_id=[2, 0], temperature=0.3, do_sample=True).save_pretrained(folder)
    return describe_base(folder, name="tiny")


@pytest.fixture
def registry(tmp_path: Path, base: BaseModelFiles) -> AdapterRegistry:
    """A registry with ropes@1."""
    made = AdapterRegistry(tmp_path / "registry")
    publish(made, base, build_tiny_adapter(base.path, tmp_path / "adapter", seed=1))
    return made


def publish(registry: AdapterRegistry, base: BaseModelFiles, folder: Path) -> None:
    publish_adapter(folder, registry=registry, name="ropes", base=base, provenance=Provenance())


def logits(model: Callable[..., Any], tokenizer: Callable[..., Any]) -> torch.Tensor:
    """Of every token of the prompts."""
    with torch.no_grad():
        return torch.cat([model(**tokenizer(text, return_tensors="pt")).logits[0].float() for text in PROMPTS])


def three(folder: Path, *, base: BaseModelFiles, adapter: Path) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits, computed in float32, of the base, of the base with its adapter, and of the merged checkpoint."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(base.path, dtype=torch.float32)
    plain = logits(model, tokenizer)
    grafted = logits(PeftModel.from_pretrained(model, adapter), tokenizer)
    return plain, grafted, logits(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), tokenizer)


def test_it_says_what_the_base_says_with_its_adapter(
    tmp_path: Path, registry: AdapterRegistry, base: BaseModelFiles
) -> None:
    into = tmp_path / "merged"
    record = merge_adapter("ropes", into, registry=registry, find_base=lambda: base)
    plain, grafted, merged = three(into, base=base, adapter=registry.path("ropes", 1))
    assert (merged - grafted).abs().max() < 1e-4
    assert (plain - grafted).abs().max() > 0.1

    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        assert (into / name).read_bytes() == (base.path / name).read_bytes()
    assert not list(into.glob("adapter*"))
    assert record.model_dump(mode="json") == json.loads((into / MERGE_RECORD).read_text())
    assert (record.adapter, record.base_fingerprint, record.dtype) == ("ropes@1", base.fingerprint, "float32")
    assert record.adapter_files == registry.resolve("ropes@1").files
    assert record.fingerprint == describe_base(into, name="any").fingerprint != base.fingerprint
    assert record.files == {file.name: hash_file(file) for file in into.iterdir() if file.name != MERGE_RECORD}
    assert {oct(file.stat().st_mode & 0o777) for file in into.iterdir()} == {"0o644"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "merged", "registry"]


def test_in_bfloat16_it_differs_by_the_rounding_of_the_weights(tmp_path: Path) -> None:
    """A sum has 8 bits there like each of its parts: logits are off by 4% of their spread, under an adapter so strong
    that they differ from the base's by more than their spread."""
    base = describe_base(build_tiny_llama(tmp_path / "tiny"), name="tiny")
    registry = AdapterRegistry(tmp_path / "registry")
    publish(registry, base, build_tiny_adapter(base.path, tmp_path / "adapter", seed=1))
    into = tmp_path / "merged"
    into.mkdir()
    record = merge_adapter("ropes@1", into, registry=registry, find_base=lambda: base)
    assert record.dtype == "bfloat16"
    plain, grafted, merged = three(into, base=base, adapter=registry.path("ropes", 1))
    spread = grafted.std()
    assert (merged - grafted).std() < 0.05 * spread
    assert (plain - grafted).std() > spread


def refused(registry: AdapterRegistry, base: BaseModelFiles, into: Path, ref: str = "ropes@1") -> GraftworkError:
    """Why it is refused; nothing may be left of it."""
    before = sorted(into.parent.iterdir()) if into.parent.is_dir() else []
    with pytest.raises(GraftworkError) as raised:
        merge_adapter(ref, into, registry=registry, find_base=lambda: base)
    assert (sorted(into.parent.iterdir()) if into.parent.is_dir() else []) == before
    return raised.value


def test_what_cannot_be_is_refused_before_a_weight_is_read(
    tmp_path: Path, registry: AdapterRegistry, base: BaseModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    into = tmp_path / "merged"
    for ref, kind, said in (
        ("absent", NotFoundError, "no adapter 'absent'"),
        ("ropes@7", NotFoundError, "no version 7"),
    ):
        error = refused(registry, base, into, ref)
        assert type(error) is kind
        assert said in str(error)
    error = refused(registry, base, tmp_path / "absent" / "merged")
    assert type(error) is NotFoundError
    assert "There is no folder" in str(error)

    into.mkdir()
    (into / "mine.txt").write_text("mine")
    assert type(refused(registry, base, into)) is ConflictError
    assert (into / "mine.txt").read_text() == "mine"
    shutil.rmtree(into)

    other = describe_base(build_tiny_llama(tmp_path / "other", seed=1), name="other")
    error = refused(registry, other, into)
    assert type(error) is InputError
    assert "was made for tiny" in str(error)

    config = json.loads((other.path / "config.json").read_text())
    (other.path / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "awq"}}))
    assert "is quantised" in str(refused(registry, other, into))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "is_mount", lambda path: path == into)
        assert "is a mount point" in str(refused(registry, base, into))

    usage = namedtuple("usage", ("total", "used", "free"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(2**30, 2**30, 2**20))
    error = refused(registry, base, into)
    assert type(error) is UnavailableError
    assert "needs 0.1 GiB" in str(error)


def test_weights_that_are_no_numbers_are_not_written(
    tmp_path: Path, registry: AdapterRegistry, base: BaseModelFiles
) -> None:
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = load_file(weights)
    next(iter(tensors.values()))[0, 0] = float("nan")
    save_file(tensors, weights)
    publish(registry, base, tmp_path / "adapter")
    error = refused(registry, base, tmp_path / "merged", "ropes@2")
    assert type(error) is InputError
    assert "ropes@2 cannot be merged" in str(error)


def test_a_full_disk_leaves_nothing(tmp_path: Path, registry: AdapterRegistry, base: BaseModelFiles) -> None:
    with full_disk(room_bytes=2**20):
        error = refused(registry, base, tmp_path / "merged")
    assert type(error) is UnavailableError
    assert "The merged model cannot be written at" in str(error)


def test_what_a_killed_merge_left_goes_and_what_another_writes_stays(
    tmp_path: Path, registry: AdapterRegistry, base: BaseModelFiles
) -> None:
    leftover = tmp_path / ".merged-x1.partial"
    leftover.mkdir()
    (leftover / "model.safetensors").write_bytes(b"half")
    handle = os.open(leftover, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        assert type(refused(registry, base, tmp_path / "merged")) is ConflictError
        assert (leftover / "model.safetensors").read_bytes() == b"half"
    finally:
        os.close(handle)
    merge_adapter("ropes@1", tmp_path / "merged", registry=registry, find_base=lambda: base)
    assert not leftover.exists()
    assert (tmp_path / "merged" / "model.safetensors").is_file()
