"""Objects of a store as sources: the bucket is the root of ids, an object's key its path below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from pathspec import GitIgnoreSpec
from pyarrow import fs

from indexer.errors import NotFoundError
from indexer.sources.found import Found
from indexer.sources.media import SNIFF_BYTES, detect
from indexer.sources.patterns import make_spec
from indexer.sources.stores import cause, list_below, look_at, read_head
from indexer.sources.uris import Bucket, BucketPlace, can_be_opened

_THREADS = 32  # they wait for the store


def take_objects(bucket: Bucket, places: Sequence[BucketPlace], found: Found) -> None:
    """Take the objects that are named, and what is wanted below prefixes.

    Raises:
        NotFoundError: No such bucket, or nothing at a key.
        InputError: Another root has the bucket's name.
        UnavailableError: The store cannot be reached or refuses.
    """
    found.enter(bucket.name, bucket.uri())
    sizes: dict[str, int] = {}
    named: set[str] = set()
    for place, there in zip(places, look_at(bucket, [place.key for place in places]), strict=True):
        if there.type == fs.FileType.File and not place.folder and place.pattern is None:
            if _wanted(found, bucket, place.key, below=place.key.rpartition("/")[0], glob=None):
                sizes[place.key] = there.size
                named.add(place.key)
        else:
            sizes |= _below(found, bucket, place, is_there=there.type == fs.FileType.Directory)
    _take_all(found, bucket, sizes=sizes, named=named)


def _below(found: Found, bucket: Bucket, place: BucketPlace, *, is_there: bool) -> dict[str, int]:
    """Return the sizes of the wanted objects below a prefix, by key."""
    glob = make_spec([place.pattern]) if place.pattern else None
    sizes: dict[str, int] = {}
    for info in list_below(bucket, place.key):
        is_there, key = True, str(info.path).removeprefix(f"{bucket.name}/")
        if not can_be_opened(key):
            reason = "its key has an empty, `.` or `..` part, which cannot be asked for; rename it"
            found.fail(bucket.uri(key), source_id=f"{bucket.name}/{key}", reason=reason)
        elif any(part.startswith(".") for part in key.removeprefix(place.key).split("/")):
            _leave_out(found, bucket, key, reason="hidden")
        elif _wanted(found, bucket, key, below=place.key, glob=glob):
            sizes[key] = info.size
    if not is_there:
        raise NotFoundError(f"{bucket.uri(place.key)} does not exist.")
    found.folders[f"{bucket.name}/{place.key}".rstrip("/")] = None
    return sizes


def _wanted(found: Found, bucket: Bucket, key: str, *, below: str, glob: GitIgnoreSpec | None) -> bool:
    if found.patterns.wants(key.removeprefix(below).lstrip("/"), glob=glob):
        return True
    _leave_out(found, bucket, key, reason="excluded")
    return False


def _leave_out(found: Found, bucket: Bucket, key: str, *, reason: str) -> None:
    found.skipped[reason] += 1
    found.left_out.add(bucket.uri(key))


def _take_all(found: Found, bucket: Bucket, *, sizes: Mapping[str, int], named: set[str]) -> None:
    """Look at the heads of objects whose names promise a format, and take what a parser reads."""
    told = [key for key in sizes if key in named or detect(key.rpartition("/")[2], b"") is not None]
    for key in sizes.keys() - set(told):
        _leave_out(found, bucket, key, reason="unsupported")
    with ThreadPoolExecutor(_THREADS) as pool:
        heads = pool.map(lambda key: _head(bucket, key), told)
        for key, head in zip(told, heads, strict=True):
            uri, source_id = bucket.uri(key), f"{bucket.name}/{key}"
            if isinstance(head, OSError):
                found.fail(uri, source_id=source_id, reason=f"the object cannot be read: {cause(head)}")
                continue
            found.take(uri, source_id=source_id, head=head, size=sizes[key], named=key in named)
            if uri not in found.files:
                found.left_out.add(uri)


def _head(bucket: Bucket, key: str) -> bytes | OSError:
    try:
        return read_head(bucket, key, SNIFF_BYTES)
    except OSError as error:
        return error
