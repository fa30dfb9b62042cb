"""A registry in a bucket: conditional writes keep writers apart, so that no lock and no server is needed.

Credentials are those of the process: the environment's (AWS_..., GOOGLE_..., AZURE_...) or the machine's own identity.
Profile files of the clouds' command lines are not read.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from indexer.errors import UnavailableError
from indexer.sources.uris import AZURE, S3
from train.registry.manifest import FileRecord
from train.registry.place import ObjectPlace
from train.registry.storage import ChangedError, Held, Stored

if TYPE_CHECKING:
    from obstore import UpdateVersion
    from obstore.store import AzureConfig, ClientConfig, GCSConfig, ObjectStore, RetryConfig, S3Config

_BLOCK_BYTES = 4 << 20
_LISTED_AT_ONCE = 1000  # the most that S3 gives per answer
# A store that does not answer is told within the time that a replica's poll and a command may take.
_RETRIES: RetryConfig = {"max_retries": 4, "retry_timeout": timedelta(seconds=20)}
_CONNECT, _TIMEOUT = timedelta(seconds=5), timedelta(seconds=60)
_CAUSE_CHARS = 300
_QUERY_STRING = re.compile(r"\?[^\s'\"]+")  # may hold a signature


class ObjectStorage:
    """Objects below a prefix, through obstore. A manifest and the index are written conditionally, other files not."""

    def __init__(self, place: ObjectPlace) -> None:
        """Remember the place; nothing is asked yet."""
        self._place = place

    @property
    def place(self) -> ObjectPlace:
        """The bucket and prefix."""
        return self._place

    @cached_property
    def _store(self) -> ObjectStore:
        return open_store(self._place)

    def exclusive(self) -> nullcontext[None]:
        """Nothing is held: `replace` tells whether another writer was quicker."""
        return nullcontext()

    def read(self, key: str) -> Stored:
        """See `Storage`."""
        import obstore

        with self._told():
            found = obstore.get(self._store, key)
            return Stored(bytes(found.bytes()), _tag(found.meta["e_tag"], found.meta["version"]))

    def read_changed(self, key: str, tag: str) -> Stored | None:
        """See `Storage`; asks with If-None-Match."""
        import obstore

        with self._told():
            try:
                found = obstore.get(self._store, key, options={"if_none_match": _version(tag).get("e_tag")})
                return Stored(bytes(found.bytes()), _tag(found.meta["e_tag"], found.meta["version"]))
            except obstore.exceptions.NotModifiedError:
                return None

    def replace(self, key: str, content: bytes, *, tag: str | None) -> None:
        """See `Storage`; writes with If-Match, or If-None-Match for one that is to be new."""
        import obstore

        with self._told(writing=True):
            try:
                obstore.put(self._store, key, content, mode="create" if tag is None else _version(tag))
            except (obstore.exceptions.AlreadyExistsError, obstore.exceptions.PreconditionError) as error:
                raise ChangedError(key) from error

    def write(self, key: str, content: bytes) -> None:
        """See `Storage`."""
        import obstore

        with self._told(writing=True):
            obstore.put(self._store, key, content, use_multipart=False)

    def put_files(self, folder: str, source: Path, names: Iterable[str]) -> dict[str, FileRecord]:
        """See `Storage`."""
        import obstore

        records: dict[str, FileRecord] = {}
        for name in names:
            with (source / name).open("rb") as file, self._told(writing=True):
                blocks = _Hashed(file)
                obstore.put(self._store, f"{folder}/{name}", blocks)
                records[name] = blocks.record
        return records

    def fetch_files(self, folder: str, records: Mapping[str, FileRecord], target: Path) -> dict[str, FileRecord]:
        """See `Storage`."""
        target.mkdir(parents=True, exist_ok=True)
        found: dict[str, FileRecord] = {}
        for name, record in records.items():
            with (target / name).open("wb") as file:
                found[name] = self._stream(f"{folder}/{name}", into=file, at_most=record.bytes)
                file.flush()
                os.fsync(file.fileno())
        return found

    def check_files(self, folder: str, names: Iterable[str]) -> dict[str, FileRecord]:
        """See `Storage`."""
        return {name: self._stream(f"{folder}/{name}", into=None) for name in names}

    def names(self, folder: str) -> set[str]:
        """See `Storage`."""
        import obstore

        with self._told():
            found = obstore.list_with_delimiter(self._store, f"{folder}/" if folder else None)
        parts = [*found["common_prefixes"], *(entry["path"] for entry in found["objects"])]
        return {part.rstrip("/").rpartition("/")[2] for part in parts}

    def held(self, folder: str) -> Iterator[Held]:
        """See `Storage`."""
        import obstore

        with self._told():
            for entries in obstore.list(self._store, f"{folder}/", chunk_size=_LISTED_AT_ONCE):
                for entry in entries:
                    yield Held(entry["path"], entry["last_modified"])

    def delete(self, key: str) -> None:
        """See `Storage`."""
        import obstore

        with self._told():
            try:
                obstore.delete(self._store, key)
            except FileNotFoundError:
                return

    def local_folder(self, folder: str) -> None:
        """Its files lie elsewhere."""

    def _stream(self, key: str, *, into: BinaryIO | None, at_most: int | None = None) -> FileRecord:
        import obstore

        digest, length = hashlib.sha256(), 0
        with self._told():
            for block in obstore.get(self._store, key).stream(min_chunk_size=_BLOCK_BYTES):
                data = bytes(block)
                digest.update(data)
                length += len(data)
                if at_most is not None and length > at_most:
                    break
                if into is not None:
                    into.write(data)
        return FileRecord(sha256=digest.hexdigest(), bytes=length)

    @contextmanager
    def _told(self, *, writing: bool = False) -> Iterator[None]:
        """Leave what a caller expects as it is, and say of all else that the store cannot be used, and why."""
        import obstore

        try:
            yield
        except FileNotFoundError as error:
            if writing or "NoSuchBucket" in str(error):
                raise UnavailableError(
                    f"There is no bucket for the registry {self._place}; make it, or name another in `train.registry`."
                ) from error
            raise
        except (obstore.exceptions.BaseError, ValueError) as error:
            raise UnavailableError(
                f"The registry {self._place} cannot be used ({_cause(error)}); see that it can be reached from here "
                "and that the environment or this machine's identity may list, read and write it."
            ) from error


class _Hashed:
    """Blocks of a file, hashed as they are read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._length = 0

    def __iter__(self) -> Iterator[bytes]:
        while block := self._file.read(_BLOCK_BYTES):
            self._digest.update(block)
            self._length += len(block)
            yield block

    @property
    def record(self) -> FileRecord:
        """Hash and length of all that was read."""
        return FileRecord(sha256=self._digest.hexdigest(), bytes=self._length)


