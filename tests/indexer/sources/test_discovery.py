from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from indexer.errors import InputError, NotFoundError
from indexer.parsers.ooxml import OLE2
from indexer.sources.discovery import discover


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "docs"
    (root / "deep" / ".git").mkdir(parents=True)
    (root / "b.md").write_text("# B")
    (root / "deep" / "a.txt").write_text("A")
    (root / "deep" / ".git" / "c.md").write_text("# hidden")
    (root / ".hidden.md").write_text("# hidden")
    (root / "picture.png").write_bytes(b"\x89PNG")
    (root / "link.md").symlink_to(root / "b.md")
    (root / "loop").symlink_to(root)
    return root


def test_a_folder_is_walked_and_what_is_left_out_is_counted(folder: Path) -> None:
    found = discover([folder])
    assert [file.source_id for file in found.files] == ["docs/b.md", "docs/deep/a.txt"]
    assert found.skipped == {"hidden": 2, "symlink": 2, "unsupported": 1}
    assert found.folders == ("docs",)
    assert found.failures == ()
    assert found.files[0].uri == (folder / "b.md").as_uri()


def test_a_file_has_the_id_that_its_folder_would_give_it(folder: Path) -> None:
    found = discover([folder / "b.md", folder / ".hidden.md"])
    assert [file.source_id for file in found.files] == ["docs/.hidden.md", "docs/b.md"]
    assert found.folders == ()


def test_a_path_given_twice_is_taken_once(folder: Path) -> None:
    assert len(discover([folder, folder / "b.md", folder]).files) == 2


def test_a_named_link_is_followed(folder: Path) -> None:
    assert [file.source_id for file in discover([folder / "link.md"]).files] == ["docs/b.md"]


def test_a_named_file_of_an_unknown_format_fails_with_the_supported_ones(folder: Path) -> None:
    found = discover([folder / "picture.png", folder / "b.md"])
    assert len(found.files) == 1
    assert found.failures[0].stage == "discover"
    assert ".pdf" in found.failures[0].reason


def test_an_old_office_file_is_counted_in_a_folder_and_explained_by_name(folder: Path) -> None:
    (folder / "old.doc").write_bytes(OLE2 + bytes(100))
    assert discover([folder]).skipped["unsupported"] == 2
    found = discover([folder / "old.doc"])
    assert "save it as .docx" in found.failures[0].reason


@pytest.mark.parametrize(("make", "text"), [(False, "no files"), (True, "1 unsupported left out")])
def test_nothing_to_index_is_an_error(tmp_path: Path, make: bool, text: str) -> None:
    if make:
        (tmp_path / "x.bin").write_bytes(b"\0")
    with pytest.raises(InputError, match=text):
        discover([tmp_path])


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"nowhere does not exist"):
        discover([tmp_path / "nowhere"])


def test_no_path_is_an_error() -> None:
    with pytest.raises(InputError, match="No path"):
        discover([])


def test_two_roots_of_one_name_are_refused(tmp_path: Path) -> None:
    for parent in ("x", "y"):
        (tmp_path / parent / "docs").mkdir(parents=True)
        (tmp_path / parent / "docs" / "a.md").write_text("# A")
    with pytest.raises(InputError, match="share ids"):
        discover([tmp_path / "x" / "docs", tmp_path / "y" / "docs"])


def test_a_file_name_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.md")).write_text("# A")
    found = discover([tmp_path])
    assert found.files[0].source_id == f"{tmp_path.name}/caf?.md"
    assert "caf%E9.md" in found.files[0].uri


def test_an_unreadable_folder_or_file_is_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permissions do not stop root, as whom tests often run, so the system calls are made to fail."""
    scan, open_file = os.scandir, Path.open

    def refuse(path: Path) -> None:
        if path.name in ("deep", "b.md"):
            raise PermissionError(13, "Permission denied", str(path))

    def guarded_scan(path: Path) -> Iterator[os.DirEntry[str]]:
        refuse(path)
        return scan(path)

    def guarded_open(path: Path, mode: str) -> IO[bytes]:
        refuse(path)
        return open_file(path, mode)

    (folder / "c.md").write_text("# C")
    monkeypatch.setattr(os, "scandir", guarded_scan)
    monkeypatch.setattr(Path, "open", guarded_open)
    found = discover([folder])
    assert [file.source_id for file in found.files] == ["docs/c.md"]
    assert set(found.unreadable) == {"docs/deep", "docs/b.md"}
    assert {failure.reason for failure in found.failures} == {
        "the folder cannot be read: Permission denied",
        "the file cannot be read: Permission denied",
    }
    with pytest.raises(InputError, match="deep cannot be read: Permission denied"):
        discover([folder / "deep"])


def test_a_pattern_of_paths_gives_the_ids_that_its_folder_would(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert [file.source_id for file in discover(["deep/**/*.txt", "*.md"]).files] == ["deep/a.txt", "docs/b.md"]
    found = discover([f"{folder}/**/*.md"])
    assert [file.source_id for file in found.files] == ["docs/b.md"]
    assert found.skipped == {"hidden": 2, "symlink": 2, "excluded": 2}
    assert found.folders == ("docs",)
    with pytest.raises(InputError, match="4 excluded"):
        discover([folder / "*.xyz", folder / "deep" / "*.xyz"])


def test_a_file_named_like_a_pattern_is_that_file(folder: Path) -> None:
    (folder / "b[1]*.md").write_text("# literal")
    assert [file.source_id for file in discover([folder / "b[1]*.md"]).files] == ["docs/b[1]*.md"]


def test_include_and_exclude_hold_for_files_given_by_name_too(folder: Path) -> None:
    found = discover([folder, folder / ".hidden.md"], exclude=["/deep/"])
    assert [file.source_id for file in found.files] == ["docs/.hidden.md", "docs/b.md"]
    assert found.skipped["excluded"] == 1
    found = discover([folder / "b.md", folder / "deep" / "a.txt"], include=["*.txt"])
    assert [file.source_id for file in found.files] == ["deep/a.txt"]
    with pytest.raises(InputError, match="1 excluded left out"):
        discover([folder / "b.md"], include=["*.txt"])


def test_an_excluded_folder_is_not_looked_into(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = os.scandir

    def guarded(path: Path) -> Iterator[os.DirEntry[str]]:
        assert path.name != "deep"
        return scan(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert len(discover([folder], exclude=["deep"]).files) == 1


def test_sources_of_a_list_are_added(folder: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text(f"{folder}/deep\n{(folder / 'b.md').as_uri()}\n")
    assert [file.source_id for file in discover([], lists=[str(listed)]).files] == ["deep/a.txt", "docs/b.md"]
