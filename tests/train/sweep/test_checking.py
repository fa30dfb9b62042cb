from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from indexer.errors import InputError, NotFoundError, UnavailableError
from train.settings import TrainSettings
from train.sweep.checking import check_concurrent, measured_on, prepare_trials
from train.sweep.spec import parse_spec
from train.sweep.trials import Trial, make_trials
from train.types import TrainRequest

RowWriter = Callable[..., Path]
PAIRS = [("How deep?", "Two."), ("How wide?", "Four.")] * 8


@pytest.fixture
def settings(tiny_base_folder: Path, tmp_path: Path) -> TrainSettings:
    return TrainSettings(
        base_model=str(tiny_base_folder), storage_path=tmp_path / "runs", max_length=256, general_dataset=[]
    )


@pytest.fixture
def asked(write_rows: RowWriter) -> TrainRequest:
    held_out = write_rows([("How long?", "Six.")], name="held-out.jsonl")
    return TrainRequest(datasets=(str(write_rows(PAIRS)),), name="agro", eval_datasets=(str(held_out),))


def trials(settings: TrainSettings, **fields: list[object]) -> tuple[Trial, ...]:
    named = {name.replace("__", "."): values for name, values in fields.items()}
    return make_trials(parse_spec({"fields": named}), name="s", base=settings)


def test_trials_share_rows_unless_these_depend_on_what_varies(asked: TrainRequest, settings: TrainSettings) -> None:
    made = trials(settings, rank=[4, 8], epochs=[1, 2], max_length=[64, 128])
    found = prepare_trials(asked, made, sweep="s", metric="eval_loss")
    assert [*found] == [trial.run for trial in made]
    rows = {id(prepared.rows): prepared.plan.settings.max_length for _, prepared in found.values()}
    assert sorted(rows.values()) == [64, 128]
    assert {prepared.plan.order.steps for _, prepared in found.values()} == {2, 4}
    for trial in made:
        request, prepared = found[trial.run]
        assert (request.run_name, request.sweep) == (trial.run, "s")
        assert prepared.plan.settings == trial.settings
    assert not settings.storage_path.exists()


@pytest.mark.parametrize(
    ("fields", "metric", "says"),
    [
        ({"lora__r": [1]}, "eval_loss", "trial lora.r=1 cannot start: train.lora.r is set by train.rank"),
        ({"target_modules": ["all-linear", ["nope"]]}, "eval_loss", 'target_modules=["nope"] cannot start: '),
        ({"trainer__optin": ["adamw"]}, "eval_loss", "train.trainer.optin is no field of TRL's SFTConfig; optim is"),
        ({"rank": [4]}, "general_loss", "rank=4 cannot start: the metric 'general_loss' is not measured; it may be "),
        ({"rank": [4]}, "base_eval_loss", "eval_gain, eval_loss, f1, f1_gain, final_loss ("),
        ({"eval_answers": [4, 0]}, "f1", "eval_answers=0 cannot start: the metric 'f1' is not measured"),
    ],
)
def test_a_trial_that_cannot_run_is_named(
    asked: TrainRequest, settings: TrainSettings, fields: dict[str, list[object]], metric: str, says: str
) -> None:
    with pytest.raises(InputError) as caught:
        prepare_trials(asked, trials(settings, **fields), sweep="s", metric=metric)
    assert says in str(caught.value)


def test_the_loss_of_an_evaluation_wants_a_dataset(asked: TrainRequest, settings: TrainSettings) -> None:
    alone = TrainRequest(datasets=asked.datasets, name="agro")
    with pytest.raises(InputError, match="'eval_loss' is not measured; it may be final_loss "):
        prepare_trials(alone, trials(settings, rank=[4]), sweep="s", metric="eval_loss")
    assert prepare_trials(alone, trials(settings, rank=[4]), sweep="s", metric="final_loss").keys() == {"s-001"}


def test_a_missing_dataset_is_still_not_found(settings: TrainSettings) -> None:
    with pytest.raises(NotFoundError, match="trial rank=4 cannot start: There is no dataset"):
        prepare_trials(
            TrainRequest(datasets=("/nowhere.jsonl",), name="agro"),
            trials(settings, rank=[4]),
            sweep="s",
            metric="final_loss",
        )


def test_other_evaluation_rows_or_answers_are_noticed(
    asked: TrainRequest, settings: TrainSettings, write_rows: RowWriter
) -> None:
    def digest(settings: TrainSettings) -> str:
        [(_, prepared)] = prepare_trials(asked, trials(settings, rank=[4]), sweep="s", metric="eval_loss").values()
        return measured_on(prepared)

    before = digest(settings)
    assert digest(settings.model_copy(update={"learning_rate": 1.0})) == before
    assert digest(settings.model_copy(update={"eval_answers": 3})) != before
    assert digest(settings.model_copy(update={"general_dataset": None})) != before
    write_rows([("How long?", "Seven.")], name="held-out.jsonl")
    assert digest(settings) != before


@pytest.mark.parametrize(
    ("concurrent", "cluster", "says"),
    [
        (1, {"CPU": 2}, None),
        (2, {"CPU": 3}, None),
        (9, {"CPU": 4}, None),
        (2, {"CPU": 2}, "2 trials at a time need up to 3 CPUs, the Ray cluster has 2; lower concurrent"),
        (9, {"CPU": 3.5}, "3 trials at a time need up to 4 CPUs, the Ray cluster has 3.5"),
    ],
)
def test_more_trials_at_a_time_than_the_cluster_holds_are_refused(
    settings: TrainSettings, concurrent: int, cluster: dict[str, float], says: str | None
) -> None:
    made = (*trials(settings, workers=[1, 2]), *trials(settings, workers=[1]))
    if says is None:
        check_concurrent(made, concurrent=concurrent, cluster=cluster)
        return
    with pytest.raises(UnavailableError) as caught:
        check_concurrent(made, concurrent=concurrent, cluster=cluster)
    assert says in str(caught.value)


def test_gpus_count_too(settings: TrainSettings) -> None:
    made = trials(settings.model_copy(update={"use_gpu": True, "workers": 1}), rank=[4, 8])
    check_concurrent(made, concurrent=2, cluster={"CPU": 2, "GPU": 2})
    with pytest.raises(UnavailableError, match="need up to 2 GPUs, the Ray cluster has 1;"):
        check_concurrent(made, concurrent=2, cluster={"CPU": 2, "GPU": 1})
