"""The cache of fetched versions, on real files: what a bucket would give comes from a folder here."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.train.conftest import AdapterMaker
from train.base_model import BaseModelFiles
from train.registry import AdapterManifest, AdapterRegistry, Provenance, publish_adapter
from train.registry.cache import AdapterCache, LocalVersion
from train.registry.cache_pruning import Pruned
from train.registry.holding import make_aside
from train.registry.layout import version_key

WEIGHTS = "adapter_model.safetensors"


class Node:
    """A node with a cache, and the registry that its versions come from."""

    def __init__(self, registry: AdapterRegistry, folder: Path) -> None:
        self.registry = registry
        self.folder = folder
        self.cache = self.process(max_bytes=0)

    def process(self, *, max_bytes: int) -> AdapterCache:
        return AdapterCache(self.registry.storage, self.folder, max_bytes=max_bytes)

    def manifest(self, version: int) -> AdapterManifest:
        return self.registry.manifest("a", version)

    def fetch(self, version: int, *, last_used: int | None = None) -> LocalVersion:
        manifest = self.manifest(version)
        fetched = self.cache.fetch(version_key("a", version), manifest)
        if last_used is not None:
            fetched.release()
            os.utime(fetched.folder, (last_used, last_used))
        return fetched

    def here(self) -> list[int]:
        return sorted(int(folder.name.partition("-")[0]) for folder in self.folder.glob("*/a/[0-9]*"))

    def others(self) -> list[str]:
        return [folder.name for folder in self.folder.glob("*/a/.*")]


@pytest.fixture
def node(registry: AdapterRegistry, make_adapter: AdapterMaker, small_base: BaseModelFiles, tmp_path: Path) -> Node:
    for seed in range(3):
        publish_adapter(make_adapter(seed=seed), registry=registry, name="a", base=small_base, provenance=Provenance())
    return Node(registry, tmp_path / "cache")


def pruned(cache: AdapterCache) -> Pruned:
    done = cache.prune()
    assert done is not None
    return done


def test_the_least_recently_used_go_until_the_rest_fits(node: Node) -> None:
    for version, last_used in ((1, 30), (2, 10), (3, 20)):
        node.fetch(version, last_used=last_used)
    size = sum(record.bytes for record in node.manifest(1).files.values())
    assert pruned(node.process(max_bytes=3 * size)) == Pruned(kept_bytes=3 * size)
    done = pruned(node.process(max_bytes=3 * size - 1))
    assert ([version.bytes for version in done.removed], done.failed, done.kept_bytes) == ([size], (), 2 * size)
    assert node.here() == [1, 3]
    node.fetch(3).release()  # used again, and so the last to go
    pruned(node.process(max_bytes=size))
    assert node.here() == [3]
    assert node.others() == []


def test_what_is_held_stays_whole_and_goes_when_it_is_released(node: Node) -> None:
    held = node.fetch(1)
    node.fetch(2, last_used=10)
    again = node.process(max_bytes=0).fetch(version_key("a", 1), node.manifest(1))
    assert [version.path.name[0] for version in pruned(node.cache).removed] == ["2"]
    held.release()
    held.release()
    assert pruned(node.cache).removed == ()
    assert (again.folder / WEIGHTS).is_file()
    again.release()
    assert len(pruned(node.cache).removed) == 1
    assert node.here() == []


@contextmanager
def held_by_another_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    code = (
        "import sys; from pathlib import Path; from train.registry.holding import hold;"
        "held = hold(Path(sys.argv[1])); print(held is not None, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        yield process
        process.kill()


def test_what_another_process_holds_stays_until_that_has_ended_however(node: Node) -> None:
    folder = node.fetch(1, last_used=10).folder
    with held_by_another_process(folder) as other:
        assert pruned(node.cache).removed == ()
        assert folder.is_dir()
        other.kill()
        other.wait(10)
        assert len(pruned(node.cache).removed) == 1


def test_a_version_that_is_being_fetched_is_left_alone_and_what_a_dead_fetch_left_is_not(node: Node) -> None:
    target = node.cache.path(node.manifest(1))
    target.parent.mkdir(parents=True)
    with make_aside(target) as coming:
        (coming.path / WEIGHTS).write_bytes(b"half")
        pruned(node.cache)
        assert node.others() == [coming.path.name]
    pruned(node.cache)
    assert node.others() == []


def test_nothing_that_is_not_the_caches_own_is_touched(node: Node, tmp_path: Path) -> None:
    """A user may name a folder that holds more."""
    version = node.fetch(1, last_used=10).folder
    theirs = [
        node.folder / "notes" / "a" / "1-0123456789ab" / "x",
        version.parent / "backup" / "x",
        version.parent / ".hidden" / "x",
        node.folder / "file",
    ]
    for path in theirs:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_text("x")
    (version.parent / "2-0123456789ab").symlink_to(outside)
    assert [gone.path for gone in pruned(node.cache).removed] == [version]
    assert all(path.is_file() for path in (*theirs, outside / "x"))


def test_what_cannot_be_deleted_is_told_and_the_rest_goes(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in (1, 2):
        node.fetch(version, last_used=version)
    real = os.rename

    def refuse(source: Path, target: Path) -> None:
        if source.name.startswith("1-"):
            raise PermissionError(13, "Permission denied")
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refuse)
        done = pruned(node.cache)
    assert [(failure.path.name[:2], failure.cause) for failure in done.failed] == [("1-", "Permission denied")]
    assert [version.path.name[:2] for version in done.removed] == ["2-"]
    assert done.kept_bytes > 0
    assert node.here() == [1]
    assert pruned(node.cache).failed == ()
    assert node.here() == []


def test_one_prunes_at_a_time_and_a_cache_that_is_not_there_is_empty(node: Node) -> None:
    assert node.cache.prune() == Pruned()
    node.fetch(1, last_used=1)
    with held_by_another_process(node.folder):
        assert node.cache.prune() is None
    assert node.here() == [1]


def test_a_version_is_never_seen_in_part_while_others_prune(node: Node) -> None:
    """Each use finds every file, whoever prunes meanwhile."""
    stop = threading.Event()

    def use(number: int) -> int:
        cache, uses = node.process(max_bytes=0), 0
        for round_ in range(40):
            version = 1 + (number + round_) % 3
            manifest = node.manifest(version)
            fetched = cache.fetch(version_key("a", version), manifest)
            for name, record in manifest.files.items():
                assert (fetched.folder / name).stat().st_size == record.bytes
            fetched.release()
            uses += 1
        return uses

    def prune_on() -> int:
        count = 0
        cache = node.process(max_bytes=0)
        while not stop.is_set():
            done = cache.prune()
            assert done is None or done.failed == ()
            count += 0 if done is None else len(done.removed)
        return count

    with ThreadPoolExecutor(5) as pool:
        pruners = [pool.submit(prune_on) for _ in range(2)]
        users = [pool.submit(use, number) for number in range(3)]
        try:
            assert [user.result(60) for user in users] == [40, 40, 40]
        finally:
            stop.set()
        assert sum(pruner.result(60) for pruner in pruners) > 0


def test_a_damaged_version_is_mended_under_who_holds_it(node: Node) -> None:
    held = node.fetch(1)
    (held.folder / WEIGHTS).write_bytes(b"x")
    mended = node.process(max_bytes=0).fetch(version_key("a", 1), node.manifest(1))
    assert (held.folder / WEIGHTS).stat().st_size == node.manifest(1).files[WEIGHTS].bytes
    mended.release()
    assert pruned(node.cache).removed == ()  # the first holds it still
    assert node.others() == []


def test_files_are_read_again_only_where_they_have_changed(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.fetch(1).release()
    node.fetch(1).release()
    reads: list[Path] = []
    real: Callable[..., object] = AdapterCache.fetch.__globals__["hash_file"]
    monkeypatch.setattr("train.registry.cache.hash_file", lambda path: reads.append(path) or real(path))
    folder = node.fetch(1, last_used=1).folder
    assert reads == []
    os.utime(folder / WEIGHTS, (1, 1))
    node.fetch(1).release()
    assert {path.name for path in reads} >= {WEIGHTS}
