from __future__ import annotations

import os
from pathlib import Path

import pytest

from indexer.errors import InputError
from indexer.sources.uris import Bucket, BucketPlace, LocalPlace, parse_object, parse_place


def place(uri: str, account: str | None = None) -> BucketPlace:
    parsed = parse_place(uri, azure_account=account)
    assert isinstance(parsed, BucketPlace)
    return parsed


@pytest.mark.parametrize(
    ("uri", "canonical", "key", "folder", "pattern"),
    [
        ("s3://b", "s3://b", "", False, None),
        ("s3://b/", "s3://b", "", False, None),
        ("S3://b/docs/a.md", "s3://b/docs/a.md", "docs/a.md", False, None),
        ("s3://b/docs/", "s3://b/docs", "docs", True, None),
        ("gcs://b/two words.md", "gs://b/two%20words.md", "two words.md", False, None),
        ("gs://b/two%20words.md", "gs://b/two%20words.md", "two words.md", False, None),
        ("s3://b/50%.md", "s3://b/50%25.md", "50%.md", False, None),
        ("s3://b/a#1.md", "s3://b/a%231.md", "a#1.md", False, None),
        ("s3://b/docs/**/*.md", "s3://b/docs", "docs", False, "/**/*.md"),
        ("s3://b/?.md", "s3://b", "", False, "/?.md"),
        ("s3://b/%3F%2A%5B.md", "s3://b/%3F%2A%5B.md", "?*[.md", False, None),
        ("s3://b/a?region=eu-west-1&scheme=http", "s3://b/a?region=eu-west-1&scheme=http", "a", False, None),
        ("abfss://c@acc.dfs.core.windows.net/a", "abfs://c@acc.dfs.core.windows.net/a", "a", False, None),
        ("abfs://c@acc.blob.core.windows.net/a", "abfs://c@acc.dfs.core.windows.net/a", "a", False, None),
        ("az://c/a", "abfs://c@mine.dfs.core.windows.net/a", "a", False, None),
    ],
)
def test_a_place_in_a_bucket(uri: str, canonical: str, key: str, folder: bool, pattern: str | None) -> None:
    parsed = place(uri, account="mine")
    assert (parsed.key, parsed.folder, parsed.pattern) == (key, folder, pattern)
    assert parsed.bucket.uri(key) == canonical
    if key:
        assert parse_object(canonical) == (parsed.bucket, key)


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("hdfs://host/a", "s3://, gs://"),
        ("https://host/a", "https:// is no source"),
        ("s3://", "names no bucket"),
        ("s3:///a", "names no bucket"),
        ("s3://b/a//c", "an empty"),
        ("gs://b/../c", "an empty"),
        ("s3://b/a?regoin=x", "no option 'regoin'; there are anonymous, endpoint_override, region"),
        ("az://c/a", "AZURE_STORAGE_ACCOUNT"),
        ("abfs://c@elsewhere.example/a", "AZURE_STORAGE_ACCOUNT"),
        ("", "empty path"),
    ],
)
def test_what_is_no_place_is_told(uri: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_place(uri)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "uri",
    [
        "s3://AKIAHIDDEN:topsecret@b/a",
        "gs://topsecret@b/a",
        "abfs://c:topsecret@acc.dfs.core.windows.net/a",
        "s3://b/a?secret_key=topsecret",
        "az://c/a?sv=2026-01-01&sig=topsecret%3D",
    ],
)
def test_a_credential_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(InputError, match="credentials belong into the environment") as caught:
        parse_place(uri, azure_account="mine")
    assert "topsecret" not in str(caught.value)
    assert "AKIAHIDDEN" not in str(caught.value)


def test_the_options_tell_buckets_of_one_name_apart() -> None:
    one, other = place("s3://b/a?endpoint_override=x:1"), place("s3://b/a?endpoint_override=y:1")
    assert one.bucket != other.bucket
    assert one.bucket == Bucket("s3", "b", options=(("endpoint_override", "x:1"),))


def test_paths(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"caf\xe9 #1?.md")
    odd.write_text("x")
    assert parse_place(odd.as_uri()) == parse_place(odd) == parse_place(str(odd)) == LocalPlace(odd)
    assert parse_place("~/docs") == LocalPlace(Path.home() / "docs")
    assert parse_place("docs/**/[ab]*.md") == LocalPlace(Path("docs"), "/**/[ab]*.md")
    assert parse_place("*.md") == LocalPlace(Path(), "/*.md")
    assert parse_place(tmp_path / "a?.md") == LocalPlace(tmp_path, "/a?.md")
