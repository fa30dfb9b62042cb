"""Where a registry lies: a folder, or a prefix of a bucket. Read from text once, typed from then on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator, PlainSerializer

from indexer.errors import InputError
from indexer.sources import uris

SCHEMES = ("s3", "gs", "az", "abfs")


@dataclass(frozen=True, slots=True)
class ObjectPlace:
    """A prefix of a bucket.

    Attributes:
        bucket: The bucket and how its server is reached; no secrets are among it.
        prefix: Prefix of every key, without slashes at its ends; empty for the whole bucket.
    """

    bucket: uris.Bucket
    prefix: str

    def __str__(self) -> str:
        """The URI, as it may stand in settings and messages."""
        return self.bucket.uri(self.prefix)


Place: TypeAlias = Path | ObjectPlace


def place_of(place: Place, key: str) -> str:
    """Path or URI of what lies below a place at a key, for messages."""
    if isinstance(place, Path):
        return str(place / key)
    return place.bucket.uri(f"{place.prefix}/{key}" if place.prefix else key)


def parse_place(given: object) -> Place:
    """Read a place: a path, or a URI such as s3://bucket/prefix, gs://bucket/prefix or az://container/prefix.

    Raises:
        InputError: An unknown scheme or option, a credential or a wildcard in the URI, or no bucket.
    """
    if isinstance(given, ObjectPlace):
        return given
    if isinstance(given, Path):
        return given.expanduser()
    if not isinstance(given, str) or not given:
        raise InputError(f"{given!r} is no place of a registry; name a folder, or a URI such as s3://bucket/prefix.")
    if "://" not in given:
        return Path(given).expanduser()
    scheme = given.partition("://")[0].lower()
    if scheme not in SCHEMES:
        raise InputError(
            f"A registry cannot lie at {scheme}://; name a folder, or a URI with one of "
            f"{', '.join(f'{known}://' for known in SCHEMES)}."
        )
    place = uris.parse_place(given, azure_account=os.environ.get("AZURE_STORAGE_ACCOUNT"))
    if not isinstance(place, uris.BucketPlace) or place.pattern is not None:
        raise InputError(f"{given} has a wildcard; name one bucket and prefix for the registry.")
    return ObjectPlace(place.bucket, place.key)


def _validated(given: object) -> Place:
    try:
        return parse_place(given)
    except InputError as error:
        raise ValueError(str(error).rstrip(".")) from None


# The type of a setting: takes text, a path or a place, is written as text.
RegistryPlace = Annotated[
    Path | ObjectPlace, BeforeValidator(_validated), PlainSerializer(str, return_type=str, when_used="json")
]
