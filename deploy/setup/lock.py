"""Writes a lock: the exact version of every package that this project's requirements reach, transitively.

    .venv/bin/python deploy/setup/lock.py cpu                       from what is installed in .venv
    .venv/bin/python deploy/setup/lock.py gpu --report REPORT.json  from a report that pip wrote:

    pip install --dry-run --ignore-installed --report REPORT.json -e '.[gpu,embedded,dev]'

Only what the requirements reach is written, so a package tried out in .venv does not slip into the lock.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
# Removed after the install, or no part of it.
LEFT_OUT = {"cpu": {"graftwork", "torchvision", "torchaudio", "torchcodec"}, "gpu": {"graftwork"}}
HEADER = """\
# Pinned versions for the {engine} engine: Linux x86-64, Python 3.11. Written by deploy/setup/lock.py; do not edit.
"""
GPU_NOTE = "# Resolved by pip against the {engine} extra; not tried on a GPU yet.\n"


@dataclass(frozen=True)
class Installed:
    """One distribution: its version and its requirement lines."""

    version: str
    requires: tuple[str, ...]


def main() -> int:
    """Writes the lock."""
    parser = argparse.ArgumentParser(description="Write a lock of exact versions.")
    parser.add_argument("engine", choices=["cpu", "gpu"])
    parser.add_argument("--report", type=Path, help="a pip report to read instead of the installed packages")
    parsed = parser.parse_args()
    packages = {**installed_packages(), **(reported_packages(parsed.report) if parsed.report else {})}
    reached = closure(requirements(parsed.engine), packages) - LEFT_OUT[parsed.engine]
    lines = sorted(f"{name}=={packages[name].version}" for name in reached)
    note = GPU_NOTE.format(engine=parsed.engine) if parsed.engine == "gpu" else ""
    path = Path(__file__).parent / f"constraints-{parsed.engine}.txt"
    path.write_text(HEADER.format(engine=parsed.engine) + note + "\n".join(lines) + "\n")
    print(f"{path}: {len(lines)} packages")
    return 0


def requirements(engine: str) -> list[str]:
    """The project's own requirement lines, with the extras that `make setup` installs."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    extras = project["optional-dependencies"]
    return [*project["dependencies"], *extras[engine], *extras["embedded"], *extras["dev"]]


def installed_packages() -> dict[str, Installed]:
    """What this environment holds, by canonical name."""
    return {
        canonicalize_name(found.metadata["Name"]): Installed(found.version, tuple(found.requires or ()))
        for found in importlib.metadata.distributions()
    }


def reported_packages(report: Path) -> dict[str, Installed]:
    """What a pip report would install, by canonical name."""
    found = (entry["metadata"] for entry in json.loads(report.read_text())["install"])
    return {
        canonicalize_name(data["name"]): Installed(data["version"], tuple(data.get("requires_dist", ())))
        for data in found
    }


def closure(lines: Iterable[str], packages: Mapping[str, Installed]) -> set[str]:
    """Names of all packages that the requirement lines reach on this platform; those not there are left out."""
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [Requirement(line) for line in lines]
    while waiting:
        wanted = waiting.pop()
        node = (canonicalize_name(wanted.name), frozenset(wanted.extras))
        if node in seen or node[0] not in packages:
            continue
        seen.add(node)
        for line in packages[node[0]].requires:
            inner = Requirement(line)
            environments = [{"extra": extra} for extra in ("", *wanted.extras)]
            if inner.marker is None or any(inner.marker.evaluate(environment) for environment in environments):
                waiting.append(inner)
    return {name for name, _ in seen}


if __name__ == "__main__":
    sys.exit(main())
