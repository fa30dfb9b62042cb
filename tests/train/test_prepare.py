from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from indexer.errors import InputError
from train.prepare import prepare_run, training_dtype
from train.reserve import ForwardWork
from train.settings import TrainSettings
from train.types import TrainRequest

RowWriter = Callable[..., Path]


@pytest.fixture
def settings(tiny_base_folder: Path, tmp_path: Path) -> TrainSettings:
    return TrainSettings(
        base_model=str(tiny_base_folder), models_dir=tmp_path / "models", storage_path=tmp_path / "runs", max_length=256
    )


@pytest.fixture
def request_for(write_rows: RowWriter) -> TrainRequest:
    return TrainRequest(datasets=(str(write_rows([("How deep?", "Two."), ("How wide?", "Four.")] * 10)),), name="agro")


def test_a_run_is_laid_out_without_ray(request_for: TrainRequest, settings: TrainSettings) -> None:
    prepared = prepare_run(request_for, settings=settings)
    assert prepared.dataset.rows == prepared.statistics.rows == 20
    assert prepared.plan.order.steps == 5
    assert prepared.plan.deadline is None
    assert prepared.plan.base_fingerprint == prepared.base.fingerprint
    assert not settings.storage_path.exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rank": 65}, "rank 65 is above the highest rank served, 64"),
        ({"target_modules": ["query"]}, "targets query"),
        ({"workers": 0}, "0 workers"),
        ({"chat_template": Path("/nowhere.jinja")}, "nowhere.jinja cannot be read"),
        (
            {"rank": 40, "lora": {"init_lora_weights": "pissa"}},
            "is published with rank 80, above the highest rank served, 64; train with rank 32,",
        ),
        (
            {"lora": {"init_lora_weights": "olora"}, "use_gpu": True, "sharding": "fsdp2"},
            "start out of the base's own weights; set train.quantization and train.sharding to none",
        ),
        (
            {"lr_scheduler": "cosine_with_min_lr"},
            "The schedule cosine_with_min_lr does not work with the options {}",
        ),
        ({"trainer": {"lr_scheduler_kwargs": "0.1"}}, "lr_scheduler_kwargs is '0.1'; give names and values"),
        ({"attention": "flash_attention_2"}, "train.attention is flash_attention_2, which wants GPUs"),
        ({"trainer": {"fsdp": True}}, "train.trainer.fsdp is decided by train.sharding"),
        ({"keep_best": True}, "train.keep_best goes by an evaluation dataset"),
        ({"early_stopping": 2}, "train.early_stopping goes by an evaluation dataset"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    request_for: TrainRequest, settings: TrainSettings, changes: dict[str, object], says: str
) -> None:
    with pytest.raises(InputError) as caught:
        prepare_run(request_for, settings=settings.model_copy(update=changes))
    assert says in str(caught.value)


def test_a_time_budget_leaves_the_engine_check_its_seconds(request_for: TrainRequest, settings: TrainSettings) -> None:
    hurried = dataclasses.replace(request_for, time_budget_s=100.0)
    checked = prepare_run(hurried, settings=settings).plan
    assert checked.settings.engine_check
    assert checked.deadline is not None
    assert checked.deadline - checked.started == pytest.approx(10)
    skipped = prepare_run(dataclasses.replace(hurried, skip_engine_check=True), settings=settings).plan
    assert not skipped.settings.engine_check
    assert skipped.deadline is not None
    assert skipped.deadline - skipped.started == pytest.approx(100)
    with pytest.raises(InputError, match="of 90 seconds leaves no time to train, for 90 are kept for the engine"):
        prepare_run(dataclasses.replace(request_for, time_budget_s=90.0), settings=settings)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "No Good"}, "cannot name an adapter"),
        ({"run_name": "../x"}, "cannot name a training run"),
        ({"time_budget_s": 0.0}, "time budget"),
        ({"gate": "f1>>0.4"}, "'f1>>0.4' is no condition"),
        ({"gate": "f1>=0.4"}, "asks for 'f1', which this run does not measure; it measures base_general_loss, forget"),
        ({"workers": 0}, "0 w"),
    ],
)
def test_requests_that_cannot_work_are_refused(
    request_for: TrainRequest, settings: TrainSettings, changes: dict[str, object], says: str
) -> None:
    with pytest.raises(InputError) as caught:
        prepare_run(dataclasses.replace(request_for, **changes), settings=settings)  # type: ignore[arg-type]
    assert says in str(caught.value)


def test_an_evaluation_row_without_an_answer_in_reach_is_refused(
    request_for: TrainRequest, settings: TrainSettings, write_rows: RowWriter
) -> None:
    held_out = write_rows([("word " * 400, "Two.")], name="held-out.jsonl")
    with pytest.raises(InputError, match=r"nothing to learn within max_length 256.*\n.*held-out\.jsonl:1: "):
        prepare_run(dataclasses.replace(request_for, eval_datasets=(str(held_out),)), settings=settings)


def test_what_is_measured_at_the_end_is_read_before_and_its_cost_is_known(
    request_for: TrainRequest, settings: TrainSettings, write_rows: RowWriter
) -> None:
    held_out = write_rows([("How high?", "Nine.")] * 3, name="held-out.jsonl")
    asked = dataclasses.replace(request_for, eval_datasets=(str(held_out),), gate="f1>0.5, forgetting<1")
    whole = prepare_run(asked, settings=settings)
    assert whole.rows.evaluation is not None
    assert whole.rows.general is not None
    assert (len(whole.rows.evaluation), len(whole.rows.general)) == (3, 48)
    assert [str(condition) for condition in whole.gate] == ["f1>0.5", "forgetting<1"]
    silent = settings.model_copy(update={"eval_answers": 0, "general_dataset": []})
    less = prepare_run(dataclasses.replace(asked, gate=None), settings=silent)
    assert less.rows.general is None
    assert less.plan.measuring == ForwardWork(passes=3, tokens=len(whole.rows.evaluation.ids)).times(2)
    assert less.plan.measuring.passes + 2 * 48 < whole.plan.measuring.passes
    other = settings.model_copy(update={"general_dataset": [str(held_out)]})
    assert len(prepare_run(request_for, settings=other).rows.general or ()) == 3


@pytest.mark.parametrize(
    ("flags", "use_gpu", "dtype", "expected"),
    [
        ("fpu avx512_bf16 sse", False, "auto", "bfloat16"),
        ("fpu avx512f sse", False, "auto", "float32"),
        ("", True, "auto", "bfloat16"),
        ("fpu amx_bf16", False, "float32", "float32"),
    ],
)
def test_the_number_type_follows_the_hardware(
    tmp_path: Path, flags: str, use_gpu: bool, dtype: str, expected: str
) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags : {flags}\n")
    settings = TrainSettings(use_gpu=use_gpu, dtype=dtype)  # type: ignore[arg-type]
    assert training_dtype(settings, cpuinfo=tmp_path / "cpuinfo") == expected
