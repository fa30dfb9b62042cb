"""What a user names as a source: a path, a pattern of paths, a `file://` URI or a place in an object store."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, unquote_to_bytes, urlencode, urlsplit

from indexer.errors import InputError

S3, GCS, AZURE = "s3", "gs", "abfs"
_SCHEMES = {"s3": S3, "gs": GCS, "gcs": GCS, "az": AZURE, "abfs": AZURE, "abfss": AZURE}
_OPTIONS = {
    S3: frozenset({"anonymous", "endpoint_override", "region", "scheme"}),
    GCS: frozenset({"anonymous", "endpoint_override", "scheme"}),
    AZURE: frozenset({"blob_storage_authority", "dfs_storage_authority", "scheme"}),
}
_AZURE_SUFFIXES = (".dfs.core.windows.net", ".blob.core.windows.net")
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://", re.ASCII)
_QUERY = re.compile(r"\?([A-Za-z0-9_.-]+=[^&?#]*(?:&[A-Za-z0-9_.-]+=[^&?#]*)*)\Z", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._-]*\Z", re.ASCII)
_WILDCARD = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket, or a container of an Azure account, and how its server is reached.

    Attributes:
        scheme: `s3`, `gs` or `abfs`.
        name: The bucket or container.
        account: Azure storage account; empty elsewhere.
        options: Name and value pairs of the URI's query, sorted; no secrets are among them.
    """

    scheme: str
    name: str
    account: str = ""
    options: tuple[tuple[str, str], ...] = ()

    def uri(self, key: str = "") -> str:
        """Return the URI of an object, percent-encoded, without a fragment; of the bucket for an empty key."""
        authority = f"{self.name}@{self.account}{_AZURE_SUFFIXES[0]}" if self.scheme == AZURE else self.name
        query = f"?{urlencode(self.options, safe=':/')}" if self.options else ""
        return f"{self.scheme}://{authority}{'/' if key else ''}{quote(key, safe='/')}{query}"


@dataclass(frozen=True, slots=True)
class BucketPlace:
    """Objects in a bucket.

    Attributes:
        bucket: Where.
        key: Key of an object or a prefix, decoded, without slashes at its ends.
        folder: Whether the user's URI ends in a slash, so that an object of that very key is not meant.
        pattern: Pattern below `key` in gitignore form, or None.
    """

    bucket: Bucket
    key: str
    folder: bool
    pattern: str | None


@dataclass(frozen=True, slots=True)
class LocalPlace:
    """A file or folder; `pattern` is below `path`, in gitignore form, or None."""

    path: Path
    pattern: str | None = None


def parse_place(given: str | Path, *, azure_account: str | None = None) -> LocalPlace | BucketPlace:
    """Read what the user named.

    In a URI `%20` is a space, and what needs no encoding to be told may stand as it is: `s3://b/two words.md`. A
    wildcard is `*`, `?` or `[`; a path of that very name comes first; in a URI the characters are `%2A`, `%3F`, `%5B`.

    Args:
        given: A path or a URI.
        azure_account: Storage account of `az://container/...`, which names none.

    Raises:
        InputError: An unknown scheme or option, a credential in the URI, no bucket, or no Azure account.
    """
    text = os.fspath(given)
    if not text:
        raise InputError("An empty path was given; name a file, a folder or a URI such as s3://bucket/folder.")
    matched = _URI.match(text) if isinstance(given, str) else None
    if matched is None:
        return _local(Path(given).expanduser())
    scheme = matched[1].lower()
    if scheme == "file":
        return LocalPlace(file_path(text))
    if scheme not in _SCHEMES:
        raise InputError(
            f"{scheme}:// is no source that can be indexed; give a path or a URI with one of "
            f"{', '.join(f'{known}://' for known in _SCHEMES)}."
        )
    return _in_bucket(text[matched.end() :], scheme=_SCHEMES[scheme], given=scheme, azure_account=azure_account)


