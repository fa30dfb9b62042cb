from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import train.registry.index_store
from indexer.errors import InputError, NotFoundError
from tests.train.conftest import AdapterMaker
from train.base_model import BaseModelFiles
from train.registry import (
    AdapterRegistry,
    DatasetRecord,
    Provenance,
    publish_adapter,
    remove_specialist,
    write_specialist,
)
from train.registry.verbs import promote


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
    published = publish_adapter(
        source,
        registry=registry,
        name="agronomy",
        base=small_base,
        provenance=Provenance(dataset=dataset),
        scores={"eval_loss": 1.5},
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
        publish_adapter(
            make_adapter(),
            registry=registry,
            name="a",
            base=small_base,
            provenance=Provenance(),
            make_stable=make_stable,
        )
    assert registry.list()[0].versions == (1, 2, 3)
    assert [registry.resolve(ref).version for ref in ("a", "a@stable", "a@1", "a@3")] == [2, 2, 1, 3]
    promote(registry, "a@3")
    assert registry.resolve("a").version == 3
    with pytest.raises(NotFoundError, match="published: 1, 2, 3"):
        registry.resolve("a@4")
    with pytest.raises(NotFoundError):
        promote(registry, "a@4")


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
    publish_adapter(make_adapter(), registry=registry, name="a", base=small_base, provenance=Provenance())
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
    publish_adapter(make_adapter(), registry=registry, name="a", base=small_base, provenance=Provenance())
    path = registry.path("a", 1) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=says):
        registry.manifest("a", 1)


def test_a_manifest_from_before_there_was_an_engine_check_is_read(
    registry: AdapterRegistry, make_adapter: AdapterMaker, small_base: BaseModelFiles
) -> None:
    published = publish_adapter(make_adapter(), registry=registry, name="a", base=small_base, provenance=Provenance())
    path = registry.path("a", 1) / "manifest.json"
    document = json.loads(path.read_text())
    assert (document.pop("engine"), document.pop("unverified")) == (None, False)
    path.write_text(json.dumps(document))
    assert registry.manifest("a", 1) == published


def test_a_path_never_leaves_the_registry(registry: AdapterRegistry) -> None:
    for name, version in (("../x", 1), ("a/b", 1), ("a", 0), ("a", -1)):
        with pytest.raises(InputError):
            registry.path(name, version)


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
        publish_adapter(make_adapter(), registry=registry, name=name, base=small_base, provenance=Provenance())
    write_specialist("one", b"{}", registry=registry)
    kept = (registry.root / "index.json").read_bytes()
    (registry.root / "index.json").unlink()
    calls: list[Callable[[], object]] = [
        registry.list,
        registry.revision,
        registry.read_specialists,
        lambda: registry.manifest("a", 1),
        lambda: registry.resolve("a"),
        lambda: registry.verify("a", 1),
        lambda: publish_adapter(make_adapter(), registry=registry, name="a", base=small_base, provenance=Provenance()),
        lambda: promote(registry, "a@1"),
        lambda: write_specialist("two", b"{}", registry=registry),
        lambda: remove_specialist("one", registry=registry),
    ]
    for call in calls:
        with pytest.raises(InputError, match=r"no index\.json; put the file back from a backup, or move"):
            call()
    assert not (registry.root / "index.json").exists()
    assert sorted(path.name for path in (registry.root / "specialists").iterdir()) == ["one.json"]
    (registry.root / "index.json").write_bytes(kept)
    assert (
        publish_adapter(make_adapter(), registry=registry, name="a", base=small_base, provenance=Provenance()).engine_id
        == 3
    )


def test_many_manifests_are_read_with_one_parse_of_the_index(
    registry: AdapterRegistry, make_adapter: AdapterMaker, small_base: BaseModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        publish_adapter(make_adapter(), registry=registry, name="a", base=small_base, provenance=Provenance())
    parsed: list[str] = []
    real = train.registry.index_store.parse_index

    def count(content: bytes, *, where: str) -> object:
        parsed.append(where)
        return real(content, where=where)

    monkeypatch.setattr(train.registry.index_store, "parse_index", count)
    assert [registry.manifest("a", version).version for version in registry.list()[0].versions] == [1, 2, 3]
    assert len(parsed) == 1
    promote(registry, "a@1")
    assert registry.resolve("a").version == 1


def test_reading_a_registry_imports_no_torch(registry: AdapterRegistry) -> None:
    code = (
        "import sys; from pathlib import Path; from train.registry import AdapterRegistry; import train.settings;"
        f"AdapterRegistry(Path({str(registry.root)!r})).list();"
        "print(sorted({'torch', 'transformers', 'trl', 'peft', 'ray'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
