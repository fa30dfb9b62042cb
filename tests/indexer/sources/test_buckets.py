"""Buckets as sources, on a real S3 server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.errors import ConflictError, InputError, NotFoundError, UnavailableError
from indexer.run.state import Moved
from indexer.sources.discovery import discover
from indexer.sources.provenance import check_owners, existing_files
from indexer.sources.stores import cause, filesystem, open_source
from tests.indexer.conftest import free_port
from tests.s3 import S3Server, running_s3


@pytest.fixture
def server(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """The server, with a bucket `farm` as it is at the start of each test; nothing of another test is remembered."""
    filesystem.cache_clear()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "topsecret")
    s3.start_with("farm")
    s3.put("farm", "docs/", "")
    s3.put("farm", "docs/soil.md", "# Soil")
    s3.put("farm", "docs/deep/wheat.txt", "Wheat")
    s3.put("farm", "docs/deep/.git/x.md", "# hidden")
    s3.put("farm", "docs/empty/", "")
    s3.put("farm", "docs/picture.png", b"\x89PNG")
    s3.put("farm", "docs/binary.txt", b"\x7fELF\0")
    s3.put("farm", "other/bees.md", "# Bees")
    yield s3
    filesystem.cache_clear()


def ids(found: object) -> list[str]:
    return [file.source_id for file in found.files]  # type: ignore[attr-defined]


def test_a_prefix_is_a_folder_and_ids_begin_with_the_bucket(server: S3Server) -> None:
    found = discover([f"s3://farm/docs/{server.query}"])
    assert ids(found) == ["farm/docs/deep/wheat.txt", "farm/docs/soil.md"]
    assert found.files[1].uri == f"s3://farm/docs/soil.md{server.query}"
    assert found.files[1].bytes == 6
    assert found.skipped == {"hidden": 1, "unsupported": 2}
    assert (found.folders, found.failures) == (("farm/docs",), ())
    left_out = {f"s3://farm/docs/{key}{server.query}" for key in ("deep/.git/x.md", "picture.png", "binary.txt")}
    assert found.left_out == left_out
    whole = discover([f"s3://farm{server.query}"])
    assert ids(whole) == [*ids(found), "farm/other/bees.md"]
    assert whole.folders == ("farm",)


def test_an_object_given_by_name_twice_and_inside_its_prefix_is_taken_once(server: S3Server) -> None:
    given = [
        f"s3://farm/{key}{server.query}" for key in ("docs/soil.md", "docs/", "docs/soil.md", "docs/deep/.git/x.md")
    ]
    assert ids(discover(given)) == ["farm/docs/deep/.git/x.md", "farm/docs/deep/wheat.txt", "farm/docs/soil.md"]
    found = discover([f"s3://farm/docs/{name}{server.query}" for name in ("soil.md", "picture.png")])
    assert ids(found) == ["farm/docs/soil.md"]
    assert (found.failures[0].uri.partition("?")[0], found.folders) == ("s3://farm/docs/picture.png", ())


def test_patterns_are_relative_to_the_prefix(server: S3Server) -> None:
    assert ids(discover([f"s3://farm/**/*.md{server.query}"], exclude=["/other/"])) == ["farm/docs/soil.md"]
    assert ids(discover([f"s3://farm/docs{server.query}"], include=["/deep/"])) == ["farm/docs/deep/wheat.txt"]
    assert ids(discover([f"s3://farm/docs/s?il.*{server.query}"])) == ["farm/docs/soil.md"]


@pytest.mark.parametrize("key", ["two words #1?&=+%41 é.md", "[a]*.md", "back\\slash.md", "a:b@c.md"])
def test_a_key_with_odd_characters_is_listed_named_opened_and_found(server: S3Server, key: str) -> None:
    server.put("farm", f"odd/{key}", "# Odd")
    found = discover([f"s3://farm/odd/{server.query}"])
    assert ids(found) == [f"farm/odd/{key}"]
    uri = found.files[0].uri
    assert "#" not in uri
    with open_source(uri) as stream:
        assert stream.read() == b"# Odd"
    assert discover([uri]).files == found.files
    assert existing_files([uri]) == {uri}


def test_an_object_with_the_name_of_a_prefix(server: S3Server) -> None:
    server.put("farm", "both.md", "# Object")
    server.put("farm", "both.md/below.md", "# Below")
    assert ids(discover([f"s3://farm/both.md{server.query}"])) == ["farm/both.md"]
    assert ids(discover([f"s3://farm/both.md/{server.query}"])) == ["farm/both.md/below.md"]
    with pytest.raises(NotFoundError, match=r"s3://farm/docs/soil.md.* does not exist"):
        discover([f"s3://farm/docs/soil.md/{server.query}"])


def test_a_key_that_cannot_be_asked_for_fails_alone(server: S3Server) -> None:
    server.put("farm", "docs//twice.md", "# Twice")
    found = discover([f"s3://farm/docs{server.query}"])
    assert ids(found) == ["farm/docs/deep/wheat.txt", "farm/docs/soil.md"]
    assert "empty" in found.failures[0].reason
    assert found.unreadable == ("farm/docs//twice.md",)


def test_what_is_not_there_is_named(server: S3Server) -> None:
    with pytest.raises(NotFoundError, match=r"s3://nowhere.* does not exist"):
        discover([f"s3://nowhere/docs{server.query}"])
    with pytest.raises(NotFoundError, match=r"s3://farm/absent.* does not exist"):
        discover([f"s3://farm/absent{server.query}"])
    with pytest.raises(InputError, match="holds no files"):
        discover([f"s3://farm/docs/empty/{server.query}"])


def test_an_object_is_read_line_by_line_and_sought_in(server: S3Server) -> None:
    content = b"".join(b"%06d\n" % number for number in range(900_000))
    server.put("farm", "lines.jsonl", content)
    [file] = discover([f"s3://farm/lines.jsonl{server.query}"]).files
    with open_source(file.uri) as stream:
        assert sum(1 for _ in stream) == 900_000
        stream.seek(-7, 2)
        assert (stream.readline(), stream.readline()) == (b"899999\n", b"")
    server.delete("farm", "lines.jsonl")
    with pytest.raises(FileNotFoundError), open_source(file.uri):
        pass


def test_the_environment_tells_the_server_and_the_credentials(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{server.address}")
    [file] = discover(["s3://farm/docs/soil.md"]).files
    assert file.uri == "s3://farm/docs/soil.md"
    with server.checking_credentials(), pytest.raises(UnavailableError, match="ACCESS_DENIED") as caught:
        discover(["s3://farm/docs/"])
    assert "credentials" in str(caught.value)
    assert "topsecret" not in str(caught.value)


def test_without_credentials_what_is_public_is_read_and_what_is_not_fails_alone(server: S3Server) -> None:
    server.put("farm", "docs/public.md", "# Public", acl="public-read")
    found = discover([f"s3://farm/docs/{server.query}&anonymous=true"])
    assert ids(found) == ["farm/docs/public.md"]
    assert set(found.unreadable) == {f"farm/docs/{name}" for name in ("soil.md", "deep/wheat.txt", "binary.txt")}
    assert "ACCESS_DENIED" in found.failures[0].reason


def test_wrong_credentials_are_not_an_empty_bucket(server: S3Server) -> None:
    uri = discover([f"s3://farm/docs/soil.md{server.query}"]).files[0].uri
    with server.checking_credentials():
        for attempt in (lambda: existing_files([uri]), lambda: open_source(uri), lambda: discover([uri])):
            with pytest.raises(UnavailableError, match="ACCESS_DENIED"):
                attempt()


def test_existing_objects_are_told_from_those_that_are_gone(server: S3Server, tmp_path: Path) -> None:
    here, gone, prefix = (f"s3://farm/{key}{server.query}" for key in ("docs/soil.md", "docs/gone.md", "docs/deep"))
    (tmp_path / "a.md").write_text("# A")
    local = (tmp_path / "a.md").as_uri()
    assert existing_files([here, gone, prefix, local]) == {here, local}
    assert existing_files([gone], listed={gone}) == {gone}
    server.delete("farm", "docs/soil.md")
    assert existing_files([here]) == frozenset()


def test_objects_of_a_bucket_that_is_not_there_are_not_gone(server: S3Server) -> None:
    uri = f"s3://removed/a.md{server.query}"
    assert existing_files([uri]) == {uri}


@pytest.mark.usefixtures("server")
def test_a_server_that_went_away_makes_nothing_vanish(tmp_path: Path) -> None:
    with running_s3(free_port(), tmp_path / "log") as passing:
        passing.start_with("farm")
        passing.put("farm", "a.md", "# A")
        uri = discover([f"s3://farm{passing.query}"]).files[0].uri
        stream = open_source(uri)
    for attempt in (
        lambda: existing_files([uri]), lambda: discover([uri]), lambda: open_source(uri), lambda: stream.read(1)
    ):  # fmt: skip
        with pytest.raises(UnavailableError, match=r"s3://farm.* cannot be used .*NETWORK_CONNECTION"):
            attempt()


def test_only_another_object_is_protected_from_replacement(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, stored = f"s3://farm/docs/soil.md{server.query}", f"s3://farm/docs/deep/wheat.txt{server.query}"
    with pytest.raises(ConflictError, match=r"s3://farm/docs/deep/wheat.txt"):
        check_owners([Moved("farm/docs/soil.md", stored=stored, now=now)], collection="c")
    (tmp_path / "soil.md").write_text("# Soil")
    with pytest.raises(ConflictError, match=r"soil.md, a file that still exists"):
        check_owners([Moved("farm/docs/soil.md", stored=(tmp_path / "soil.md").as_uri(), now=now)], collection="c")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{server.address}")
    check_owners([Moved("farm/docs/soil.md", stored="s3://farm/docs/soil.md", now=now)], collection="c")
    server.delete("farm", "docs/deep/wheat.txt")
    check_owners([Moved("farm/docs/soil.md", stored=stored, now=now)], collection="c")


def test_an_address_in_an_answer_is_shown_without_its_query() -> None:
    error = OSError("GetProperties for 'https://a.example/farm?sv=2026&sig=topsecret' failed.\n403")
    assert cause(error) == "GetProperties for 'https://a.example/farm' failed. 403"


def test_a_folder_and_a_bucket_of_one_name_are_refused(server: S3Server, tmp_path: Path) -> None:
    (tmp_path / "farm").mkdir()
    (tmp_path / "farm" / "a.md").write_text("# A")
    with pytest.raises(InputError, match=r"farm and s3://farm.* have the same name"):
        discover([tmp_path / "farm", f"s3://farm{server.query}"])
