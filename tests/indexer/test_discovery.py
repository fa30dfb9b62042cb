from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from indexer.discovery import discover
from indexer.errors import InputError, NotFoundError


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


UNREADABLE = """
import sys
from pathlib import Path
from indexer.discovery import discover
from indexer.errors import InputError
root = Path(sys.argv[1])
found = discover([root])
print([file.source_id for file in found.files], found.unreadable)
try:
    discover([root / "closed"])
except InputError as error:
    print(error)
"""


def test_an_unreadable_folder_or_file_is_reported() -> None:
    root = Path(tempfile.mkdtemp(prefix="graftwork-"))  # pytest's own folders are closed to other users
    try:
        (root / "closed").mkdir()
        (root / "closed" / "a.md").write_text("# A")
        (root / "open.md").write_text("# B")
        (root / "shut.md").write_text("# C")
        (root / "closed").chmod(0)
        (root / "shut.md").chmod(0)
        root.chmod(0o755)
        as_nobody = {"user": "nobody"} if os.geteuid() == 0 else {}
        done = subprocess.run(
            [sys.executable, "-c", UNREADABLE, str(root)],
            capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2], **as_nobody,
        )  # fmt: skip
        if "Permission denied" in done.stderr and "discover" not in done.stderr:
            pytest.skip("another user cannot run this Python")
        assert done.returncode == 0, done.stderr
        assert f"['{root.name}/open.md'] ('{root.name}/shut.md', '{root.name}/closed')" in done.stdout
        assert f"Folder {root}/closed cannot be read: Permission denied." in done.stdout
    finally:
        (root / "closed").chmod(0o755)
        shutil.rmtree(root)
