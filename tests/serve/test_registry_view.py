from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import pytest

from indexer.errors import NotFoundError, UnavailableError
from serve.registry_view import RegistryView
from tests.serve.registry_world import World, write_base
from train.registry import publish_adapter, verbs
from train.registry.manifest import Provenance


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def until(condition: Callable[[], bool], *, what: str) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"{what} did not happen within 5 s")


async def until_known(view: RegistryView, name: str) -> None:
    await until(lambda: name in view.catalog.specialists, what=f"the appearance of {name}")


@asynccontextmanager
async def followed(view: RegistryView) -> AsyncIterator[None]:
    following = asyncio.create_task(view.follow())
    yield
    assert not following.done()
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following


async def test_a_change_is_followed_and_a_broken_index_leaves_the_last_catalogue(world: World) -> None:
    view = world.view()
    async with followed(view):
        world.apply("late")
        await until_known(view, "late")
        index = world.registry.root / "index.json"
        good = index.read_bytes()
        index.write_bytes(b"{")
        await asyncio.sleep(0.1)
        assert "late" in view.catalog.specialists
        index.write_bytes(good)
        world.apply("later")
        await until_known(view, "later")


async def test_a_registry_that_is_away_is_not_an_empty_one(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    world.apply("kept", adapter="ropes@1")
    view = world.view()
    async with followed(view):
        away = world.registry.root.rename(world.folder / "unmounted")
        await asyncio.sleep(0.1)
        assert set(view.catalog.specialists) == {"kept"}
        assert len([record for record in caplog.records if "reads as revision 0" in record.getMessage()]) == 1
        away.rename(world.registry.root)
        world.apply("later")
        await until_known(view, "later")


async def test_an_error_nobody_thought_of_does_not_end_the_following(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = world.view()
    async with followed(view):
        with monkeypatch.context() as broken:
            broken.setattr(world.registry, "revision", lambda: {}["revision"])
            await until(lambda: "KeyError, a defect, at" in caplog.text, what="the error")
        world.apply("later")
        await until_known(view, "later")


async def test_a_registry_that_goes_away_while_it_is_read_is_not_taken(world: World) -> None:
    world.apply("kept")
    view = world.view()
    index = world.registry.root / "index.json"
    async with followed(view):
        world.registry.lost_after_revision = True
        world.apply("later")
        await until(lambda: not index.exists(), what="the loss of the index")
        await asyncio.sleep(0.1)
        assert set(view.catalog.specialists) == {"kept"}


async def test_a_manifest_is_read_once(world: World) -> None:
    view = world.view()
    async with followed(view):
        world.publish()
        await until(lambda: "ropes@2" in view.catalog.adapters, what="the appearance of ropes@2")
    assert world.registry.read == {"ropes@1": 1, "ropes@2": 1}


async def test_only_manifests_that_will_be_asked_for_are_read_beforehand_and_others_once_when_they_are(
    world: World,
) -> None:
    world.publish(6, make_stable=False)
    world.apply("named", adapter="ropes@3")
    verbs.canary(world.registry, "ropes@4", percent=50)
    verbs.pin(world.registry, "ropes@5")
    world.registry.read.clear()
    view = world.view()
    assert set(world.registry.read) == {"ropes@1", "ropes@3", "ropes@4", "ropes@5"}
    assert list(view.catalog.versions()) == [f"ropes@{version}" for version in range(1, 8)]
    assert view.catalog.unread("ropes@2", key="") == "ropes@2"
    await asyncio.gather(*(view.know("ropes@2") for _ in range(20)))
    adapter = view.catalog.resolve("ropes@2", key="").adapter
    assert adapter is not None
    assert adapter.version == 2
    assert world.registry.read["ropes@2"] == 1
    assert "ropes@6" not in world.registry.read


async def test_a_manifest_that_was_asked_for_is_kept_over_revisions(world: World) -> None:
    world.publish(1)
    view = world.view()
    await view.know("ropes@1")
    async with followed(view):
        world.apply("later")
        await until_known(view, "later")
        assert "ropes@1" in view.catalog.adapters
    assert world.registry.read["ropes@1"] == 1


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: path.unlink(), "has no manifest"),
        (lambda path: path.write_text("{"), "not a valid adapter manifest"),
        (lambda path: path.write_text('{"api_version": "graftwork.dev/v9"}'), "upgrade Graftwork"),
        (lambda path: path.write_text(path.read_text().replace("ropes", "ladders")), "describes ladders@1"),
        (
            lambda path: path.write_text(path.read_text().replace("adapter_config.json", "../../../x")),
            "no plain file name",
        ),
    ],
    ids=["half-written", "broken", "of the future", "of another", "path in a name"],
)
async def test_a_bad_manifest_is_known_as_a_problem_and_asked_for_once(
    world: World, damage: Callable[[Path], object], says: str
) -> None:
    world.publish(1)
    damage(world.registry.path("ropes", 1) / "manifest.json")
    view = world.view()
    await view.know("ropes@1")
    assert says in view.catalog.problems["ropes@1"]
    assert view.catalog.unread("ropes@1", key="") is None
    with pytest.raises(NotFoundError):
        view.catalog.resolve("ropes@1", key="")
    assert view.catalog.resolve("ropes", key="").adapter is not None


