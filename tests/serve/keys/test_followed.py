from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from indexer.errors import InputError, UnavailableError
from serve.keys.document import document_of, write_keys
from serve.keys.file import KeyFile
from serve.keys.followed import FollowedKeys
from tests.serve.keys.conftest import NOW, made

INTERVAL_S = 0.02


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.json")


@asynccontextmanager
async def followed(path: Path) -> AsyncIterator[FollowedKeys]:
    keys = FollowedKeys(path, interval_s=INTERVAL_S)
    following = asyncio.create_task(keys.follow())
    yield keys
    assert not following.done()
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following


async def until(condition: Callable[[], bool], *, what: str) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"{what} did not happen within 5 s")


async def some_looks() -> None:
    await asyncio.sleep(10 * INTERVAL_S)


async def test_keys_are_rotated_without_a_restart(file: KeyFile) -> None:
    old, first = file.create(tenant="farm", now=NOW)
    async with followed(file.path) as keys:
        assert keys.check(old.text) is not None
        new, _ = file.create(tenant="farm", now=NOW)
        await until(lambda: keys.check(new.text) is not None, what="the new key")
        assert keys.check(old.text) is not None
        file.revoke(first.id)
        await until(lambda: keys.check(old.text) is None, what="the end of the old key")
        assert keys.check(new.text) is not None


async def test_a_secret_mounted_by_kubernetes_is_followed(tmp_path: Path) -> None:
    (old, first), (new, second) = made(), made()
    mount = tmp_path / "mount"
    for version, entry in (("..1", first), ("..2", second)):
        (mount / version).mkdir(parents=True)
        (mount / version / "keys.json").write_bytes(write_keys(document_of(entry)))
    (mount / "..data").symlink_to("..1")
    (mount / "keys.json").symlink_to("..data/keys.json")
    async with followed(mount / "keys.json") as keys:
        assert keys.check(old.text) is not None
        (mount / "..data_tmp").symlink_to("..2")
        os.replace(mount / "..data_tmp", mount / "..data")
        (mount / "..1" / "keys.json").unlink()
        await until(lambda: keys.check(new.text) is not None, what="the new key")
        assert keys.check(old.text) is None


async def test_a_folder_removed_while_its_link_was_resolved_is_not_a_file_that_is_gone(
    file: KeyFile, caplog: pytest.LogCaptureFixture
) -> None:
    token, _ = file.create(tenant="farm", now=NOW)
    real = Path.read_bytes
    missed: list[Path] = []

    class Racing(type(file.path)):  # type: ignore[misc]
        def read_bytes(self) -> bytes:
            missed.append(self)
            if len(missed) % 2 == 0:
                raise FileNotFoundError(2, "No such file or directory")
            return real(self)

    async with followed(Racing(file.path)) as keys:
        await until(lambda: len(missed) > 6, what="some looks")
        assert keys.check(token.text) is not None
    assert "is gone" not in caplog.text


