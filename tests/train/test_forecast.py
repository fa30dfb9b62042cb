from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from indexer.errors import GraftworkError
from train.forecast import forecast
from train.prepare import PreparedRun, prepare_run
from train.settings import TrainSettings
from train.types import TrainRequest

RANK, ROWS = 4, 24


@pytest.fixture
def prepared(tiny_base_folder: Path, tmp_path: Path, write_rows: Callable[..., Path]) -> PreparedRun:
    rows = write_rows([(f"How deep is berth {number}?", f"{number} spans.") for number in range(ROWS)])
    settings = TrainSettings(
        base_model=str(tiny_base_folder),
        models_dir=tmp_path / "models",
        storage_path=tmp_path / "runs",
        rank=RANK,
        workers=3,
        gradient_accumulation=2,
        epochs=2,
    )
    return prepare_run(TrainRequest(datasets=(str(rows),), name="agro"), settings=settings)


def test_a_run_is_foretold_by_steps_of_its_own(prepared: PreparedRun) -> None:
    found = forecast(prepared, name="agro", measure=True)
    assert (found.workers, found.rows_per_step, found.steps) == (3, 6, 8)
    assert found.tokens == 2 * found.statistics.tokens
    trial = found.trial
    assert trial is not None
    assert 0 < trial.trainable_parameters < trial.base_parameters
    assert trial.trainable_parameters % RANK == 0
    assert trial.memory_mib > 100
    assert found.seconds == pytest.approx(found.tokens / 3 / trial.tokens_per_s)
    assert found.to_json()["seconds"] == found.seconds
    assert not prepared.plan.settings.storage_path.exists()


def test_packed_rows_are_foretold_as_sequences(prepared: PreparedRun, tmp_path: Path) -> None:
    settings = prepared.plan.settings.model_copy(update={"packing": True, "packed_length": 1024, "max_steps": 3})
    request = TrainRequest(datasets=(str(tmp_path / "rows.jsonl"),), name="agro")
    packed = prepare_run(request, settings=settings)
    found = forecast(packed, name="agro", measure=False)
    assert found.packed is not None
    assert (found.packed.rows, found.packed.length) == (ROWS, 1024)
    assert found.packed.sequences == len(packed.rows.train) < ROWS / 4
    assert found.packed.share == pytest.approx(found.statistics.tokens / 1024 / found.packed.sequences)
    assert found.to_json()["packed"] == found.packed.to_json()


def test_nothing_is_measured_where_it_is_not_wanted_or_there_is_no_gpu(prepared: PreparedRun) -> None:
    assert forecast(prepared, name="agro", measure=False).trial is None
    prepared.plan.settings.use_gpu = True
    found = forecast(prepared, name="agro", measure=True)
    assert (found.trial, found.seconds) == (None, None)
    assert "no GPU" in found.reason


def test_a_step_that_cannot_be_trained_says_why(prepared: PreparedRun) -> None:
    weights = next(Path(prepared.plan.base_model).glob("*.safetensors"))
    content = weights.read_bytes()
    weights.write_bytes(content[:100])
    try:
        with pytest.raises(GraftworkError, match="A step cannot be trained here: "):
            forecast(prepared, name="agro", measure=True)
    finally:
        weights.write_bytes(content)
