from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest

from indexer.errors import InputError, NotFoundError
from tests.train.conftest import AdapterMaker
from train.base_model import BaseModelFiles
from train.registry import AdapterRegistry, Provenance, publish_adapter
from train.registry.local_storage import LocalStorage

PUBLISHERS = 6


def test_engine_ids_are_unique_over_names_and_each_publish_raises_the_revision(
    registry: AdapterRegistry, make_adapter: AdapterMaker, small_base: BaseModelFiles
) -> None:
    revisions, ids = [registry.revision()], []
    for name in ("a", "b", "a"):
        ids.append(
            publish_adapter(
                make_adapter(), registry=registry, name=name, base=small_base, provenance=Provenance()
            ).engine_id
        )
        revisions.append(registry.revision())
    assert len(set(ids)) == 3
    assert revisions == sorted(set(revisions))


def _publish(root: Path, source: Path, base: BaseModelFiles, started: object) -> None:
    started.wait()  # type: ignore[attr-defined]
    publish_adapter(source, registry=AdapterRegistry(root), name="a", base=base, provenance=Provenance())


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


@pytest.mark.parametrize(
    ("method", "call", "version"), [("replace", 0, 2), ("put_files", 0, 3), ("replace", 1, 3), ("replace", 2, 3)]
)
def test_a_publisher_that_dies_leaves_nothing_to_see(
    registry: AdapterRegistry,
    make_adapter: AdapterMaker,
    small_base: BaseModelFiles,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    call: int,
    version: int,
) -> None:
    """In the index for its number, in its files, its manifest or the index again; a number once given is not reused."""
    publish_adapter(make_adapter(), registry=registry, name="a", base=small_base, provenance=Provenance())
    before = registry.revision()
    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, method, dying(LocalStorage, method, at=call))
        with pytest.raises(KeyboardInterrupt):
            publish_adapter(make_adapter(seed=1), registry=registry, name="a", base=small_base, provenance=Provenance())
    assert registry.revision() == before
    assert registry.list()[0].versions == (1,)
    with pytest.raises(NotFoundError):
        registry.manifest("a", 2)
    again = publish_adapter(make_adapter(seed=2), registry=registry, name="a", base=small_base, provenance=Provenance())
    assert (again.version, again.engine_id) == (version, version)
    registry.verify("a", again.version)


def dying(owner: type, method: str, *, at: int) -> Callable[..., object]:
    """A method that a process is ended in, at one of its calls."""
    real, calls = getattr(owner, method), iter(range(10))

    def call(*arguments: object, **named: object) -> object:
        if next(calls) == at:
            raise KeyboardInterrupt
        return real(*arguments, **named)

    return call


def test_a_refused_adapter_leaves_no_trace(
    registry: AdapterRegistry, make_adapter: AdapterMaker, small_base: BaseModelFiles
) -> None:
    for source in (make_adapter(modules_to_save=["lm_head"]), make_adapter(hidden=16)):
        with pytest.raises(InputError):
            publish_adapter(source, registry=registry, name="a", base=small_base, provenance=Provenance())
    with pytest.raises(InputError, match="cannot name an adapter"):
        publish_adapter(make_adapter(), registry=registry, name="../a", base=small_base, provenance=Provenance())
    assert not registry.root.exists()


@pytest.mark.parametrize("call", range(3))
def test_the_first_publisher_may_die_anywhere(
    registry: AdapterRegistry,
    make_adapter: AdapterMaker,
    small_base: BaseModelFiles,
    monkeypatch: pytest.MonkeyPatch,
    call: int,
) -> None:
    """The registry is empty then, not damaged."""
    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "replace", dying(LocalStorage, "replace", at=call))
        with pytest.raises(KeyboardInterrupt):
            publish_adapter(make_adapter(), registry=registry, name="a", base=small_base, provenance=Provenance())
    assert registry.revision() == 0
    assert (
        publish_adapter(make_adapter(), registry=registry, name="a", base=small_base, provenance=Provenance()).version
        >= 1
    )
