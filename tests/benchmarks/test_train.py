"""What Ray Train costs a run of one worker, on the base model of the demo."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack import environment

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

STEADY = 0.95


def test_steady_training_is_as_quick_as_without_ray(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [str(Path(sys.executable).parent / "graftwork"), "--home", str(tmp_path / "home"), "bench", "train"]
    done = subprocess.run(
        [*command, "--json"], cwd="/", env=environment(tmp_path / "home"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    with capsys.disabled():
        print(f"\n\n{json.dumps(found, indent=1)}")
    assert found["ratios"]["ray/alone"] >= STEADY
