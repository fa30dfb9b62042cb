"""Object stores through pyarrow: one filesystem per bucket in each process, and errors that tell the cause.

Credentials are those of the process: environment, profile files or the machine's own identity, in the order of each
cloud's SDK (https://arrow.apache.org/docs/python/filesystems.html). They are neither passed on nor shown.
"""

from __future__ import annotations

import errno
import io
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import BinaryIO, cast
from urllib.parse import urlsplit

from pyarrow import fs

from indexer.errors import NotFoundError, UnavailableError
from indexer.sources.uris import AZURE, S3, Bucket, file_path, is_file_uri, parse_object

_BUFFER_BYTES = 4 << 20  # per open object: JSON lines are read line by line, and every read is a request
_RETRY = timedelta(seconds=15)  # Google's client alone would retry for 15 minutes
_CAUSE_CHARS = 400  # of an answer that may be a page long
_QUERY_STRING = re.compile(r"\?[^\s'\"]+")  # may hold a signature


def open_source(uri: str) -> BinaryIO:
    """Open a file or an object to be read from its start; it can be sought in.

    Raises:
        OSError: It is not there or cannot be read, others of its store can.
        UnavailableError: The store cannot be reached.
    """
    if is_file_uri(uri):
        return file_path(uri).open("rb")
    bucket, key = parse_object(uri)
    return cast(BinaryIO, io.BufferedReader(_Reader(bucket, key), _BUFFER_BYTES))


def read_head(bucket: Bucket, key: str, size: int) -> bytes:
    """Return the first bytes of an object, at most `size`; no more than that is fetched.

    Raises:
        OSError: It is not there or cannot be read, others of its store can.
        UnavailableError: The store cannot be reached.
    """
    with _Reader(bucket, key) as reader:
        return reader.read(size) or b""


def list_below(bucket: Bucket, key: str) -> list[fs.FileInfo]:
    """Return all objects below a prefix, by key; what only marks a folder is left out.

    Raises:
        UnavailableError: The store cannot be reached or does not let its objects be listed.
    """
    with translated(bucket):
        selector = fs.FileSelector(_path(bucket, key), recursive=True, allow_not_found=True)
        found = filesystem(bucket).get_file_info(selector)
    return sorted((info for info in found if info.type == fs.FileType.File), key=lambda info: str(info.path))


def look_at(bucket: Bucket, keys: Sequence[str]) -> list[fs.FileInfo]:
    """Return what stands at each key: an object, a prefix of others (a directory) or nothing.

    Raises:
        NotFoundError: There is no such bucket.
        UnavailableError: The store cannot be reached or refuses the question.
    """
    with translated(bucket):
        opened = filesystem(bucket)
        [itself] = opened.get_file_info([bucket.name])
        if itself.type == fs.FileType.NotFound:
            raise NotFoundError(f"{bucket.uri()} does not exist; see its name and the server that is asked.")
        return list(opened.get_file_info([_path(bucket, key) for key in keys]))


def same_object(one: str, other: str) -> bool:
    """Tell whether two URIs name one object, such as with and without the address that the environment gives too."""
    (bucket, key), (other_bucket, other_key) = parse_object(one), parse_object(other)
    if (bucket.name, key) != (other_bucket.name, other_key):
        return False
    return bool(filesystem(bucket).equals(filesystem(other_bucket)))


@contextmanager
def translated(bucket: Bucket) -> Iterator[None]:
    """Turn an error of the store into one that tells what to do.

    Raises:
        UnavailableError: The block failed.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        raise UnavailableError(
            f"{bucket.uri()} cannot be used from {os.uname().nodename} ({cause(error)}); see that it can be reached "
            "from there and that a profile there or the environment (of a worker that of `graftwork up`) "
            "holds credentials that may list and read it."
        ) from error


def cause(error: Exception) -> str:
    """Return the store's own words in one short line, without addresses' query strings."""
    return _QUERY_STRING.sub("", " ".join(str(error).split()))[:_CAUSE_CHARS].rstrip(". ") or type(error).__name__


@lru_cache(maxsize=64)
def filesystem(bucket: Bucket) -> fs.FileSystem:
    """Return the filesystem of a bucket, made once per process.

    Raises:
        OSError: Its region cannot be found, or an option is impossible.
    """
    options = dict(bucket.options)
    anonymous = options.pop("anonymous", "").lower() in ("1", "true", "yes")
    if bucket.scheme == S3:
        return _s3(bucket.name, options, anonymous=anonymous)
    if bucket.scheme == AZURE:
        return _azure(bucket.account, options)
    return fs.GcsFileSystem(anonymous=anonymous, retry_time_limit=_RETRY, **options)


def _s3(name: str, options: dict[str, str], *, anonymous: bool) -> fs.FileSystem:
    environment = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if "endpoint_override" not in options and environment:
        address = urlsplit(environment)
        options |= {"endpoint_override": address.netloc, "scheme": address.scheme}
    elif "endpoint_override" not in options and "region" not in options:
        options["region"] = fs.resolve_s3_region(name)
    return fs.S3FileSystem(anonymous=anonymous, allow_delayed_open=True, **options)  # what is small is one request


def _azure(account: str, options: dict[str, str]) -> fs.FileSystem:
    if scheme := options.pop("scheme", None):
        options |= {"blob_storage_scheme": scheme, "dfs_storage_scheme": scheme}
    return fs.AzureFileSystem(
        account,
        account_key=os.environ.get("AZURE_STORAGE_KEY") or os.environ.get("AZURE_STORAGE_ACCOUNT_KEY"),
        sas_token=os.environ.get("AZURE_STORAGE_SAS_TOKEN"),
        **options,
    )


def _path(bucket: Bucket, key: str) -> str:
    return f"{bucket.name}/{key}" if key else bucket.name


class _Reader(io.RawIOBase):
    """An object's bytes; an error of one object stays an OSError, one of its store is unavailability."""

    def __init__(self, bucket: Bucket, key: str) -> None:
        super().__init__()
        self._bucket = bucket
        with self._told():
            self._file = filesystem(bucket).open_input_file(_path(bucket, key))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        with self._told():
            return int(self._file.readinto(buffer))

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from error
        except (OSError, ValueError) as error:
            look_at(self._bucket, [])
            raise OSError(cause(error)) from error
