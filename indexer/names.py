"""Collection names: the alias that callers use and the numbered physical collection behind it."""

from __future__ import annotations

import re

from indexer.errors import InputError

_ALIAS = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")  # Milvus allows 255; the rest is left for the suffix
_PHYSICAL = re.compile(r"(?P<alias>.+)__g(?P<generation>[1-9][0-9]*)")


def check_alias(name: str) -> str:
    """Return `name` if it can be a collection's alias.

    Raises:
        InputError: Characters Milvus refuses, or the form of a physical name.
    """
    if not _ALIAS.fullmatch(name):
        raise InputError(
            f"Collection name {name!r} cannot be used: it takes letters, digits and underscores, does not start with "
            "a digit, and has at most 200 characters."
        )
    if _PHYSICAL.fullmatch(name):
        raise InputError(f"Collection name {name!r} has the form of a physical collection; leave out the `__g` suffix.")
    return name


def physical_name(alias: str, generation: int) -> str:
    """Return the physical collection's name, `handbook__g1` for generation 1 of `handbook`."""
    return f"{alias}__g{generation}"


def split_physical(name: str) -> tuple[str, int] | None:
    """Return alias and generation of a physical name, or None if it has another form."""
    match = _PHYSICAL.fullmatch(name)
    return (match["alias"], int(match["generation"])) if match else None


def generation_number(name: str) -> int:
    """Return the number in `g7` or `7`.

    Raises:
        InputError: It has another form.
    """
    digits = name.removeprefix("g")
    if not (digits.isascii() and digits.isdigit() and int(digits) > 0):
        raise InputError(f"{name!r} is no generation; give its number, such as g2.")
    return int(digits)
