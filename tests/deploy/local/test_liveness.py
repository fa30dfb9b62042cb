from __future__ import annotations

from dataclasses import replace

import pytest

from deploy.local.liveness import BrokenInstanceError, is_running, judge_failure, tokens_of_running
from deploy.local.state import InstanceState
from indexer.errors import UnavailableError
from tests.small_app import SmallApp

MODELS = ("base", "agronomy")


def test_an_instance_whose_servers_and_app_answer_is_running(up_state: InstanceState, app: SmallApp) -> None:
    assert is_running(up_state)
    assert app.asked == []


def test_a_dead_server_another_phase_and_a_silent_app_are_not_running(up_state: InstanceState, app: SmallApp) -> None:
    assert not is_running(replace(up_state, phase="stopping"))
    assert not is_running(replace(up_state, processes=(replace(up_state.processes[0], start_ticks=1),)))
    assert not is_running(replace(up_state, token_path="/absent"))
    app.serve_status = "DEPLOYING"
    assert not is_running(up_state)
    app.serve_status, app.ready_status = "RUNNING", 503
    assert not is_running(up_state)


@pytest.mark.parametrize("code", ["not_ready", "draining"])
def test_an_app_whose_replica_should_get_no_requests_is_running(
    up_state: InstanceState, app: SmallApp, code: str
) -> None:
    app.ready_status, app.ready_code = 503, code
    assert is_running(up_state)


def test_every_model_gives_a_token(app: SmallApp) -> None:
    assert [token.model for token in tokens_of_running(app.url, models=MODELS)] == list(MODELS)
    assert app.asked == list(MODELS)


def test_a_dead_engine_is_broken(app: SmallApp) -> None:
    app.chat_status = 500
    with pytest.raises(BrokenInstanceError, match=r"No token came from 'base': HTTP 500: EngineCore encountered"):
        tokens_of_running(app.url, models=MODELS)
    assert app.asked == ["base"]


def test_an_app_that_is_gone_is_broken() -> None:
    with pytest.raises(BrokenInstanceError, match="refused"):
        tokens_of_running("http://127.0.0.1:1", models=MODELS, retry_s=0.0)


def test_a_busy_engine_is_left_alone_and_a_hung_one_is_not(app: SmallApp) -> None:
    app.chat_delay_s = 1.0
    with pytest.raises(UnavailableError, match="is up but busy: No token came from 'base'") as raised:
        tokens_of_running(app.url, models=MODELS, timeout_s=0.2)
    assert not isinstance(raised.value, BrokenInstanceError)
    app.ready_status = 503
    with pytest.raises(BrokenInstanceError, match="ReadTimeout"):
        tokens_of_running(app.url, models=MODELS, timeout_s=0.2)


def test_a_model_that_is_refused_is_named_and_the_rest_left_alone(app: SmallApp) -> None:
    app.chat_status = 404
    with pytest.raises(UnavailableError, match="refuses a model: No token came from 'base': HTTP 404") as raised:
        tokens_of_running(app.url, models=MODELS, retry_s=0.0)
    assert not isinstance(raised.value, BrokenInstanceError)


@pytest.mark.parametrize(
    ("status", "late", "engine_lives", "cause"),
    [
        (500, False, False, "broken"),
        (503, False, True, "broken"),
        (200, False, False, "broken"),
        (None, False, False, "broken"),
        (None, True, False, "broken"),
        (None, True, True, "busy"),
        (429, False, False, "busy"),
        (404, False, False, "refused"),
    ],
)
def test_causes(status: int | None, late: bool, engine_lives: bool, cause: str) -> None:
    assert judge_failure(status=status, late=late, engine_lives=engine_lives) == cause
