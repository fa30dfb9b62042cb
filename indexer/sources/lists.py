"""Lists of sources: text files with one path or URI per line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from indexer.errors import InputError, NotFoundError, system_cause

STANDARD_INPUT = "-"


def read_lists(lists: Sequence[str]) -> list[str]:
    """Return the sources in lists, in their order.

    One path or URI per line, relative paths to the working folder; blank lines and lines that begin with `#` are passed
    over (`./#name` is a file of such a name).

    Args:
        lists: Paths of lists; `-` is standard input.

    Raises:
        NotFoundError: There is no such list.
        InputError: It cannot be read, or names nothing.
    """
    found: list[str] = []
    for name in lists:
        lines = [
            os.fsdecode(line.strip(b"\r\t ")) for line in _content(name).removeprefix(b"\xef\xbb\xbf").split(b"\n")
        ]
        entries = [line for line in lines if line and not line.startswith("#")]
        if not entries:
            raise InputError(f"The list {name} names nothing to index; write one path or URI per line.")
        found += entries
    return found


def _content(name: str) -> bytes:
    if name == STANDARD_INPUT:
        return sys.stdin.buffer.read()
    try:
        with open(os.path.expanduser(name), "rb") as stream:
            return stream.read()
    except FileNotFoundError as error:
        raise NotFoundError(f"The list {name} does not exist.") from error
    except OSError as error:
        raise InputError(f"The list {name} cannot be read: {system_cause(error)}.") from error
