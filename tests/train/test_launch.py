from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
import ray

from train.launch import _fit
from train.progress import ProgressFeed
from train.settings import TrainSettings
from train.types import TrainProgress

if TYPE_CHECKING:
    from ray.train import Result
    from ray.train.torch import TorchTrainer

STEP = TrainProgress(step=1, total_steps=2, loss=1.0, tokens_per_s=1.0, elapsed_s=1.0)


class Trainer:
    """Stands in for TorchTrainer: a run of a second."""

    def __init__(self, result: object) -> None:
        self.result = result

    def fit(self) -> object:
        time.sleep(1)
        return self.result


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch) -> tuple[ProgressFeed, list[TrainProgress]]:
    """A feed whose board answers once, then is late, then lost."""
    actor = SimpleNamespace(take=SimpleNamespace(remote=object), tell=SimpleNamespace(remote=lambda _: None))
    answers = iter([[STEP], ray.exceptions.GetTimeoutError("late"), ray.exceptions.ActorDiedError()])

    def get(_: object, *, timeout: float) -> object:
        assert timeout > 0
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    started = SimpleNamespace(remote=lambda: actor)
    here = SimpleNamespace(get_node_id=lambda: f"{1:056x}")
    fake = SimpleNamespace(
        get=get,
        remote=lambda **_: lambda _: started,
        exceptions=ray.exceptions,
        get_runtime_context=lambda: here,
    )
    monkeypatch.setattr("indexer.board.ray", fake)
    heard: list[TrainProgress] = []
    return ProgressFeed(heard.append), heard


def test_a_lost_board_does_not_end_the_run(
    feed: tuple[ProgressFeed, list[TrainProgress]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.launch._POLL_SECONDS", 0.1)
    wanted = cast("Result", object())
    trainer = cast("TorchTrainer", Trainer(wanted))
    assert _fit(trainer, feed[0], run_name="r", settings=TrainSettings()) is wanted
    assert feed[1] == [STEP]


def test_without_a_listener_nothing_is_started() -> None:
    silent = ProgressFeed(None)
    silent.sender(STEP)
    silent.deliver()
    silent.close()
