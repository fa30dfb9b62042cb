from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from deploy.cli.keys import parse_period
from deploy.cli.main import app
from indexer.errors import GraftworkError, InputError, NotFoundError
from serve.keys.file import KeyFile
from serve.keys.followed import FollowedKeys
from serve.keys.secret import parse_token


class Keys:
    """`graftwork keys` in a home of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.file = home / "keys.json"

    def run(self, *arguments: str) -> Result:
        """The result of a command; an error of ours is raised."""
        result = CliRunner().invoke(app, ["--home", str(self.home), "keys", *arguments])
        if isinstance(result.exception, GraftworkError):
            raise result.exception
        return result

    def json(self, *arguments: str) -> dict[str, object]:
        result = self.run(*arguments, "--json")
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        assert isinstance(found, dict)
        return found


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keys:
    monkeypatch.chdir(tmp_path)
    return Keys(tmp_path / "home")


FULL = (
    *("--tenant", "farm", "--model", "agronomy", "--model", "ropes@3", "--model", "agronomy"),
    *("--collection", "handbook", "--requests-per-minute", "60", "--tokens-per-minute", "9000"),
    *("--streams", "4", "--expires-in", "90d", "--note", "the barn"),
)


def test_the_key_alone_goes_to_standard_output_and_opens_the_app(keys: Keys) -> None:
    made = keys.run("create", "--tenant", "farm")
    token = made.stdout.rstrip("\n")
    principal = FollowedKeys(keys.file, interval_s=1.0).check(token)
    assert principal is not None
    assert principal.tenant == "farm"
    assert token not in made.stderr
    parsed = parse_token(token)
    assert parsed is not None
    assert parsed.secret not in keys.file.read_text()
    assert f"set `serve.keys.file` to {keys.file}" in made.stderr


def test_everything_a_key_may_do_is_kept_and_listed_without_secret_and_hash(keys: Keys) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    made = keys.json("create", *FULL)
    (entry,) = KeyFile(keys.file).read().keys
    assert entry.created_at >= before
    assert entry.expires_at == entry.created_at + timedelta(days=90)
    listed = keys.json("list")
    assert listed == {
        "file": str(keys.file),
        "keys": [
            {
                "id": entry.id,
                "tenant": "farm",
                "created_at": entry.created_at.isoformat().replace("+00:00", "Z"),
                "expires_at": entry.expires_at.isoformat().replace("+00:00", "Z"),
                "note": "the barn",
                "models": ["agronomy", "ropes@3"],
                "collections": ["handbook"],
                "limits": {"requests_per_minute": 60, "tokens_per_minute": 9000, "streams": 4},
                "state": "active",
            }
        ],
    }
    text = keys.run("list").stdout
    for words in (
        f"{entry.id}  active  tenant farm  models agronomy, ropes@3  collections handbook",
        "limits 60 requests/min, 9000 tokens/min, 4 streams",
        f"expires {entry.expires_at:%Y-%m-%d %H:%M} UTC  the barn",
    ):
        assert words in text
    secret = str(made["key"]).split("-", 2)[2]
    for shown in (text, json.dumps(listed)):
        assert secret not in shown
        assert entry.sha256 not in shown


def test_a_key_without_limits_says_all_and_never(keys: Keys) -> None:
    keys.run("create", "--tenant", "farm")
    text = keys.run("list").stdout
    assert "models all  collections all  limits none" in text
    assert "expires never" in text


def test_an_expired_key_is_listed_as_such(keys: Keys) -> None:
    now = datetime.now(UTC)
    KeyFile(keys.file).create(tenant="farm", now=now - timedelta(days=2), expires_at=now - timedelta(days=1))
    assert "  expired  " in keys.run("list").stdout


def test_several_keys_of_a_tenant_and_the_end_of_one(keys: Keys) -> None:
    first, second = keys.json("create", "--tenant", "farm"), keys.json("create", "--tenant", "farm")
    revoked = keys.json("revoke", str(first["id"]))
    assert revoked == {"id": first["id"], "tenant": "farm", "action": "revoked", "file": str(keys.file)}
    assert [entry.id for entry in KeyFile(keys.file).read().keys] == [second["id"]]
    assert f"Revoked {second['id']} of tenant farm." in keys.run("revoke", str(second["id"])).stdout
    assert "No keys in" in keys.run("list").stdout


def test_the_file_of_the_settings_is_used_and_needs_no_note(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFTWORK_SERVE__KEYS__FILE", "secrets/app.json")
    made = keys.run("create", "--tenant", "farm")
    assert "serve.keys.file" not in made.stderr
    assert len(KeyFile(tmp_path / "secrets" / "app.json").read().keys) == 1
    assert not keys.file.exists()


def test_a_file_that_others_may_read_is_warned_of(keys: Keys) -> None:
    keys.run("create", "--tenant", "farm")
    assert "chmod" not in keys.run("list").stderr
    keys.file.chmod(0o644)
    assert "has mode 0644" in keys.run("list").stderr


def test_what_cannot_be_used_is_refused_and_leaves_the_file(keys: Keys) -> None:
    keys.run("create", "--tenant", "farm")
    before = keys.file.read_bytes()
    for arguments, error, words in (
        (("create", "--tenant", ""), InputError, "tenant: Tenant ''"),
        (("create", "--tenant", "a", "--model", "a b"), InputError, "models.0"),
        (("create", "--tenant", "a", "--collection", "a-b"), InputError, "Collection name 'a-b'"),
        (("create", "--tenant", "a", "--expires-in", "soon"), InputError, "'soon' is no length of time"),
        (("revoke", "absent"), NotFoundError, "There is no key 'absent'"),
    ):
        with pytest.raises(error, match=words):
            keys.run(*arguments)
    for arguments in (("create",), ("create", "--tenant", "a", "--streams", "0")):
        assert keys.run(*arguments).exit_code == 2
    assert keys.file.read_bytes() == before


def test_lengths_of_time() -> None:
    assert [parse_period(text) for text in ("30m", "12h", "90d", "4w")] == [
        timedelta(minutes=30),
        timedelta(hours=12),
        timedelta(days=90),
        timedelta(weeks=4),
    ]
    for text in ("", "90", "0d", "-1d", "1.5h", "90 d", "1y", "999999w", "9d\n"):
        with pytest.raises(InputError, match="is no length of time"):
            parse_period(text)
