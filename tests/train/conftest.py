"""Adapters, base models and datasets that the training tests share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import settings
from safetensors.numpy import save_file

from tests.models import build_tiny_llama
from train.base_model import BaseModelFiles, describe_base
from train.registry import AdapterRegistry, Provenance, publish_adapter

if TYPE_CHECKING:
    from train.prepare import PreparedRun

Publish = Callable[..., None]
AdapterMaker = Callable[..., Path]

# First calls load tokenizers, and a busy machine is slow: time limits belong to pytest-timeout.
settings.register_profile("graftwork", deadline=None)
settings.load_profile("graftwork")


@pytest.fixture
def registry(tmp_path: Path) -> AdapterRegistry:
    """An empty registry."""
    return AdapterRegistry(tmp_path / "registry")


@pytest.fixture
def small_base(tmp_path: Path) -> BaseModelFiles:
    """A checkpoint folder with two linear layers, enough for everything that only reads headers."""
    folder = tmp_path / "small-base"
    write_checkpoint(folder)
    return describe_base(folder, name="small-base")


def write_checkpoint(folder: Path, *, hidden: int = 8, seed: int = 0) -> None:
    """Write a folder that has what a base model's fingerprint reads."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    weights = {
        "model.layers.0.self_attn.q_proj.weight": generator.standard_normal((hidden, hidden), dtype=np.float32),
        "model.layers.0.mlp.up_proj.weight": generator.standard_normal((2 * hidden, hidden), dtype=np.float32),
        "model.norm.weight": np.ones(hidden, dtype=np.float32),
    }
    save_file(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": hidden}))
    (folder / "chat_template.jinja").write_text("{% for message in messages %}{{ message['content'] }}{% endfor %}")


@pytest.fixture
def make_adapter(tmp_path: Path) -> AdapterMaker:
    """Write a PEFT adapter folder that fits `small_base`; keyword arguments replace fields of adapter_config.json."""
    made = 0

    def make(**adapter: object) -> Path:
        nonlocal made
        made += 1
        return write_adapter(tmp_path / f"adapter-{made}", **adapter)  # type: ignore[arg-type]

    return make


@pytest.fixture
def publish(registry: AdapterRegistry, make_adapter: AdapterMaker, small_base: BaseModelFiles) -> Publish:
    """Publishes new adapters of a name, none of them stable but the first unless it is asked for."""

    def run(count: int = 1, *, name: str = "a", make_stable: bool = False) -> None:
        for _ in range(count):
            publish_adapter(
                make_adapter(),
                registry=registry,
                name=name,
                base=small_base,
                provenance=Provenance(),
                make_stable=make_stable,
            )

    return run


def write_adapter(folder: Path, *, rank: int = 4, hidden: int = 8, seed: int = 0, **config: object) -> Path:
    """Write a PEFT adapter folder that fits what `write_checkpoint` writes."""
    folder.mkdir()
    generator = np.random.default_rng(seed)
    tensors = {}
    for module, out in (("self_attn.q_proj", hidden), ("mlp.up_proj", 2 * hidden)):
        prefix = f"base_model.model.model.layers.0.{module}"
        tensors[f"{prefix}.lora_A.weight"] = generator.standard_normal((rank, hidden), dtype=np.float32)
        tensors[f"{prefix}.lora_B.weight"] = generator.standard_normal((out, rank), dtype=np.float32)
    save_file(tensors, folder / "adapter_model.safetensors")
    fields = {
        "peft_type": "LORA",
        "base_model_name_or_path": "somewhere/else",
        "r": rank,
        "lora_alpha": 2 * rank,
        "target_modules": ["q_proj", "up_proj"],
        "bias": "none",
        "modules_to_save": None,
    }
    (folder / "adapter_config.json").write_text(json.dumps(fields | config))
    return folder


@pytest.fixture(scope="session")
def tiny_base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer random Llama with SmolLM2's tokenizer."""
    return build_tiny_llama(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tiny_base(tiny_base_folder: Path) -> BaseModelFiles:
    """The two-layer model, described."""
    return describe_base(tiny_base_folder, name="tiny")


@pytest.fixture(scope="module")
def process_group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A process group of one, as Ray Train gives a worker; a trainer wants it."""
    import torch.distributed
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    place = tmp_path_factory.mktemp("group") / "store"
    torch.distributed.init_process_group("gloo", init_method=f"file://{place}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def write_rows(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Write a chat dataset of question and answer pairs."""

    def write(pairs: list[tuple[str, str]], *, name: str = "rows.jsonl") -> Path:
        path = tmp_path / name
        with path.open("w", encoding="utf-8") as file:
            for question, answer in pairs:
                turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
                file.write(json.dumps({"messages": turns}) + "\n")
        return path

    return write


@pytest.fixture(scope="module")
def prepared(tiny_base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedRun:
    """A run that is ready to start."""
    from tests.train.workshop import ROWS, write_rows_of_spans
    from train.prepare import prepare_run
    from train.settings import TrainSettings
    from train.types import TrainRequest

    folder = tmp_path_factory.mktemp("prepared")
    settings = TrainSettings(base_model=str(tiny_base_folder), storage_path=folder / "runs", dtype="float32")
    request = TrainRequest(datasets=(str(write_rows_of_spans(folder / "rows.jsonl", range(ROWS))),), name="agro")
    return prepare_run(request, settings=settings)
