"""`up` and `down` as real commands, interrupted and killed at various points."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from deploy.local import processes
from deploy.local.instance import Progress, settings_digest, up
from deploy.local.roles import role_of
from deploy.local.state import InstanceState, read_state, write_state
from deploy.settings import LoadedSettings, load_settings
from indexer.errors import ConflictError, UnavailableError
from tests.home import Home, press_ctrl_c, wait_until
from tests.small_app import SmallApp

TRANSIENT = """
import sys, time
from pathlib import Path
from deploy.local.runtime import runtime
from deploy.settings import load_settings
with runtime(load_settings(config=Path(sys.argv[1])).settings) as found:
    print(found.indexer.milvus_uri, flush=True)
    time.sleep(120)
"""


@pytest.fixture
def up_already(bare_home: Home, up_state: InstanceState) -> LoadedSettings:
    """Settings whose instance is up as far as state, processes, dashboard and list of models say.

    Their base model does not exist: a new start fails at the first check, so none of these tests starts a thing.
    """
    loaded = load_settings(config=bare_home.config)
    state = replace(up_state, settings_digest=settings_digest(loaded.settings))
    write_state(bare_home.folder / "run" / "state.json", state)
    return loaded


def test_up_while_up_returns_a_token_of_every_model(up_already: LoadedSettings, app: SmallApp) -> None:
    result = up(up_already, progress=lambda _: None)
    base = up_already.settings.serve.base_name
    assert (result.started, [token.model for token in result.tokens], app.asked) == (False, [base], [base])


def test_up_starts_anew_where_only_the_engine_is_dead(
    bare_home: Home, up_already: LoadedSettings, app: SmallApp
) -> None:
    app.chat_status = 500
    told: list[Progress] = []
    with pytest.raises(UnavailableError, match="absent"):
        up(up_already, progress=told.append)
    assert bare_home.state is None
    assert [progress.step for progress in told] == ["tokens", "leftovers", "checks", "checks"]
    assert "starting anew: No token came from" in told[1].detail


def test_up_leaves_an_engine_alone_that_lives_and_gives_no_token(
    bare_home: Home, up_already: LoadedSettings, app: SmallApp
) -> None:
    app.chat_status = 429
    with pytest.raises(UnavailableError, match="is up but busy"):
        up(up_already, progress=lambda _: None)
    assert bare_home.state is not None


def test_up_with_other_settings_is_a_conflict(bare_home: Home, up_already: LoadedSettings, app: SmallApp) -> None:
    serve = up_already.settings.serve.model_copy(update={"max_adapters": 3})
    other = up_already.settings.model_copy(update={"serve": serve})
    with pytest.raises(ConflictError, match=f"is up at {app.url} with other settings; run `graftwork down` first"):
        up(replace(up_already, settings=other), progress=lambda _: None)
    assert app.asked == []
    assert bare_home.state is not None


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    ("role", "number", "code"),
    [("milvus", signal.SIGINT, 130), ("raylet", signal.SIGINT, 130), ("raylet", signal.SIGTERM, 143)],
)
def test_a_signal_while_starting_leaves_nothing(home: Home, role: str, number: signal.Signals, code: int) -> None:
    process = home.start("up")
    home.wait_for_role(role)
    assert home.processes
    process.send_signal(number)
    time.sleep(0.3)
    if process.poll() is None:
        process.send_signal(signal.SIGINT)  # A second Ctrl-C must not cut the clean-up short.
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr
    assert "Traceback" not in stderr
    home.assert_nothing_is_left()


@pytest.mark.slow
def test_a_second_command_waits_its_turn_and_down_clears_up_after_kill_9(home: Home) -> None:
    process = home.start("up")
    home.wait_for_role("raylet")
    code, _, stderr = home.run("down")
    assert code == 5
    assert "Another graftwork command" in stderr
    process.kill()
    process.communicate()
    assert home.processes
    code, stdout, stderr = home.run("down", "--json")
    assert code == 0, stderr
    assert json.loads(stdout)["stopped_processes"] > 5
    home.assert_nothing_is_left()
    assert home.run("down")[0] == 0


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)  # Three starts of an engine.
def test_up_works_after_kill_9_of_anything_and_ctrl_c_during_down_leaves_nothing(home: Home) -> None:
    code, _, stderr = home.run("up")
    assert code == 0, stderr
    code, stdout, _ = home.run("up", "--json")
    assert (code, json.loads(stdout)["started"]) == (0, False)
    assert json.loads(stdout)["first_tokens_ms"]
    first = home.state
    assert first is not None
    code, _, stderr = home.run("up", variables={"GRAFTWORK_SERVE__MAX_CONCURRENT_REQUESTS": "7"})
    assert code == ConflictError.exit_code
    assert "with other settings; run `graftwork down` first" in stderr
    assert home.state == first

    kill_role(home, "engine core")
    second = assert_starts_anew(home, before=first)

    principals = {process.pid for process in second.processes[:2]}
    for facts in home.processes:
        if role_of(facts.command) == "engine worker" or facts.key.pid in principals:
            os.kill(facts.key.pid, signal.SIGKILL)
    code, stdout, _ = home.run("status", "--json")
    assert json.loads(stdout)["health"] == "leftovers"
    assert_starts_anew(home, before=second)

    command = home.start("down")
    wait_until(lambda: (state := home.state) is not None and state.phase == "stopping", what="the draining")
    time.sleep(0.2)
    press_ctrl_c(command)
    time.sleep(0.3)
    if command.poll() is None:
        press_ctrl_c(command)  # A second one must not cut the clean-up short.
    _, stderr = command.communicate(timeout=60)
    assert command.returncode == 130, stderr
    assert "Traceback" not in stderr
    home.assert_nothing_is_left()


def kill_role(home: Home, role: str) -> None:
    """Kill -9 every process of one role, and nothing else."""
    pids = [facts.key.pid for facts in home.processes if role_of(facts.command) == role]
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def assert_starts_anew(home: Home, *, before: InstanceState) -> InstanceState:
    """`up` succeeds with new servers, and a token comes from the base."""
    code, stdout, stderr = home.run("up", "--json")
    assert code == 0, stderr
    result = json.loads(stdout)
    assert result["started"] is True
    assert result["first_tokens_ms"]
    after = home.state
    assert after is not None
    assert not {process.key for process in before.processes} & {process.key for process in after.processes}
    return after


@pytest.mark.slow
@pytest.mark.long
def test_a_start_that_fails_says_why_and_leaves_nothing(home: Home) -> None:
    document = yaml.safe_load(home.config.read_text())
    document["serve"]["engine"]["max_model_len"] = 10**7
    home.config.write_text(yaml.safe_dump(document))
    code, _, stderr = home.run("up")
    assert code == 1
    assert "could not be deployed" in stderr
    assert "10000000" in stderr
    assert stderr.splitlines()[-1].startswith("graftwork: ")
    home.assert_nothing_is_left()
    assert "SpecialistServer" in home.run("logs")[1]


@pytest.mark.slow
@pytest.mark.long
def test_leftovers_of_a_killed_command_are_swept_by_the_next(home: Home) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", TRANSIENT, str(home.config)],
        env=home.environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("http://127.0.0.1:")
    [path] = (home.folder / "run" / "transient").glob("*.json")
    state = read_state(path)
    assert state is not None
    process.kill()
    process.wait()
    assert processes.find(instance=state.instance, temp_dir=Path(state.temp_dir))
    code, stdout, _ = home.run("down", "--json")
    assert code == 0
    assert json.loads(stdout)["stopped_processes"] > 0
    assert processes.find(instance=state.instance, temp_dir=Path(state.temp_dir)) == ()
    assert not Path(state.temp_dir).exists()
    assert not path.exists()
    assert not (Path(home.environment["HOME"]) / ".ray").exists()
