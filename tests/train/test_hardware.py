from __future__ import annotations

from typing import Any

import pytest

from indexer.errors import InputError
from train.hardware import check_hardware, installed
from train.settings import TrainSettings


@pytest.mark.parametrize(
    ("settings", "packages", "says"),
    [
        ({"attention": "flash_attention_2"}, {"flash_attn"}, "wants GPUs; set train.use_gpu, or sdpa instead"),
        ({"attention": "flash_attention_2", "use_gpu": True}, set(), "flash_attn is not installed; pip install"),
        ({"attention": "flash_attention_2", "use_gpu": True, "dtype": "float32"}, {"flash_attn"}, "knows no float32"),
        ({"quantization": "nf4"}, set(), "bitsandbytes is not installed; pip install bitsandbytes on"),
        ({"sharding": "fsdp2"}, set(), "train.sharding is fsdp2, which wants GPUs; set train.use_gpu, or none"),
        ({"sharding": "fsdp2", "use_gpu": True, "workers": 1}, set(), "there is 1 worker"),
    ],
)
def test_what_the_machines_cannot_do_is_refused(settings: dict[str, Any], packages: set[str], says: str) -> None:
    with pytest.raises(InputError, match=says):
        check_hardware(TrainSettings(**settings), installed=packages.__contains__)


@pytest.mark.parametrize(
    ("settings", "packages"),
    [
        ({}, set()),
        ({"quantization": "nf4"}, {"bitsandbytes"}),
        ({"attention": "flash_attention_2", "use_gpu": True}, {"flash_attn"}),
        ({"sharding": "fsdp2", "use_gpu": True, "workers": 2}, set()),
    ],
)
def test_what_they_can_do_is_taken(settings: dict[str, Any], packages: set[str]) -> None:
    check_hardware(TrainSettings(**settings), installed=packages.__contains__)


def test_a_package_is_looked_for_where_this_process_runs() -> None:
    assert installed("torch")
    assert not installed("torch_of_nowhere")
