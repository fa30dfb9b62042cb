from __future__ import annotations

import json
import multiprocessing
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import train.registry.registry
from indexer.errors import InputError, NotFoundError
from tests.train.conftest import AdapterMaker
from train.base_model import BaseModelFiles
from train.registry import AdapterRegistry, DatasetRecord, Provenance

PUBLISHERS = 6


def test_an_empty_registry_says_so(registry: AdapterRegistry) -> None:
    assert registry.list() == []
    assert registry.revision() == 0
    assert registry.read_specialists() == {}
    with pytest.raises(NotFoundError, match="published: none"):
        registry.resolve("agronomy")


def test_a_published_version_reads_back(
    registry: AdapterRegistry, make_adapter: AdapterMaker, small_base: BaseModelFiles
) -> None:
    source = make_adapter(rank=4)
    dataset = DatasetRecord(uri="rows.jsonl", sha256="0" * 64, rows=3)
    published = registry.publish(
        source, name="agronomy", base=small_base, provenance=Provenance(dataset=dataset), scores={"eval_loss": 1.5}
    )
    assert registry.manifest("agronomy", 1) == published
    assert (published.rank, published.alpha, published.target_modules) == (4, 8, ("q_proj", "up_proj"))
    assert (published.base_fingerprint, published.dataset) == (small_base.fingerprint, dataset)
    assert published.scores == {"eval_loss": 1.5}
    folder = registry.path("agronomy", 1)
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (folder / name).read_bytes() == (source / name).read_bytes()
    assert sorted(file.name for file in folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "manifest.json",
    ]
    registry.verify("agronomy", 1)


def test_references_find_versions(
    registry: AdapterRegistry, make_adapter: AdapterMaker, small_base: BaseModelFiles
) -> None:
    for make_stable in (False, True, False):
        registry.publish(make_adapter(), name="a", base=small_base, provenance=Provenance(), make_stable=make_stable)
    assert registry.list()[0].versions == (1, 2, 3)
    assert [registry.resolve(ref).version for ref in ("a", "a@stable", "a@1", "a@3")] == [2, 2, 1, 3]
    registry.set_stable("a", 3)
    assert registry.resolve("a").version == 3
    with pytest.raises(NotFoundError, match="published: 1, 2, 3"):
        registry.resolve("a@4")
    with pytest.raises(NotFoundError):
        registry.set_stable("a", 4)


def test_engine_ids_are_unique_over_names_and_each_publish_raises_the_revision(
    registry: AdapterRegistry, make_adapter: AdapterMaker, small_base: BaseModelFiles
) -> None:
    revisions, ids = [registry.revision()], []
    for name in ("a", "b", "a"):
        ids.append(registry.publish(make_adapter(), name=name, base=small_base, provenance=Provenance()).engine_id)
        revisions.append(registry.revision())
    assert len(set(ids)) == 3
    assert revisions == sorted(set(revisions))


def _publish(root: Path, source: Path, base: BaseModelFiles, started: object) -> None:
    started.wait()  # type: ignore[attr-defined]
    AdapterRegistry(root).publish(source, name="a", base=base, provenance=Provenance())


