"""Packed rows are learned as they are one by one: no token of a row sees another row."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import masking_utils

from indexer.errors import InputError
from tests.train.workshop import write_rows_of_spans
from train.measuring import mean_loss, scored_rows
from train.packing import as_dataset, fill_of, pack
from train.prepare import PreparedRun, prepare_run
from train.settings import TrainSettings
from train.sft import IGNORED, GraftTrainer, token_losses
from train.tokens import TokenRows
from train.types import TrainRequest
from train.worker import build_trainer

ROWS = 12
LENGTH = 768
EPOCHS = 4
# float32: other shapes sum in another order.
CLOSE = 1e-5

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=40)


def rows_of(lengths: list[int]) -> TokenRows:
    """Rows whose tokens are all different, every third of them supervised, the first one of each too."""
    offsets = np.cumsum([0, *lengths], dtype=np.int64)
    supervised = np.arange(offsets[-1]) % 3 == 0
    supervised[offsets[:-1]] = True
    return TokenRows(np.arange(offsets[-1], dtype=np.int32), supervised, offsets)


@given(lengths=LENGTHS, length=st.integers(40, 90))
def test_every_row_lies_whole_in_one_sequence(lengths: list[int], length: int) -> None:
    rows = rows_of(lengths)
    found = pack(rows, length=length)
    assert found.borders is not None
    assert set(found.offsets) <= set(found.borders)
    assert found.lengths.max() <= length
    assert len(found) <= len(rows)
    spans = zip(found.borders[:-1], found.borders[1:], strict=True)
    pieces = sorted((found.ids[begin:end].tolist(), found.supervised[begin:end].tolist()) for begin, end in spans)
    # All but the first token of each, which has nothing of its own before it.
    wanted = sorted((ids.tolist(), [False, *mask[1:].tolist()]) for ids, mask in map(rows.row, range(len(rows))))
    assert pieces == wanted
    for index in range(len(found)):
        ids, _ = found.row(index)
        begins = rows.offsets[np.searchsorted(rows.offsets, ids, side="right") - 1]
        assert (found.positions(index) == ids - begins).all()


def test_sequences_are_full_where_rows_fit_together() -> None:
    found = fill_of(pack(rows_of([30, 20, 10, 25, 15]), length=50), length=50)
    assert found is not None
    assert (found.rows, found.sequences, found.share) == (5, 2, 1.0)
    assert fill_of(rows_of([3]), length=50) is None


def test_a_row_that_does_not_fit_is_refused_and_not_cut() -> None:
    with pytest.raises(InputError, match="row of 51 tokens does not fit into a sequence of 50"):
        pack(rows_of([5, 51]), length=50)


@pytest.fixture(scope="module")
def runs(tiny_base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, PreparedRun]:
    """The same rows as they are and packed; every step reads all of them."""
    folder = tmp_path_factory.mktemp("packing")
    dataset = write_rows_of_spans(folder / "rows.jsonl", range(ROWS))
    settings = TrainSettings(
        base_model=str(tiny_base_folder),
        storage_path=folder / "runs",
        workers=1,
        dtype="float32",
        rank=4,
        alpha=8,
        epochs=EPOCHS,
        learning_rate=5e-3,
        # Both halves of LoRA are random, so that both get a gradient.
        lora={"init_lora_weights": False},
        general_dataset=[],
    )

    def prepared(rows_per_step: int, **changes: object) -> PreparedRun:
        changed = settings.model_copy(update={"gradient_accumulation": rows_per_step, **changes})
        return prepare_run(TrainRequest(datasets=(str(dataset),), name="agro"), settings=changed)

    packing = {"packing": True, "packed_length": LENGTH}
    sequences = len(prepared(1, **packing).rows.train)
    assert 1 < sequences < ROWS / 2
    return {False: prepared(ROWS), True: prepared(sequences, **packing)}


def trainer_of(run: PreparedRun, folder: Path) -> GraftTrainer:
    return build_trainer(run.plan, run.rows, share=lambda: 0.0, scratch=folder)


@pytest.fixture
def trainers(runs: dict[bool, PreparedRun], process_group: None, tmp_path: Path) -> dict[bool, GraftTrainer]:
    """A trainer of each run; both begin with the same adapter."""
    return {packed: trainer_of(run, tmp_path / str(packed)) for packed, run in runs.items()}


Plant = Callable[[dict[str, Any]], dict[str, Any]]


def _honest(batch: dict[str, Any]) -> dict[str, Any]:
    return batch


def _one_count(batch: dict[str, Any]) -> dict[str, Any]:
    return {**batch, "position_ids": torch.arange(batch["input_ids"].shape[1])[None]}


def _no_border(batch: dict[str, Any]) -> dict[str, Any]:
    """An attention mask, under which transformers looks for no borders; the positions stay right."""
    return {**batch, "attention_mask": torch.ones_like(batch["input_ids"])}


def losses_by_token(trainer: GraftTrainer, rows: TokenRows, *, plant: Plant = _honest) -> dict[bytes, list[float]]:
    """The losses of every row's supervised tokens, as the trainer's own collator and forward give them."""
    dataset, found = as_dataset(rows), {}
    borders = rows.offsets if rows.borders is None else rows.borders
    for index in range(len(rows)):
        batch = plant(trainer.data_collator([dataset[index]]))
        with torch.no_grad():
            losses, count = token_losses(trainer.model, batch)
        assert len(losses) == count
        places = rows.offsets[index] + 1 + np.flatnonzero(batch["labels"][0, 1:].numpy() != IGNORED)
        owners = np.searchsorted(borders, places, side="right") - 1
        for owner in np.unique(owners):
            ids = rows.ids[borders[owner] : borders[owner + 1]]
            found[ids.tobytes()] = losses.numpy()[owners == owner].tolist()
    return found


def _furthest(one: dict[bytes, list[float]], other: dict[bytes, list[float]]) -> float:
    assert one.keys() == other.keys()
    return max(float(np.abs(np.subtract(one[row], other[row])).max()) for row in one)


def test_each_token_of_packed_rows_has_the_loss_of_its_row_alone(
    trainers: dict[bool, GraftTrainer], runs: dict[bool, PreparedRun]
) -> None:
    alone = losses_by_token(trainers[False], runs[False].rows.train)
    packed = losses_by_token(trainers[True], runs[True].rows.train)
    assert len(alone) == ROWS
    assert sum(map(len, packed.values())) == runs[False].statistics.supervised_tokens
    assert _furthest(packed, alone) < CLOSE


@pytest.mark.parametrize("plant", [_one_count, _no_border])
def test_a_planted_contamination_is_seen_in_the_losses(
    trainers: dict[bool, GraftTrainer], runs: dict[bool, PreparedRun], plant: Plant
) -> None:
    """What the test above holds would fail by far: the check is one that can fail."""
    alone = losses_by_token(trainers[False], runs[False].rows.train)
    assert _furthest(losses_by_token(trainers[True], runs[True].rows.train, plant=plant), alone) > 1000 * CLOSE


def _gradients(trainer: GraftTrainer) -> dict[str, torch.Tensor]:
    batches = list(trainer.get_train_dataloader())[: trainer.args.gradient_accumulation_steps]
    count = sum(int((batch["labels"][:, 1:] != IGNORED).sum()) for batch in batches)
    for batch in batches:
        trainer.compute_loss(trainer.model, batch, num_items_in_batch=count).backward()
    return {name: each.grad for name, each in trainer.model.named_parameters() if each.grad is not None}


def test_a_step_of_packed_rows_has_the_gradient_of_the_rows(trainers: dict[bool, GraftTrainer]) -> None:
    alone, packed = _gradients(trainers[False]), _gradients(trainers[True])
    assert alone.keys() == packed.keys()
    assert all("lora_" in name for name in alone)
    for name, expected in alone.items():
        assert expected.norm() > 1e-4, name
        assert (packed[name] - expected).norm() < 1e-4 * expected.norm(), name


@pytest.mark.slow
def test_training_on_packed_rows_ends_where_training_on_the_rows_does(trainers: dict[bool, GraftTrainer]) -> None:
    for trainer in trainers.values():
        trainer.train()
    assert [trainer.state.global_step for trainer in trainers.values()] == [EPOCHS, EPOCHS]
    alone, packed = ({n: p for n, p in trainers[kind].model.named_parameters()} for kind in (False, True))
    for name, expected in alone.items():
        assert torch.allclose(packed[name], expected, atol=1e-4), name


def test_a_run_whose_base_sees_no_border_does_not_begin(
    runs: dict[bool, PreparedRun], process_group: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masking_utils, "find_packed_sequence_indices", lambda position_ids: None)
    trainer = trainer_of(runs[True], tmp_path)
    with pytest.raises(InputError, match=r"base model tiny lets packed rows see each other: \d+% of"):
        trainer.train()
    assert trainer.state.global_step == 0


def test_a_packed_dataset_is_scored_as_its_rows_are(
    trainers: dict[bool, GraftTrainer], runs: dict[bool, PreparedRun]
) -> None:
    rows = runs[False].rows.train
    trainer = trainers[False]
    sequences = scored_rows(rows, settings=runs[True].plan.settings)
    assert len(sequences) < len(rows)
    assert scored_rows(rows, settings=runs[False].plan.settings) is rows
    alone = mean_loss(trainer, rows, dtype="float32")
    assert mean_loss(trainer, sequences, dtype="float32") == pytest.approx(alone, abs=CLOSE)
    through = dataclasses.replace(sequences, borders=sequences.offsets)
    assert mean_loss(trainer, through, dtype="float32") != pytest.approx(alone, abs=1e-3)


def test_steps_and_tokens_of_a_packed_run_are_counted_in_sequences(runs: dict[bool, PreparedRun]) -> None:
    alone, packed = runs[False].plan.order, runs[True].plan.order
    assert (alone.steps, packed.steps) == (EPOCHS, EPOCHS)
    assert packed.tokens.tolist() == alone.tokens.tolist()
    assert len(packed.rows) == EPOCHS * len(runs[True].rows.train)
    assert runs[True].statistics == runs[False].statistics
