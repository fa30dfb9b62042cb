from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from indexer.errors import InputError, NotFoundError, UnavailableError
from serve.keys.document import KeyLimits
from serve.keys.file import KeyFile
from serve.keys.keyring import Keyring
from serve.keys.secret import new_token
from tests.serve.keys.conftest import NOW


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "home" / "keys.json")


def test_a_key_is_made_found_and_revoked(file: KeyFile) -> None:
    token, entry = file.create(
        tenant="farm", now=NOW, models=("agronomy",), limits=KeyLimits(streams=2), note="the barn"
    )
    assert file.read().keys == (entry,)
    assert Keyring(file.read()).check(token.text, now=NOW) is not None
    assert file.revoke(entry.id) == entry
    assert file.read().keys == ()
    assert Keyring(file.read()).check(token.text, now=NOW) is None


def test_the_file_holds_no_secret_and_is_its_owners_alone(file: KeyFile) -> None:
    file.path.parent.mkdir()
    file.path.write_text('{"apiVersion": "graftwork.dev/v1", "keys": []}')
    file.path.chmod(0o644)
    assert file.foreign_mode() == "0644"
    token, _ = file.create(tenant="farm", now=NOW)
    content = file.path.read_text()
    assert token.secret not in content
    assert json.loads(content)["apiVersion"] == "graftwork.dev/v1"
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert file.foreign_mode() is None
    assert [path.name for path in file.path.parent.iterdir() if path.suffix != ".lock"] == ["keys.json"]


def test_a_link_stays_and_what_it_points_to_is_changed(file: KeyFile, tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(file.path)
    _, entry = KeyFile(link).create(tenant="farm", now=NOW)
    assert link.is_symlink()
    assert file.read().keys == (entry,)


def test_commands_at_once_each_find_the_others_keys(file: KeyFile) -> None:
    code = (
        "import sys\nfrom datetime import UTC, datetime\nfrom pathlib import Path\n"
        "from serve.keys.file import KeyFile\n"
        "for _ in range(10): KeyFile(Path(sys.argv[1])).create(tenant='farm', now=datetime.now(UTC))"
    )
    root = str(Path(__file__).parents[3])
    both = [
        subprocess.Popen([sys.executable, "-c", code, str(file.path)], cwd=root, env={**os.environ, "PYTHONPATH": root})
        for _ in range(2)
    ]
    assert [process.wait(60) for process in both] == [0, 0]
    assert len({entry.id for entry in file.read().keys}) == 20


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tenant": ""}, "tenant: Tenant '' cannot be used"),
        ({"models": ("a b",)}, r"models\.0"),
        ({"collections": ("a-b",)}, r"collections\.0"),
        ({"note": "a\nb"}, "note"),
    ],
)
def test_a_key_that_could_not_be_read_again_is_not_made(file: KeyFile, fields: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=f"The key cannot be made: {words}"):
        file.create(**{"tenant": "farm", "now": NOW, **fields})  # type: ignore[arg-type]
    assert not file.path.exists()


def test_a_key_that_is_not_there_cannot_be_revoked(file: KeyFile) -> None:
    with pytest.raises(NotFoundError, match="There is no key file"):
        file.revoke("absent")
    assert not file.path.parent.exists()
    file.create(tenant="farm", now=NOW)
    before = file.path.read_bytes()
    token = new_token()
    with pytest.raises(NotFoundError, match="give the id alone") as caught:
        file.revoke(token.text)
    assert token.secret not in str(caught.value)
    assert file.path.read_bytes() == before


def test_a_broken_file_is_not_written_over(file: KeyFile) -> None:
    file.path.parent.mkdir()
    file.path.write_text("{")
    for change in (lambda: file.create(tenant="farm", now=NOW), lambda: file.revoke("abc"), file.read):
        with pytest.raises(InputError, match=rf"{file.path} holds no keys that can be used"):
            change()
    assert file.path.read_text() == "{"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(UnavailableError, match=r"The key file cannot be written at .*taken"):
        KeyFile(tmp_path / "taken" / "keys.json").create(tenant="farm", now=NOW)


def test_a_folder_is_no_key_file(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"cannot be read \(Is a directory\)"):
        KeyFile(tmp_path).read()
