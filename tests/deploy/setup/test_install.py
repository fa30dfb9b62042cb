from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from deploy.setup import install

ROOT = Path(__file__).resolve().parents[3]


def nvidia_smi(folder: Path, script: str) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


@pytest.mark.parametrize(
    ("script", "engine"),
    [
        ("echo 'GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1)'", "gpu"),
        ("echo 'No devices were found'", "cpu"),
        ("echo 'GPU driver is not loaded'; exit 9", "cpu"),
    ],
)
def test_the_engine_follows_what_nvidia_smi_lists(
    script: str, engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia_smi(tmp_path, script)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert install.chosen_engine("auto") == engine


def test_without_nvidia_smi_the_engine_is_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert install.chosen_engine("auto") == "cpu"


def test_an_engine_that_is_asked_for_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia_smi(tmp_path, "echo 'GPU 0: one'")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert install.chosen_engine("cpu") == "cpu"


def test_an_unknown_engine_is_refused_by_name() -> None:
    with pytest.raises(install.SetupError, match="ENGINE is 'tpu'; it can be cpu, gpu or auto"):
        install.chosen_engine("tpu")


def test_the_stamp_counts_only_for_the_same_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    monkeypatch.setattr(install, "VENV", tmp_path)
    monkeypatch.setattr(install, "STAMP", tmp_path / "stamp.json")
    wanted = install.inputs("cpu", "embedded")
    assert not install.is_current(wanted)
    install.STAMP.write_text(json.dumps(wanted))
    assert install.is_current(wanted)
    assert not install.is_current(install.inputs("gpu", "embedded"))
    assert not install.is_current(install.inputs("cpu", "embedded,dev"))
    assert not install.is_current(wanted | {"lock": "another"})
    install.STAMP.write_text("{ half a st")
    assert not install.is_current(wanted)


def test_an_environment_of_another_python_is_refused_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text("#!/bin/sh\necho 3.12\n")
    python.chmod(0o755)
    monkeypatch.setattr(install, "VENV", tmp_path)
    with pytest.raises(install.SetupError, match=r"is of Python 3\.12, not 3\.11; remove it"):
        install.make_venv()
    assert python.exists()


def test_the_cpu_lock_pins_torchs_cpu_build() -> None:
    assert install.pinned("torch", install.lock_file("cpu")) == "torch==2.13.0+cpu"
    assert install.pinned("torch", install.lock_file("gpu")) == "torch==2.13.0"


def test_without_python_311_there_is_one_clear_sentence(tmp_path: Path) -> None:
    for name in ("python3.11", "python3", "python"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\nexit 1\n")
        program.chmod(0o755)
    for tool in ("bash", "dirname"):
        (tmp_path / tool).symlink_to(f"/usr/bin/{tool}")
    command = [str(ROOT / "deploy" / "setup" / "setup.sh")]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert done.stderr.startswith("setup: Python 3.11 was not found; install it")
    assert done.stderr.count("\n") == 1