def test_publishers_at_once_all_succeed_with_different_versions(
    registry: AdapterRegistry, make_adapter: AdapterMaker, small_base: BaseModelFiles
) -> None:
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(PUBLISHERS)
    sources = [make_adapter(seed=seed) for seed in range(PUBLISHERS)]
    processes = [
        context.Process(target=_publish, args=(registry.root, source, small_base, barrier)) for source in sources
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * PUBLISHERS
    assert registry.list()[0].versions == tuple(range(1, PUBLISHERS + 1))
    manifests = [registry.manifest("a", version) for version in range(1, PUBLISHERS + 1)]
    assert len({manifest.engine_id for manifest in manifests}) == PUBLISHERS
    assert len({manifest.files["adapter_model.safetensors"].sha256 for manifest in manifests}) == PUBLISHERS
    for version in range(1, PUBLISHERS + 1):
        registry.verify("a", version)


@pytest.mark.parametrize("point", ["os.rename", "replace_file", "_write_index"])
def test_a_publisher_that_dies_leaves_nothing_to_see(
    registry: AdapterRegistry,
    make_adapter: AdapterMaker,
    small_base: BaseModelFiles,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
) -> None:
    registry.publish(make_adapter(), name="a", base=small_base, provenance=Provenance())
    before = registry.revision()

    def die(*_args: object, **_kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        target = AdapterRegistry if point == "_write_index" else "train.registry.registry"
        patch.setattr(target, point, die) if target is AdapterRegistry else patch.setattr(f"{target}.{point}", die)
        with pytest.raises(KeyboardInterrupt):
            registry.publish(make_adapter(seed=1), name="a", base=small_base, provenance=Provenance())
    assert registry.revision() == before
    assert registry.list()[0].versions == (1,)
    with pytest.raises(NotFoundError):
        registry.manifest("a", 2)
    again = registry.publish(make_adapter(seed=2), name="a", base=small_base, provenance=Provenance())
    assert again.version == (2 if point == "os.rename" else 3)
    registry.verify("a", again.version)


def test_a_refused_adapter_leaves_no_trace(
    registry: AdapterRegistry, make_adapter: AdapterMaker, small_base: BaseModelFiles
) -> None:
    for source in (make_adapter(modules_to_save=["lm_head"]), make_adapter(hidden=16)):
        with pytest.raises(InputError):
            registry.publish(source, name="a", base=small_base, provenance=Provenance())
    with pytest.raises(InputError, match="cannot name an adapter"):
        registry.publish(make_adapter(), name="../a", base=small_base, provenance=Provenance())
    assert not registry.root.exists()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: _flip(folder / "adapter_model.safetensors"), "damaged: adapter_model.safetensors"),
        (lambda folder: (folder / "adapter_config.json").unlink(), "lacks adapter_config.json"),
        (lambda folder: (folder / "evil.py").write_text("x"), "foreign files: evil.py"),
        (lambda folder: _link(folder / "adapter_config.json"), "link"),
        (lambda folder: _link(folder / "."), "outside the registry"),
    ],
)
def test_damage_is_found(
    registry: AdapterRegistry, make_adapter: AdapterMaker, small_base: BaseModelFiles, damage: object, says: str
) -> None:
    registry.publish(make_adapter(), name="a", base=small_base, provenance=Provenance())
    damage(registry.path("a", 1))  # type: ignore[operator]
    with pytest.raises(InputError, match=says):
        registry.verify("a", 1)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def _link(path: Path) -> None:
    outside = Path(str(path.resolve()).split("registry", maxsplit=1)[0]) / "outside" / path.name
    outside.parent.mkdir()
    shutil.move(path, outside)
    path.symlink_to(outside)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"api_version": "graftwork.dev/v9"}, "graftwork.dev/v9"),
        ({"rank": 0}, "rank"),
        ({"surprise": 1}, "surprise"),
        ({"version": 7}, "describes a@7"),
    ],
)
def test_a_manifest_that_is_not_ours_is_refused(
    registry: AdapterRegistry,
    make_adapter: AdapterMaker,
    small_base: BaseModelFiles,
    change: dict[str, object],
    says: str,
) -> None:
    registry.publish(make_adapter(), name="a", base=small_base, provenance=Provenance())
    path = registry.path("a", 1) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=says):
        registry.manifest("a", 1)


def test_a_path_never_leaves_the_registry(registry: AdapterRegistry) -> None:
    for name, version in (("../x", 1), ("a/b", 1), ("a", 0), ("a", -1)):
        with pytest.raises(InputError):
            registry.path(name, version)


def test_specialists_are_stored_replaced_and_removed(registry: AdapterRegistry) -> None:
    registry.write_specialist("agronomy", b'{"name": "agronomy"}')
    first = registry.revision()
    registry.write_specialist("agronomy", b'{"name": "agronomy", "base": "base"}')
    assert registry.read_specialists() == {"agronomy": b'{"name": "agronomy", "base": "base"}'}
    assert registry.revision() > first
    with pytest.raises(NotFoundError, match="known: agronomy"):
        registry.remove_specialist("other")
    with pytest.raises(NotFoundError, match=r"'other'.*known: agronomy"):
        registry.read_specialist("other")
    registry.remove_specialist("agronomy")
    assert registry.specialists() == ()
    assert registry.read_specialists() == {}


def test_a_specialist_removed_while_all_are_read_is_left_out(registry: AdapterRegistry) -> None:
    for name in ("one", "two"):
        registry.write_specialist(name, b"{}")

    class Removing(AdapterRegistry):
        def read_specialist(self, name: str) -> bytes:
            if name == "one":
                super().remove_specialist(name)
            return super().read_specialist(name)

    assert Removing(registry.root).read_specialists() == {"two": b"{}"}


