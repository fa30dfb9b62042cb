from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from indexer.errors import NotFoundError
from tests.train.conftest import AdapterMaker
from train.registry.manifest import TrainingRecord
from train.unpublished import UNPUBLISHED, UnpublishedAdapter, kept_adapter

RECORD = TrainingRecord(
    run="s-001",
    workers=2,
    steps=3,
    planned_steps=4,
    epochs=1.0,
    seconds=2.5,
    tokens=100,
    supervised_tokens=20,
    first_loss=2.0,
    final_loss=None,
    learning_rate=0.1,
    batch_rows=8,
    max_length=64,
    seed=7,
    dtype="float32",
    stopped_early=True,
    sweep="s",
)


def test_what_is_kept_is_read_again_and_replaces_what_was_kept_before(
    make_adapter: AdapterMaker, tmp_path: Path
) -> None:
    run = tmp_path / "s-001"
    UnpublishedAdapter(make_adapter(), RECORD, {"eval_loss": 9.0, "old": 1.0}).kept(run)
    made = UnpublishedAdapter(make_adapter(), RECORD, {"eval_loss": 1.5})
    kept = made.kept(run)
    assert kept == dataclasses.replace(made, folder=run / UNPUBLISHED)
    assert kept_adapter(run) == kept
    assert kept.kept(run) == kept
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        assert (kept.folder / file).read_bytes() == (made.folder / file).read_bytes()


@pytest.mark.parametrize("missing", ["scores.json", "training.json", "adapter_model.safetensors"])
def test_a_part_of_an_adapter_is_none(make_adapter: AdapterMaker, tmp_path: Path, missing: str) -> None:
    with pytest.raises(NotFoundError, match="has no whole adapter"):
        kept_adapter(tmp_path)
    kept = UnpublishedAdapter(make_adapter(), RECORD, {}).kept(tmp_path)
    (kept.folder / missing).unlink()
    with pytest.raises(NotFoundError, match="train it again"):
        kept_adapter(tmp_path)