def open_store(place: ObjectPlace) -> ObjectStore:
    """The client of a place; credentials come from the process."""
    options = dict(place.bucket.options)
    if place.bucket.scheme == S3:
        return _s3(place, options)
    return _azure(place, options) if place.bucket.scheme == AZURE else _gcs(place, options)


def _s3(place: ObjectPlace, options: Mapping[str, str]) -> ObjectStore:
    """The endpoint is the URI's option, else AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, as for documents."""
    from obstore.store import S3Store

    config: S3Config = {}
    endpoint = (
        _endpoint(options, "endpoint_override")
        or os.environ.get("AWS_ENDPOINT_URL_S3")
        or os.environ.get("AWS_ENDPOINT_URL")
    )
    if endpoint:
        config["endpoint"] = endpoint
        config["virtual_hosted_style_request"] = False
    if "region" in options:
        config["region"] = options["region"]
    if _is_anonymous(options):
        config["skip_signature"] = True
    return S3Store(
        place.bucket.name,
        prefix=place.prefix or None,
        config=config,
        client_options=_client(endpoint),
        retry_config=_RETRIES,
    )


def _azure(place: ObjectPlace, options: Mapping[str, str]) -> ObjectStore:
    from obstore.store import AzureStore

    config: AzureConfig = {"account_name": place.bucket.account}
    endpoint = _endpoint(options, "blob_storage_authority")
    if endpoint:
        config["endpoint"] = f"{endpoint}/{place.bucket.account}"
    return AzureStore(
        place.bucket.name,
        prefix=place.prefix or None,
        config=config,
        client_options=_client(endpoint),
        retry_config=_RETRIES,
    )


def _gcs(place: ObjectPlace, options: Mapping[str, str]) -> ObjectStore:
    from obstore.store import GCSStore

    config: GCSConfig = {}
    endpoint = _endpoint(options, "endpoint_override")
    if endpoint:
        config["base_url"] = endpoint
    if _is_anonymous(options):
        config["skip_signature"] = True
    return GCSStore(
        place.bucket.name,
        prefix=place.prefix or None,
        config=config,
        client_options=_client(endpoint),
        retry_config=_RETRIES,
    )


def _endpoint(options: Mapping[str, str], name: str) -> str | None:
    return f"{options.get('scheme', 'https')}://{options[name]}" if name in options else None


def _is_anonymous(options: Mapping[str, str]) -> bool:
    return options.get("anonymous", "").lower() in ("1", "true", "yes")


def _client(endpoint: str | None) -> ClientConfig:
    plain = endpoint is not None and endpoint.startswith("http://")
    return {"connect_timeout": _CONNECT, "timeout": _TIMEOUT, "allow_http": plain}


def _tag(e_tag: str | None, version: str | None) -> str:
    return json.dumps([e_tag, version])


def _version(tag: str) -> UpdateVersion:
    e_tag, version = json.loads(tag)
    found: UpdateVersion = {}
    if e_tag is not None:
        found["e_tag"] = e_tag
    if version is not None:
        found["version"] = version
    return found


def _cause(error: Exception) -> str:
    """The client's first line, without what it says for its developers and without signatures."""
    first = str(error).partition("\n\nDebug source")[0]
    return _QUERY_STRING.sub("", " ".join(first.split()))[:_CAUSE_CHARS].rstrip(". ") or type(error).__name__
