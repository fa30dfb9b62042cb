"""A home of its own for a test, and `graftwork` as real commands for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from deploy.local import processes
from deploy.local.ports import pick_free
from deploy.local.ray_environment import python_path
from deploy.local.state import InstanceState, instance_id, read_state, temp_dir_of
from deploy.local.teardown import stop_instance
from tests.stack import engine_cache

COMMAND = (sys.executable, "-m", "deploy.cli.main")
# What runs under nohup, or in a script's background, ignores signals, and so would all that it starts.
HEARING = ("env", "--default-signal=HUP,INT,QUIT,TERM")
_COMMAND_LIMIT_S = 300.0
_START_LIMIT_S = 120.0
_POLL_S = 0.02


@dataclass(frozen=True)
class Home:
    """A home folder, its settings file, and the environment that commands for it get."""

    folder: Path
    config: Path
    environment: dict[str, str]
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def state(self) -> InstanceState | None:
        """The instance's state."""
        return read_state(self.folder / "run" / "state.json")

    @property
    def transient(self) -> InstanceState | None:
        """The state of what a command started for itself alone."""
        for path in (self.folder / "run" / "transient").glob("*.json"):
            return read_state(path)
        return None

    @property
    def processes(self) -> tuple[processes.ProcessFacts, ...]:
        """Every process of the instance."""
        instance = instance_id(self.folder)
        return processes.find(instance=instance, temp_dir=temp_dir_of(instance))

    def start(self, *arguments: str, variables: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """Start one command in a session of its own and in an unrelated folder."""
        process = subprocess.Popen(
            [*HEARING, *COMMAND, "--config", str(self.config), *arguments],
            cwd="/",
            env={**self.environment, **(variables or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def run(self, *arguments: str, variables: Mapping[str, str] | None = None) -> tuple[int, str, str]:
        """Run one command; its exit code, standard output and standard error."""
        process = self.start(*arguments, variables=variables)
        stdout, stderr = process.communicate(timeout=_COMMAND_LIMIT_S)
        return process.returncode, stdout, stderr

    def wait_for_role(self, role: str) -> None:
        """Return once the instance's state names a process of this role."""

        def named() -> bool:
            state = self.state
            return state is not None and role in {process.role for process in state.processes}

        wait_until(named, what=f"a process {role}")

    def assert_nothing_is_left(self) -> None:
        """No process, no state, no temporary folder."""
        assert self.processes == ()
        assert self.state is None
        assert not temp_dir_of(instance_id(self.folder)).exists()

    def clear(self) -> None:
        """End what a failed test left."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
                process.communicate()
        instances = {instance_id(self.folder), *(file.stem for file in self.folder.glob("run/transient/*.json"))}
        for instance in instances:
            stop_instance(instance=instance, temp_dir=temp_dir_of(instance), grace_s=1.0)


def wait_until(condition: Callable[[], bool], *, what: str, limit_s: float = _START_LIMIT_S) -> None:
    """Return once a condition holds; fail after `limit_s` seconds."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not appear within {limit_s:g} s"
        time.sleep(_POLL_S)


def press_ctrl_c(process: subprocess.Popen[str]) -> None:
    """Send SIGINT as a terminal does: to the command and all of its process group."""
    os.killpg(process.pid, signal.SIGINT)


def make_home(folder: Path, *, base_model: Path) -> Home:
    """A settings file for an instance on free ports with a small engine; nothing is started."""
    milvus, http = pick_free(2)
    home, config = folder / "home", folder / "graftwork.yaml"
    document = {
        "home": str(home),
        "indexer": {"milvus_uri": f"http://127.0.0.1:{milvus}"},
        "train": {"base_model": str(base_model)},
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
    environment = {**kept, **engine_cache(), "HOME": str(folder), "PYTHONPATH": python_path(""), "HF_HUB_OFFLINE": "1"}
    return Home(home, config, environment)
