"""Starts one Ray head node on the loopback address, with ports, folder and token of its own.

`ray stop` is never used: it ends every Ray of the machine. See `processes` for how a node is stopped.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local.processes import ProcessFacts
from deploy.local.state import ServerProcess
from indexer.errors import UnavailableError, writing

HOST = "127.0.0.1"
START_TIMEOUT_S = 120.0
# Role -> what its command line contains.
_ROLES = {"gcs": "gcs/gcs_server", "raylet": "raylet/raylet", "dashboard": "dashboard/dashboard.py"}


@dataclass(frozen=True, slots=True)
class RayNodeOptions:
    """What `ray start` is asked for; sizes in bytes, `gpus` None lets Ray count, `metrics_port` None lets it choose."""

    port: int
    client_port: int
    dashboard_port: int
    agent_port: int
    temp_dir: Path
    cpus: int
    gpus: int | None
    object_store_bytes: int
    metrics_port: int | None = None


def start_command(options: RayNodeOptions) -> list[str]:
    """The `ray start` command line."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head"]
    command += ["--node-ip-address", HOST, "--port", str(options.port)]
    command += [
        "--include-dashboard",
        "true",
        "--dashboard-host",
        HOST,
        "--dashboard-port",
        str(options.dashboard_port),
    ]
    command += ["--dashboard-agent-listen-port", str(options.agent_port)]
    command += ["--ray-client-server-port", str(options.client_port)]
    command += ["--temp-dir", str(options.temp_dir), "--num-cpus", str(options.cpus)]
    command += ["--object-store-memory", str(options.object_store_bytes)]
    command += ["--disable-usage-stats", "--log-style", "record", "--log-color", "false"]
    if options.metrics_port is not None:
        # On the loopback address like the node itself: dashboard/modules/reporter/reporter_agent.py.
        command += ["--metrics-export-port", str(options.metrics_port)]
    if options.gpus is not None:
        command += ["--num-gpus", str(options.gpus)]
    return command


def start_ray(options: RayNodeOptions, *, environment: Mapping[str, str]) -> None:
    """Runs `ray start`; its servers go on after it ends.

    Raises:
        UnavailableError: It failed or took longer than two minutes; the message carries its last words.
    """
    with writing("Ray's temporary folder", options.temp_dir, otherwise="clear /tmp up"):
        options.temp_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        done = subprocess.run(
            start_command(options),
            env=dict(environment),
            cwd=options.temp_dir,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=START_TIMEOUT_S,
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(
            f"`ray start` did not finish within {START_TIMEOUT_S:g} s; see {options.temp_dir}/session_latest/logs."
        ) from error
    if done.returncode != 0:
        words = [line.strip() for line in done.stdout.splitlines() if line.strip()]
        raise UnavailableError(f"`ray start` failed: {' | '.join(words[-3:]) or f'exit code {done.returncode}'}")


def principal_processes(processes: Iterable[ProcessFacts]) -> tuple[ServerProcess, ...]:
    """The servers without which a Ray node is dead."""
    return tuple(
        ServerProcess(role, facts.key.pid, facts.key.start_ticks)
        for role, part in _ROLES.items()
        for facts in processes
        if part in facts.command
    )
