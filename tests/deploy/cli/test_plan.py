"""`graftwork train --plan`, as a user runs it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.deploy.cli.test_main import run, settings_file
from tests.models import build_tiny_llama


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    turns = [{"role": "user", "content": "How long is it?"}, {"role": "assistant", "content": "It is 212 metres long."}]
    path.write_text(f"{json.dumps({'messages': turns})}\n" * 40)
    return path


def test_a_plan_tells_how_full_the_sequences_are(tmp_path: Path, rows: Path) -> None:
    base = build_tiny_llama(tmp_path / "tiny")
    config = settings_file(tmp_path, train={"base_model": str(base), "packing": True, "max_length": 256})
    done = run(tmp_path, "--config", config, "train", str(rows), "--name", "ropes", "--plan", "--no-measure")
    assert done.returncode == 0, done.stderr
    told = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    packed = re.fullmatch(r"40 rows into (\d+) sequences of 256 tokens, (\d+\.\d)% full", told["packed"])
    assert packed is not None, told
    assert "sequences over 2 workers" in told["steps"]
    tokens = int(told["rows"].split(", ")[1].split()[0])
    assert float(packed[2]) == pytest.approx(100 * tokens / (256 * int(packed[1])), abs=0.1)
