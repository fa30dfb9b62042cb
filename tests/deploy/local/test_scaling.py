from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local.scaling import check_memory
from deploy.settings import Settings
from indexer.errors import UnavailableError
from serve.scale import Scale
from tests.models import build_tiny_llama


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_llama(tmp_path_factory.mktemp("base") / "tiny")


def settings(base: Path, **serve: object) -> Settings:
    sections = {"deploy": {"logical_cpus": 100_000}, "train": {"base_model": str(base)}, "serve": serve}
    return Settings.model_validate(sections)


def test_replicas_that_the_memory_does_not_hold_are_refused_with_what_they_need(base: Path) -> None:
    with pytest.raises(UnavailableError, match=r"^\d+ MiB of memory are free and the further replicas need about \d+"):
        check_memory(settings(base, replicas=9000), from_scale=Scale(replicas=1))


def test_those_that_are_there_need_nothing(base: Path) -> None:
    check_memory(settings(base, replicas=9000), from_scale=Scale(replicas=9000))
    check_memory(settings(base, replicas=1), from_scale=Scale(replicas=9000))
