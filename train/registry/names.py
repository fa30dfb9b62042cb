"""Names of adapters and specialists, and references to adapter versions."""

from __future__ import annotations

import re
from dataclasses import dataclass

from indexer.errors import InputError

NAME_PATTERN = r"[a-z0-9][a-z0-9._-]{0,62}"
_NAME = re.compile(NAME_PATTERN)
VERSION = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
STABLE = "stable"


@dataclass(frozen=True, slots=True)
class AdapterRef:
    """What "name@3", "name@stable" or "name" says.

    Attributes:
        name: The adapter's name.
        version: The version, or None for whichever is stable.
    """

    name: str
    version: int | None

    def __str__(self) -> str:
        """Write the reference out in full."""
        return f"{self.name}@{STABLE if self.version is None else self.version}"


def is_name(name: str) -> bool:
    """Whether an adapter or specialist may have this name."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str, *, what: str = "adapter") -> str:
    """Return the name if it may be one.

    Raises:
        InputError: It is not 1 to 63 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit.
    """
    if not is_name(name):
        raise InputError(
            f"{name!r} cannot name {'an' if what[0] in 'aeiou' else 'a'} {what}; "
            "use 1 to 63 lower-case letters, digits, '.', '_', '-', beginning with a letter or digit."
        )
    return name


def parse_ref(ref: str) -> AdapterRef:
    """Read "name@3", "name@stable" or "name" (which means stable).

    Raises:
        InputError: The text is no such reference.
    """
    name, separator, version = ref.partition("@")
    check_name(name)
    if not separator or version == STABLE:
        return AdapterRef(name, None)
    if not VERSION.fullmatch(version):
        raise InputError(f"{ref!r} names no version {version!r}; write {name}@1 for a number, or {name}@stable.")
    return AdapterRef(name, int(version))