def parse_object(uri: str) -> tuple[Bucket, str]:
    """Return the bucket and key of a URI that `Bucket.uri` made."""
    place = parse_place(uri)
    if not isinstance(place, BucketPlace):
        raise InputError(f"{uri} names no object of a bucket.")
    return place.bucket, place.key


def is_file_uri(uri: str) -> bool:
    """Tell whether a URI names a local file."""
    return uri.startswith("file://")


def is_source_uri(uri: str) -> bool:
    """Tell whether a URI is of a kind that documents are indexed from."""
    return uri.startswith(("file://", f"{S3}://", f"{GCS}://", f"{AZURE}://"))


def file_path(uri: str) -> Path:
    """Return the path in a `file://` URI; names that are not UTF-8 come back as they were."""
    return Path(os.fsdecode(unquote_to_bytes(urlsplit(uri).path)))


def can_be_opened(key: str) -> bool:
    """Tell whether an object of this key can be asked for: stores allow `a//b`, pyarrow does not."""
    return not key or all(part not in ("", ".", "..") for part in key.split("/"))


def _local(path: Path) -> LocalPlace:
    parts = path.parts
    first = next((index for index, part in enumerate(parts) if _WILDCARD.search(part)), None)
    if first is None or path.exists():
        return LocalPlace(path)
    return LocalPlace(Path(*parts[:first]), "/" + "/".join(parts[first:]))


def _in_bucket(rest: str, *, scheme: str, given: str, azure_account: str | None) -> BucketPlace:
    options: tuple[tuple[str, str], ...] = ()
    if query := _QUERY.search(rest):
        rest, options = rest[: query.start()], _options(query[1], scheme=scheme, given=given)
    authority, _, raw_key = rest.partition("/")
    name, at, host = authority.partition("@")
    if ":" in authority or (at and scheme != AZURE):
        raise InputError(
            f"A {given}:// URI holds a user, a password or a port; credentials belong into the environment or the "
            "machine's profile, a server's address into ?endpoint_override=HOST:PORT."
        )
    if not _NAME.match(name):
        raise InputError(f"{given}://{name} names no bucket; write {given}://bucket/folder.")
    account = _account(host, container=name, given=given, azure_account=azure_account) if scheme == AZURE else ""
    parts = raw_key.strip("/").split("/")
    first = next((index for index, part in enumerate(parts) if _WILDCARD.search(part)), len(parts))
    key = unquote("/".join(parts[:first]))
    if not can_be_opened(key):
        raise InputError(f"{given}://{name}/{key} has an empty, `.` or `..` part, which cannot be asked for.")
    return BucketPlace(
        bucket=Bucket(scheme, name, account, options),
        key=key,
        folder=raw_key.endswith("/"),
        pattern="/" + unquote("/".join(parts[first:])) if first < len(parts) else None,
    )


def _options(query: str, *, scheme: str, given: str) -> tuple[tuple[str, str], ...]:
    pairs = sorted(parse_qsl(query, keep_blank_values=True))
    unknown = [name for name, _ in pairs if name not in _OPTIONS[scheme]]
    if unknown:
        raise InputError(
            f"A {given}:// URI has no option {unknown[0]!r}; there are {', '.join(sorted(_OPTIONS[scheme]))}, and "
            "credentials belong into the environment or the machine's profile."
        )
    return tuple(pairs)


def _account(host: str, *, container: str, given: str, azure_account: str | None) -> str:
    if not host and azure_account:
        return azure_account
    account = next((host.removesuffix(suffix) for suffix in _AZURE_SUFFIXES if host.endswith(suffix)), "")
    if not _NAME.match(account):
        raise InputError(
            f"{given}://{container} does not tell the storage account; write "
            f"abfs://{container}@ACCOUNT{_AZURE_SUFFIXES[0]}/folder or set AZURE_STORAGE_ACCOUNT."
        )
    return account
