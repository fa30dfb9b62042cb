from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import JsonValue

from indexer.errors import InputError
from train.settings import TrainSettings
from train.sweep.spec import parse_spec
from train.sweep.trials import Trial, make_trials

BASE = TrainSettings(lora={"layers_to_transform": [0]}, storage_path=Path("/runs"))


def trials(fields: dict[str, object], **rest: object) -> tuple[Trial, ...]:
    return make_trials(parse_spec({"fields": fields, **rest}), name="s", base=BASE)


def values(found: tuple[Trial, ...], field: str) -> list[JsonValue]:
    return [trial.values[field] for trial in found]


def test_every_combination_of_choices_is_a_trial_with_a_numbered_run() -> None:
    found = trials({"rank": [8, 4], "target_modules": ["all-linear", ["q_proj"]]})
    assert [trial.run for trial in found] == ["s-001", "s-002", "s-003", "s-004"]
    assert [(trial.settings.rank, trial.settings.target_modules) for trial in found] == [
        (8, "all-linear"),
        (4, "all-linear"),
        (8, ["q_proj"]),
        (4, ["q_proj"]),
    ]
    assert [dict(trial.values) for trial in found[:1]] == [{"rank": 8, "target_modules": "all-linear"}]
    assert {trial.settings.storage_path for trial in found} == {Path("/runs")}
    assert found[2].label == 'rank=8, target_modules=["q_proj"]'


def test_draws_are_inside_of_their_range_new_for_each_combination_and_the_same_for_a_seed() -> None:
    fields = {
        "rank": [4, 8],
        "learning_rate": {"log": [1e-5, 1e-1]},
        "dropout": {"uniform": [0.25, 0.5]},
        "gradient_accumulation": {"int": [1, 3]},
    }
    found = trials(fields, samples=100, seed=1)
    assert len(found) == 200
    rates = [trial.settings.learning_rate for trial in found]
    assert all(1e-5 <= rate <= 1e-1 for rate in rates)
    assert 60 < sum(rate < 1e-3 for rate in rates) < 140
    assert all(rate == float(f"{rate:.3g}") for rate in rates)
    assert all(0.25 <= trial.settings.dropout <= 0.5 for trial in found)
    assert {trial.settings.gradient_accumulation for trial in found} == {1, 2, 3}
    assert [trial.settings.rank for trial in found] == [4, 8] * 100
    assert found == trials(fields, samples=100, seed=1)
    assert values(found, "learning_rate") != values(trials(fields, samples=100, seed=2), "learning_rate")


def test_a_draw_is_not_rounded_out_of_its_range() -> None:
    for rate in values(trials({"learning_rate": {"uniform": [0.10004, 0.10014]}}, samples=5), "learning_rate"):
        assert isinstance(rate, float)
        assert 0.10004 <= rate <= 0.10014


def test_equal_trials_are_there_once() -> None:
    assert values(trials({"rank": [4, "4", 8]}), "rank") == [4, 8]
    assert sorted(str(each) for each in values(trials({"epochs": {"int": [1, 2]}}, samples=20), "epochs")) == [
        "1.0",
        "2.0",
    ]


def test_single_fields_of_lora_and_trainer_vary_beside_those_that_are_set() -> None:
    found = trials({"lora.init_lora_weights": [True, "gaussian"], "trainer.optim": [{"x": 1}]})
    assert [trial.settings.lora for trial in found] == [
        {"layers_to_transform": [0], "init_lora_weights": True},
        {"layers_to_transform": [0], "init_lora_weights": "gaussian"},
    ]
    assert found[1].settings.trainer == {"optim": {"x": 1}}
    assert found[1].label == 'lora.init_lora_weights=gaussian, trainer.optim={"x": 1}'
    assert BASE.lora == {"layers_to_transform": [0]}


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"rnak": [4]}, "field rnak is no training setting; did you mean rank?"),
        ({"zzz": [4]}, "field zzz is no training setting; `graftwork settings` names them"),
        ({"registry": ["/a"]}, "field registry is one place for all of its trials"),
        ({"rank.x": [4]}, "field rank.x is none; only lora and trainer"),
        ({"lora.": [4]}, "field lora. is none"),
        ({"lora": [{}], "lora.init_lora_weights": [True]}, "varies lora as a whole and its field init_lora_weights"),
        ({"rank": [4, "many"]}, "The sweep's rank=many cannot be used: Input should be a valid integer"),
        ({"dropout": [1.5]}, "The sweep's dropout=1.5 cannot be used: Input should be less than 1"),
        (
            {"alpha": [1], "rank": [4, 65]},
            "sweep's alpha=1, rank=65 cannot be used: Value error, rank 65 is above max_",
        ),
        ({"rank": [*range(1, 41)], "alpha": [*range(1, 41)]}, "more than 999 trials"),
    ],
)
def test_what_cannot_vary_is_named_with_its_value(fields: dict[str, object], says: str) -> None:
    with pytest.raises(InputError) as caught:
        trials(fields)
    assert says in str(caught.value)