@pytest.mark.parametrize(("name", "document"), [("../x", b"{}"), ("a", b"{"), ("a", b"[]")])
def test_a_bad_specialist_is_refused(registry: AdapterRegistry, name: str, document: bytes) -> None:
    with pytest.raises(InputError):
        registry.write_specialist(name, document)
    assert registry.read_specialists() == {}


def test_a_broken_index_is_an_error_and_not_an_empty_registry(registry: AdapterRegistry) -> None:
    registry.root.mkdir()
    for content in ("{", "[]", '{"revision": -1}', '{"api_version": "graftwork.dev/v9"}'):
        (registry.root / "index.json").write_text(content)
        with pytest.raises(InputError, match=r"index\.json"):
            registry.revision()


def test_a_lost_index_is_an_error_and_nothing_is_written_over_it(
    registry: AdapterRegistry, make_adapter: AdapterMaker, small_base: BaseModelFiles
) -> None:
    for name in ("a", "b"):
        registry.publish(make_adapter(), name=name, base=small_base, provenance=Provenance())
    registry.write_specialist("one", b"{}")
    kept = (registry.root / "index.json").read_bytes()
    (registry.root / "index.json").unlink()
    calls: list[Callable[[], object]] = [
        registry.list,
        registry.revision,
        registry.read_specialists,
        lambda: registry.manifest("a", 1),
        lambda: registry.resolve("a"),
        lambda: registry.verify("a", 1),
        lambda: registry.publish(make_adapter(), name="a", base=small_base, provenance=Provenance()),
        lambda: registry.set_stable("a", 1),
        lambda: registry.write_specialist("two", b"{}"),
        lambda: registry.remove_specialist("one"),
    ]
    for call in calls:
        with pytest.raises(InputError, match=r"no index\.json; put the file back from a backup, or move"):
            call()
    assert not (registry.root / "index.json").exists()
    assert sorted(path.name for path in (registry.root / "specialists").iterdir()) == ["one.json"]
    (registry.root / "index.json").write_bytes(kept)
    assert registry.publish(make_adapter(), name="a", base=small_base, provenance=Provenance()).engine_id == 3


def test_a_lost_index_is_noticed_where_there_are_specialists_alone(registry: AdapterRegistry) -> None:
    registry.write_specialist("one", b"{}")
    (registry.root / "index.json").unlink()
    with pytest.raises(InputError, match=r"no index\.json"):
        registry.write_specialist("two", b"{}")


@pytest.mark.parametrize("point", ["replace_file", "_write_index"])
def test_the_first_publisher_may_die_anywhere(
    registry: AdapterRegistry,
    make_adapter: AdapterMaker,
    small_base: BaseModelFiles,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
) -> None:
    """Whatever call to a function it dies in: the registry is empty then, not damaged."""
    for number in range(3):
        target = AdapterRegistry if point == "_write_index" else train.registry.registry
        real, calls = getattr(target, point), iter(range(10))

        def die(*arguments: object, real: object = real, calls: Iterator[int] = calls, number: int = number) -> None:
            if next(calls) == number:
                raise KeyboardInterrupt
            real(*arguments)  # type: ignore[operator]

        fresh = AdapterRegistry(registry.root / str(number))
        with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
            patch.setattr(target, point, die)
            fresh.publish(make_adapter(), name="a", base=small_base, provenance=Provenance())
        assert fresh.revision() in (0, 1)
        assert fresh.publish(make_adapter(), name="a", base=small_base, provenance=Provenance()).version >= 1


def test_many_manifests_are_read_with_one_parse_of_the_index(
    registry: AdapterRegistry, make_adapter: AdapterMaker, small_base: BaseModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        registry.publish(make_adapter(), name="a", base=small_base, provenance=Provenance())
    parsed: list[str] = []
    real = train.registry.registry.parse_index

    def count(content: bytes, *, where: str) -> object:
        parsed.append(where)
        return real(content, where=where)

    monkeypatch.setattr(train.registry.registry, "parse_index", count)
    assert [registry.manifest("a", version).version for version in registry.list()[0].versions] == [1, 2, 3]
    assert len(parsed) == 1
    registry.set_stable("a", 1)
    assert registry.resolve("a").version == 1


def test_reading_a_registry_imports_no_torch(registry: AdapterRegistry) -> None:
    code = (
        "import sys; from pathlib import Path; from train.registry import AdapterRegistry; import train.settings;"
        f"AdapterRegistry(Path({str(registry.root)!r})).list();"
        "print(sorted({'torch', 'transformers', 'trl', 'peft', 'ray'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
