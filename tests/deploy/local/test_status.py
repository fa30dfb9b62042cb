from __future__ import annotations

import os
from dataclasses import replace

import pytest

from deploy.local import processes
from deploy.local.serve_client import AppStatus, DeploymentStatus
from deploy.local.state import InstanceState, ServerProcess
from deploy.local.status import judge_health

RUNNING = AppStatus("RUNNING", "", (DeploymentStatus("Engine", "HEALTHY", "", 1, 1, (5,)),))


@pytest.fixture
def state() -> InstanceState:
    ticks = processes.start_ticks(os.getpid())
    assert ticks is not None
    return InstanceState(
        instance="i",
        phase="up",
        started_at="",
        home="",
        config=None,
        settings_digest="",
        temp_dir="",
        token_path="",
        urls={"api": "http://a"},
        processes=(ServerProcess("raylet", os.getpid(), ticks),),
    )


def test_healthy(state: InstanceState) -> None:
    assert judge_health(state, running=9, app=RUNNING, answers=True) == ("up", None)


def test_nothing_and_leftovers_without_a_state() -> None:
    assert judge_health(None, running=0, app=None, answers=False) == ("down", None)
    health, problem = judge_health(None, running=3, app=None, answers=False)
    assert health == "leftovers"
    assert "3 processes" in str(problem)


def test_a_dead_server_makes_leftovers(state: InstanceState) -> None:
    dead = replace(state, processes=(replace(state.processes[0], start_ticks=1),))
    health, problem = judge_health(dead, running=3, app=RUNNING, answers=True)
    assert health == "leftovers"
    assert "dead: raylet" in str(problem)


def test_phases_are_told(state: InstanceState) -> None:
    assert judge_health(replace(state, phase="starting"), running=3, app=None, answers=False)[0] == "starting"


@pytest.mark.parametrize(
    ("app", "answers", "words"),
    [
        (None, False, "dashboard does not answer"),
        (replace(RUNNING, status="DEPLOYING"), True, "Serve says DEPLOYING: Engine 1/1"),
        (RUNNING, False, "http://a does not answer"),
    ],
)
def test_degraded(state: InstanceState, app: AppStatus | None, answers: bool, words: str) -> None:
    health, problem = judge_health(state, running=9, app=app, answers=answers)
    assert health == "degraded"
    assert words in str(problem)
