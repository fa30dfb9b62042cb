"""`up` and `down` as real commands, interrupted and killed at various points."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from deploy.local import processes
from deploy.local.ports import pick_free
from deploy.local.ray_environment import python_path
from deploy.local.state import InstanceState, instance_id, read_state, temp_dir_of
from deploy.local.teardown import stop_instance

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "deploy.cli.main"]
TRANSIENT = """
import sys, time
from pathlib import Path
from deploy.local.runtime import runtime
from deploy.settings import load_settings
with runtime(load_settings(config=Path(sys.argv[1])).settings) as found:
    print(found.indexer.milvus_uri, flush=True)
    time.sleep(120)
"""


@dataclass(frozen=True)
class Home:
    """A home for one test, and how to run commands for it."""

    folder: Path
    config: Path
    environment: dict[str, str]

    @property
    def state(self) -> InstanceState | None:
        return read_state(self.folder / "run" / "state.json")

    @property
    def processes(self) -> tuple[processes.ProcessFacts, ...]:
        instance = instance_id(self.folder)
        return processes.find(instance=instance, temp_dir=temp_dir_of(instance))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*COMMAND, "--config", str(self.config), *arguments],
            cwd="/",
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        process = self.start(*arguments)
        stdout, stderr = process.communicate(timeout=300)
        return process.returncode, stdout, stderr

    def wait_for_role(self, role: str) -> None:
        deadline = time.monotonic() + 120
        while (state := self.state) is None or role not in {process.role for process in state.processes}:
            assert time.monotonic() < deadline, f"{role} did not start"
            time.sleep(0.05)

    def assert_nothing_is_left(self) -> None:
        assert self.processes == ()
        assert self.state is None
        assert not temp_dir_of(instance_id(self.folder)).exists()


@pytest.fixture
def home(tmp_path: Path, tiny_base: Path) -> Iterator[Home]:
    milvus, http = pick_free(2)
    folder = tmp_path / "home"
    config = tmp_path / "graftwork.yaml"
    document = {
        "home": str(folder),
        "indexer": {"milvus_uri": f"http://127.0.0.1:{milvus}"},
        "train": {"base_model": str(tiny_base)},
        "serve": {
            "port": http,
            "engine": {"max_model_len": 512, "enforce_eager": True, "dtype": "float32", "max_num_seqs": 4},
            "engine_environment": {"VLLM_CPU_KVCACHE_SPACE": "1"},
            "max_adapters": 1,
        },
        "deploy": {"ports": {"dashboard": 0}, "object_store_mib": 100},
    }
    config.write_text(yaml.safe_dump(document))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GRAFTWORK_", "RAY_"))}
    environment = {**kept, "HOME": str(tmp_path), "PYTHONPATH": python_path(""), "HF_HUB_OFFLINE": "1"}
    yield Home(folder, config, environment)
    instance = instance_id(folder)
    stop_instance(instance=instance, temp_dir=temp_dir_of(instance), grace_s=1.0)


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


def test_up_works_after_kill_9_of_anything(home: Home) -> None:
    code, _, stderr = home.run("up")
    assert code == 0, stderr
    code, stdout, _ = home.run("up", "--json")
    assert (code, json.loads(stdout)["started"]) == (0, False)
    before = home.state
    assert before is not None
    for facts in home.processes:
        if "VLLM::EngineCore" in facts.command or facts.key.pid in {process.pid for process in before.processes[:2]}:
            os.kill(facts.key.pid, signal.SIGKILL)
    code, stdout, _ = home.run("status", "--json")
    assert json.loads(stdout)["health"] == "leftovers"
    code, stdout, stderr = home.run("up", "--json")
    assert code == 0, stderr
    assert json.loads(stdout)["started"] is True
    after = home.state
    assert after is not None
    assert not {process.key for process in before.processes} & {process.key for process in after.processes}
    code, stdout, stderr = home.run("down", "--json")
    assert (code, json.loads(stdout)["graceful"]) == (0, True), stderr
    home.assert_nothing_is_left()


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
