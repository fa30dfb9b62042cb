from __future__ import annotations

import json
import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from tests.train.conftest import Publish
from train.registry import AdapterRegistry, verbs, write_specialist
from train.registry.local_storage import LocalStorage
from train.registry.repair import Problem, check, repair

NOW = timedelta(seconds=-1)  # a clock may stand behind the times of files by its tick


def dying_at_replace(monkeypatch: pytest.MonkeyPatch, publish: Publish, *, call: int) -> None:
    real, calls = LocalStorage.replace, iter(range(10))

    def die(storage: LocalStorage, key: str, content: bytes, *, tag: str | None) -> None:
        if next(calls) == call:
            raise KeyboardInterrupt
        real(storage, key, content, tag=tag)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            publish()


def kinds(problems: tuple[Problem, ...]) -> list[tuple[str, str]]:
    return [(problem.kind, problem.what) for problem in problems]


def test_a_registry_that_is_well_has_no_problem_and_is_not_touched(registry: AdapterRegistry, publish: Publish) -> None:
    assert check(registry, settled=NOW) == ()
    publish(3)
    write_specialist("s", b'{"adapter": "a@2"}', registry=registry)
    verbs.retire(registry, "a@3")
    before = registry.revision()
    assert repair(registry, settled=NOW) == ((), ())
    assert registry.revision() == before


def test_a_version_that_was_not_finished_is_deleted_and_its_number_not_used_again(
    registry: AdapterRegistry, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish()
    dying_at_replace(monkeypatch, publish, call=1)
    assert kinds(check(registry, settled=NOW)) == [("half-written", "a@2")]
    mended, left = repair(registry, settled=NOW)
    assert (kinds(mended), left) == ([("half-written", "a@2")], ())
    assert not registry.path("a", 2).exists()
    publish()
    assert registry.list()[0].versions == (1, 3)


def test_what_may_be_in_the_making_is_left_alone(
    registry: AdapterRegistry, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish()
    dying_at_replace(monkeypatch, publish, call=1)
    (registry.root / "adapters" / "a" / ".staging-1").touch()
    assert check(registry) == ()
    assert repair(registry) == ((), ())
    assert registry.path("a", 2).exists()


def test_a_whole_version_that_the_index_does_not_name_is_named(
    registry: AdapterRegistry, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish()
    dying_at_replace(monkeypatch, publish, call=2)
    dying_at_replace(monkeypatch, lambda: publish(name="b"), call=2)
    assert kinds(check(registry, settled=NOW)) == [("not in index", "a@2"), ("not in index", "b@1")]
    repair(registry, settled=NOW, who="ann")
    assert [(one.name, one.versions, one.stable) for one in registry.list()] == [("a", (1, 2), 1), ("b", (1,), 1)]
    assert registry.manifest("a", 2).engine_id == 2
    last = verbs.events(registry)[-1]
    assert (last.who, last.verb, last.after) == ("ann", "repair", "a@2 named, b@1 named")
    assert check(registry, settled=NOW) == ()
    publish()
    assert registry.list()[0].versions == (1, 2, 3)


def test_a_damaged_version_that_the_index_does_not_name_is_not_named(
    registry: AdapterRegistry, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish()
    dying_at_replace(monkeypatch, publish, call=2)
    (registry.path("a", 2) / "adapter_model.safetensors").write_bytes(b"x")
    [problem] = check(registry, settled=NOW)
    assert (problem.kind, problem.mend) == ("broken", None)
    assert "adapter_model.safetensors is not as published" in problem.text
    assert repair(registry, settled=NOW)[0] == ()


def test_a_named_version_without_a_manifest_is_retired_unless_something_points_at_it(
    registry: AdapterRegistry, publish: Publish
) -> None:
    publish(5)
    verbs.canary(registry, "a@2", percent=5)
    verbs.pin(registry, "a@4")
    write_specialist("s", b'{"adapter": "a@3"}', registry=registry)
    for version in (1, 2, 3, 4):
        (registry.path("a", version) / "manifest.json").unlink()
    shutil.rmtree(registry.path("a", 5))
    mended, left = repair(registry, settled=NOW)
    assert kinds(mended) == [("no manifest", "a@4"), ("no manifest", "a@5")]
    assert [(problem.what, problem.text.rpartition("it is ")[2].partition(";")[0]) for problem in left] == [
        ("a@1", "stable"),
        ("a@2", "the canary"),
        ("a@3", "named by the specialist s"),
    ]
    entry = registry.index().adapters["a"]
    assert (entry.retired, entry.pinned, entry.versions) == ((4, 5), (), (1, 2, 3, 4, 5))
    assert kinds(check(registry, settled=NOW)) == kinds(left)


def test_specialists_are_told_and_left(registry: AdapterRegistry, publish: Publish) -> None:
    for name in ("one", "two"):
        write_specialist(name, b"{}", registry=registry)
    documents = Path(str(registry.root)) / "specialists"
    (documents / "one.json").rename(documents / "three.json")
    mended, left = repair(registry, settled=NOW)
    assert (mended, kinds(left)) == ((), [("no document", "one"), ("document not in index", "three")])


def test_leftovers_of_writers_are_deleted_and_others_things_left(registry: AdapterRegistry, publish: Publish) -> None:
    publish()
    root = Path(str(registry.root))
    ours = [".index.json.0f", "adapters/a/.staging-1/adapter_config.json", "specialists/.s.json.0f"]
    foreign = ["adapters/a/notes.txt", "adapters/UPPER/1/x"]
    for name in (*ours, *foreign):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    mended, left = repair(registry, settled=NOW)
    assert {problem.what for problem in mended} == set(ours)
    assert {problem.what for problem in left} == set(foreign)
    assert [name for name in ours if (root / name).exists()] == []
    assert [name for name in foreign if not (root / name).exists()] == []


def test_engine_ids_that_an_old_index_would_give_out_again(registry: AdapterRegistry, publish: Publish) -> None:
    publish()
    index = Path(str(registry.root)) / "index.json"
    backup = index.read_bytes()
    publish(2)
    index.write_bytes(backup)
    os.utime(index, (1, 1))
    fresh = AdapterRegistry(registry.root)
    assert kinds(check(fresh, settled=NOW)) == [
        ("not in index", "a@2"),
        ("not in index", "a@3"),
        ("engine id ahead", "index.json"),
    ]
    repair(fresh, settled=NOW)
    publish()
    assert registry.manifest("a", 4).engine_id == 4
    assert check(fresh, settled=NOW) == ()


def test_two_versions_of_one_engine_id_are_told(registry: AdapterRegistry, publish: Publish) -> None:
    publish(2)
    path = registry.path("a", 2) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"engine_id": 1}))
    assert kinds(check(registry, settled=NOW)) == [("engine id twice", "a@2")]
    assert repair(registry, settled=NOW)[0] == ()
