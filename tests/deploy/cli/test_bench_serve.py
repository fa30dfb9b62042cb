from __future__ import annotations

import pytest
from typer.testing import CliRunner

from deploy.bench import serving
from deploy.bench.serving import Comparison, Measured
from deploy.cli.main import app
from indexer.errors import InputError, PartialError
from serve.bench.figures import Answered, ratios_of, run_of
from serve.bench.load import Load
from tests.home import Home

GOOD = run_of(
    [[Answered(0.0, 1.0, (0.1, 0.9), 20, 9), Answered(0.0, 1.0, error="HTTP 500: no")]],
    traffic="base",
    concurrency=16,
    client_cpu_s=0.0,
    seconds=1.0,
)


def comparison(load: Load, *, problem: str | None = None) -> Comparison:
    peers = {"vllm": Measured(30.0, (GOOD,)), "graftwork": Measured(40.0, (GOOD,))}
    if problem:
        peers["ray-serve-llm"] = Measured(9.0, problem=problem)
    return Comparison("tiny", 2, load, peers, ratios_of([GOOD], {"vllm": [GOOD]}))


def test_what_is_asked_for_and_what_is_shown(bare_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}

    def compare(_: object, *, load: Load, **given: object) -> Comparison:
        asked.update(given, load=load)
        return comparison(load)

    monkeypatch.setattr(serving, "compare", compare)
    options = ["--concurrency", "1, 4,4", "--peers", "vllm,graftwork", "--output-tokens", "9", "--adapter", "a@1"]
    done = CliRunner().invoke(app, ["--config", str(bare_home.config), "bench", "serve", *options])
    assert done.exit_code == 0, done.output
    assert (asked["peers"], asked["adapter"]) == (["vllm", "graftwork"], "a@1")
    assert asked["load"] == Load(concurrency=(1, 4), input_tokens=128, output_tokens=9, repeats=3)
    assert "graftwork over vllm, base, 16 at once: ttft x 1.00 (+0.0 ms), tpot x 1.00, tok/s x 1.000" in done.output
    assert "vllm, base, 16 at once: 1 x HTTP 500: no" in done.output


def test_a_server_that_did_not_start_is_a_part_that_is_missing(
    bare_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "compare", lambda _, *, load, **__: comparison(load, problem="it ended."))
    done = CliRunner().invoke(app, ["--config", str(bare_home.config), "bench", "serve", "--json"])
    assert isinstance(done.exception, PartialError)
    assert str(done.exception) == "it ended."
    assert '"ratios": [{"over": "vllm"' in done.output


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--peers", "vllm,tgi"], "'tgi' is no server of this measurement; known are vllm, ray-serve-llm, graftwork"),
        (["--concurrency", "1,many"], "'many' in --concurrency is no number"),
        (["--concurrency", "0"], "'0' in --concurrency is no number"),
    ],
)
def test_what_cannot_be_measured(bare_home: Home, options: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["--config", str(bare_home.config), "bench", "serve", *options])
    assert isinstance(done.exception, InputError)
    assert said in str(done.exception)