async def test_a_manifest_that_cannot_be_read_now_is_asked_for_again(world: World) -> None:
    world.publish(1)
    view = world.view()
    path = world.registry.path("ropes", 1) / "manifest.json"
    content = path.read_bytes()
    path.unlink()
    path.mkdir()
    with pytest.raises(UnavailableError, match="manifest of adapter ropes@1 cannot be read"):
        await view.know("ropes@1")
    path.rmdir()
    path.write_bytes(content)
    await view.know("ropes@1")
    assert "ropes@1" in view.catalog.adapters


async def test_a_foreign_base_is_a_problem_when_it_is_asked_for(world: World, tmp_path: Path) -> None:
    other = write_base(tmp_path / "other-base", seed=1)
    publish_adapter(
        world.adapter, registry=world.registry, name="ropes", base=other, provenance=Provenance(), make_stable=False
    )
    view = world.view()
    await view.know("ropes@2")
    assert "was made for other-base" in view.catalog.problems["ropes@2"]


@pytest.mark.parametrize("allowed", [False, True])
async def test_an_unverified_version_that_is_asked_for_is_served_where_that_is_allowed(
    world: World, allowed: bool
) -> None:
    world.publish(make_stable=False, unverified=True)
    view = world.view(allow_unverified=allowed)
    await view.know("ropes@2")
    assert ("ropes@2" in view.catalog.adapters) is allowed
    assert ("ropes@2" in view.catalog.problems) is not allowed


async def test_a_change_is_seen_within_a_poll_and_quiet_polls_read_nothing(world: World) -> None:
    os.utime(world.registry.root / "index.json", (1, 1))  # what was written a moment ago is read anyway
    view = world.view()
    reads: list[str] = []
    real = Path.open

    def counted(path: Path, *arguments: object, **named: object) -> object:
        file = real(path, *arguments, **named)  # type: ignore[call-overload]
        reads.append(path.name)
        return Unread(file) if path.name == "index.json" and len(reads) > 1 else file

    class Unread:
        """A file that may be looked at and not read."""

        def __init__(self, file: BinaryIO) -> None:
            self._file = file

        def __enter__(self) -> Unread:
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

        def fileno(self) -> int:
            return self._file.fileno()

    with pytest.MonkeyPatch.context() as patch:
        world.registry.revision()
        patch.setattr(Path, "open", counted)
        async with followed(view):
            await until(lambda: len(reads) >= 5, what="five polls")
    assert set(reads) == {"index.json"}
    async with followed(view):
        world.apply("late")
        await until_known(view, "late")
