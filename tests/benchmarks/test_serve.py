"""`graftwork bench serve` as a command: our layers against bare vLLM and Ray Serve LLM's default app, a tiny model.

A tiny model makes the road around it dear: what is asserted here holds all the more for one that computes longer.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.models import build_tiny_llama
from tests.stack import build_tiny_adapter, environment, write_config

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

# How much later the first token may come, and what must be left of the throughput.
TTFT_MS = 10.0
THROUGHPUT = 0.88


def test_the_layers_cost_little(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ratios = compare(tmp_path, capsys, "--repeats", "3")
    assert ratios["vllm", "base", 1]["ttft_difference_ms"] <= TTFT_MS
    assert ratios["vllm", "base", 16]["output_throughput"] >= THROUGHPUT
    for concurrency in (1, 16):
        other = ratios["ray-serve-llm", "base", concurrency]
        assert other["ttft"] < 1
        assert other["output_throughput"] > 1


def test_an_adapter_costs_no_more_than_in_bare_vllm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--adapter", str(tmp_path / "adapter"), "--peers", "vllm,graftwork", "--repeats", "2")
    ratios = compare(tmp_path, capsys, *options)
    assert ratios["vllm", "adapter", 1]["ttft_difference_ms"] <= TTFT_MS
    assert ratios["vllm", "adapter", 16]["output_throughput"] >= THROUGHPUT


def compare(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> dict[tuple[str, str, int], Any]:
    """Run the command with the tiny model, print what it found, and return its ratios."""
    base = build_tiny_llama(folder / "tiny-base")
    build_tiny_adapter(base, folder / "adapter", seed=1)
    engine = {"max_model_len": 1024, "enforce_eager": True, "dtype": "float32", "max_num_seqs": 16}
    config = write_config(folder, base_model=base, haproxy=True, engine=engine, max_adapters=4)
    command = [str(Path(sys.executable).parent / "graftwork"), "--config", str(config), "bench", "serve", *options]
    done = subprocess.run(
        [*command, "--json"], cwd="/", env=environment(folder), capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    compared: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    with capsys.disabled():
        print(f"\n\n{compared['cores']} cores, {compared['load']}")
        for name, peer in compared["peers"].items():
            print(f"{name} started in {peer['start_s']:.0f} s")
            for run in peer["runs"]:
                print(f"{name:14} {run['traffic']:8} c={run['concurrency']:<3} {told(run)}")
        for ratio in compared["ratios"]:
            print("graftwork over", ratio)
    assert all(run["figures"]["failed"] == 0 for peer in compared["peers"].values() for run in peer["runs"])
    return {(one["over"], one["traffic"], one["concurrency"]): one for one in compared["ratios"]}


def told(run: dict[str, Any]) -> str:
    """The figures of a run in a line."""
    found = run["figures"]
    names = ("median_ttft_ms", "p95_ttft_ms", "median_tpot_ms", "median_itl_ms", "output_throughput")
    spread = [round(one["output_throughput"], 1) for one in run["repeats"]]
    tokens = found["total_input_tokens"] / found["completed"]
    line = ", ".join(f"{name} {found[name]:.2f}" for name in names)
    return f"{line}, each {spread}, {tokens:.0f} tokens in, client {run['client_cpu_share']:.0%} of a core"
