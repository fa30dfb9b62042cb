from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.bench import serving
from deploy.bench.serving import compare
from deploy.local.state import InstanceState, write_state
from deploy.settings import load_settings
from indexer.errors import ConflictError, NotFoundError, UnavailableError
from serve.bench.figures import Answered, Run, run_of
from serve.bench.load import Load, Target
from tests.home import Home, make_home
from tests.small_app import SmallApp

LOAD = Load(concurrency=(1,), input_tokens=8, output_tokens=4, repeats=1)


def run(first_s: float) -> Run:
    answer = Answered(0.0, 1.0, (first_s, 1.0), output_tokens=4)
    return run_of([[answer]], traffic="base", concurrency=1, client_cpu_s=0.0, seconds=1.0)


def test_ours_is_held_against_those_that_started(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = make_home(tmp_path, base_model=tiny_base)
    order: list[str] = []

    @contextmanager
    def running(name: str, *_: object, **__: object) -> Iterator[Target]:
        order.append(name)
        if name == "ray-serve-llm":
            raise UnavailableError("ray-serve-llm did not start: it is out of memory.")
        yield Target("http://127.0.0.1:1", name, {"base": "base"})

    async def measured(target: Target, load: Load, **_: object) -> tuple[Run, ...]:
        return (run(0.3 if target.key == "graftwork" else 0.2),)

    monkeypatch.setattr(serving, "running_peer", running)
    monkeypatch.setattr(serving, "measure", measured)
    settings = load_settings(config=home.config).settings
    peers = ("vllm", "ray-serve-llm", "graftwork")
    found = compare(settings, peers=peers, load=LOAD, adapter=None, tell=print)
    assert tuple(order) == tuple(found.peers) == peers
    [ratio] = found.ratios
    assert (ratio.over, ratio.ttft) == ("vllm", pytest.approx(1.5))
    assert found.peers["ray-serve-llm"].problem == "ray-serve-llm did not start: it is out of memory."
    assert found.peers["ray-serve-llm"].runs == ()


def test_an_instance_that_is_up_would_take_part(bare_home: Home, up_state: InstanceState, app: SmallApp) -> None:
    write_state(bare_home.folder / "run" / "state.json", replace(up_state, phase="up"))
    settings = load_settings(config=bare_home.config).settings
    with pytest.raises(ConflictError, match="is up and would share cores; run `graftwork down` first"):
        compare(settings, peers=("vllm",), load=LOAD, adapter=None, tell=print)


def test_an_adapter_that_nobody_has(tmp_path: Path, tiny_base: Path) -> None:
    settings = load_settings(config=make_home(tmp_path, base_model=tiny_base).config).settings
    with pytest.raises(NotFoundError, match="ropes"):
        compare(settings, peers=("vllm",), load=LOAD, adapter="ropes@1", tell=print)