async def test_an_edit_of_equal_length_and_time_is_seen(file: KeyFile) -> None:
    (old, first), (new, second) = made(), made()
    file.path.write_bytes(write_keys(document_of(first)))
    stamp = file.path.stat()
    async with followed(file.path) as keys:
        file.path.write_bytes(write_keys(document_of(second)))
        os.utime(file.path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        assert (file.path.stat().st_size, file.path.stat().st_mtime_ns) == (stamp.st_size, stamp.st_mtime_ns)
        await until(lambda: keys.check(new.text) is not None, what="the new key")
        assert keys.check(old.text) is None


async def test_a_broken_version_leaves_the_last_good_keys_and_is_logged_once(
    file: KeyFile, caplog: pytest.LogCaptureFixture
) -> None:
    token, _ = file.create(tenant="farm", now=NOW)
    good = file.path.read_bytes()
    async with followed(file.path) as keys:
        file.path.write_bytes(good[:-9])
        await until(lambda: "holds no keys that can be used" in caplog.text, what="the error")
        await some_looks()
        assert keys.check(token.text) is not None
        errors = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert len(errors) == 1
        assert errors[0].getMessage().endswith("The keys read before still hold.")
        file.path.write_bytes(good)
        new, _ = file.create(tenant="farm", now=NOW)
        await until(lambda: keys.check(new.text) is not None, what="the new key")


async def test_what_cannot_be_read_leaves_the_last_good_keys(
    file: KeyFile, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    token, _ = file.create(tenant="farm", now=NOW)
    link, other = tmp_path / "link", tmp_path / "other"
    link.symlink_to(file.path)
    other.symlink_to(tmp_path)
    async with followed(link) as keys:
        os.replace(other, link)
        await until(lambda: "cannot be read (Is a directory)" in caplog.text, what="the error")
        await some_looks()
        assert keys.check(token.text) is not None
        assert caplog.text.count("cannot be read") == 1


async def test_an_error_nobody_thought_of_does_not_end_the_following(
    file: KeyFile, caplog: pytest.LogCaptureFixture
) -> None:
    file.create(tenant="farm", now=NOW)
    real = Path.read_bytes
    broken: list[bool] = [False]

    class Breaking(type(file.path)):  # type: ignore[misc]
        def read_bytes(self) -> bytes:
            if broken[0]:
                raise RuntimeError("can't start new thread")
            return real(self)

    async with followed(Breaking(file.path)) as keys:
        broken[0] = True
        await until(lambda: "RuntimeError, a defect, at" in caplog.text, what="the error")
        await some_looks()
        broken[0] = False
        new, _ = file.create(tenant="farm", now=NOW)
        await until(lambda: keys.check(new.text) is not None, what="the new key")
    assert caplog.text.count("RuntimeError, a defect, at") == 1


@pytest.mark.parametrize(("content", "words"), [(None, "is gone"), (b"", "is empty"), (b"\n", "is empty")])
async def test_a_file_that_is_gone_or_empty_lets_nobody_in_until_it_is_back(
    file: KeyFile, caplog: pytest.LogCaptureFixture, content: bytes | None, words: str
) -> None:
    token, _ = file.create(tenant="farm", now=NOW)
    good = file.path.read_bytes()
    async with followed(file.path) as keys:
        if content is None:
            file.path.unlink()
        else:
            file.path.write_bytes(content)
        await until(lambda: keys.check(token.text) is None, what="the refusal")
        await until(lambda: f"{words}; every request is refused" in caplog.text, what="the error")
        await some_looks()
        assert caplog.text.count(words) == 1
        file.path.with_name("new").write_bytes(good)
        os.replace(file.path.with_name("new"), file.path)
        await until(lambda: keys.check(token.text) is not None, what="the return of the key")


async def test_a_list_without_keys_lets_nobody_in(file: KeyFile, caplog: pytest.LogCaptureFixture) -> None:
    token, entry = file.create(tenant="farm", now=NOW)
    async with followed(file.path) as keys:
        file.revoke(entry.id)
        await until(lambda: keys.check(token.text) is None, what="the refusal")
        # It is told by the thread that reads, once the list holds.
        await until(lambda: "holds no key; every request is refused" in caplog.text, what="the warning")


def test_a_key_expires_by_the_clock_while_the_file_stays(file: KeyFile) -> None:
    token, _ = file.create(tenant="farm", now=NOW, expires_at=NOW + timedelta(seconds=1))
    clock: list[datetime] = [NOW]
    keys = FollowedKeys(file.path, interval_s=1.0, now=lambda: clock[0])
    assert keys.check(token.text) is not None
    clock[0] += timedelta(seconds=1)
    assert keys.check(token.text) is None


def test_a_start_without_a_file_or_with_a_broken_one_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"absent\.json that serve\.keys\.file names does not exist"):
        FollowedKeys(tmp_path / "absent.json", interval_s=1.0)
    with pytest.raises(UnavailableError, match=r"cannot be read \(Is a directory\)"):
        FollowedKeys(tmp_path, interval_s=1.0)
    for content in ("", "{}"):
        (tmp_path / "broken.json").write_text(content)
        with pytest.raises(InputError, match=r"broken\.json holds no keys that can be used"):
            FollowedKeys(tmp_path / "broken.json", interval_s=1.0)
