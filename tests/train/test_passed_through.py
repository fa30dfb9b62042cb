from __future__ import annotations

import dataclasses

import pytest
from peft import LoraConfig
from pydantic import JsonValue

from indexer.errors import InputError
from train.passed_through import (
    LORA_FIELDS,
    TRAINER_OWNERS,
    check_lora_fields,
    check_trainer_fields,
    trainer_fields,
)


def test_every_name_is_one_of_the_installed_packages() -> None:
    assert {field.name for field in dataclasses.fields(LoraConfig)} >= LORA_FIELDS
    assert trainer_fields() >= TRAINER_OWNERS.keys()


def test_what_leaves_an_adapter_servable_is_passed_on() -> None:
    check_lora_fields({"init_lora_weights": "orthogonal", "layers_to_transform": [0], "exclude_modules": ["lm_head"]})
    check_lora_fields({"init_lora_weights": "pissa_niter_16"})
    check_trainer_fields(["report_to", "optim", "neftune_noise_alpha"], known=trainer_fields())


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("r", 8, "set by train.rank"),
        ("use_dora", True, "vLLM 0.29 serves no DoRA"),
        ("modules_to_save", ["lm_head"], "none of the fields"),
        ("init_lora_weights", "eva", "wants data of its own"),
        ("init_lora_weights", "pissa_niter_", "init_lora_weights is 'pissa_niter_'"),
        ("init_lora_weights", "pissa_fast", "use one of True, False"),
        ("init_lora_weights", 1, "init_lora_weights is 1"),
    ],
)
def test_what_the_server_could_not_load_is_refused(field: str, value: JsonValue, says: str) -> None:
    with pytest.raises(InputError, match=says):
        check_lora_fields({field: value})


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("learning_rate", "decided by train.learning_rate"),
        ("packing", "decided by train.packing"),
        ("assistant_only_loss", "decided by the rows"),
        ("neftune_noise_alfa", "no field of TRL's SFTConfig; neftune_noise_alpha is one"),
    ],
)
def test_what_is_ours_or_unknown_is_refused(name: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        check_trainer_fields([name], known=trainer_fields())
