"""Names for an instance's processes, from their command lines."""

from __future__ import annotations

import re

# Part of the command line -> role; the first that fits.
_PARTS = (
    ("milvus_main", "milvus"),
    ("gcs/gcs_server", "ray gcs"),
    ("raylet/raylet", "raylet"),
    ("dashboard/dashboard.py", "ray dashboard"),
    ("dashboard/agent.py", "ray agent"),
    ("runtime_env/agent", "ray runtime-env agent"),
    ("monitor.py", "ray monitor"),
    ("log_monitor", "ray log monitor"),
    ("ray.util.client.server", "ray client server"),
    ("multiprocessing.resource_tracker", "resource tracker"),
    ("multiprocessing.forkserver", "fork server"),
    ("haproxy", "haproxy"),
)
_REPLICA = re.compile(r"^ray::ServeReplica:(?P<app>[^:]*):(?P<deployment>[^.\s]*)")


def role_of(command: str) -> str:
    """A short name: `replica Retriever`, `engine core`, `raylet`; what is unknown is named by its program."""
    replica = _REPLICA.match(command)
    if replica:
        return f"replica {replica['deployment']}"
    if command.startswith("VLLM::"):
        return command.removeprefix("VLLM::").replace("EngineCore", "engine core").replace("Worker", "engine worker")
    if command.startswith("ray::"):
        return f"ray {command.removeprefix('ray::').split('.')[0].strip()}"
    for part, role in _PARTS:
        if part in command and not (part == "monitor.py" and "log_monitor" in command):
            return role
    return command.partition(" ")[0].rpartition("/")[2] or "unknown"
