"""Who changes a registry and with what, for its events and manifests."""

from __future__ import annotations

import getpass
import importlib.metadata
import os


def user_name() -> str:
    """Who runs this process, for events and manifests."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def code_version() -> str:
    """The version of Graftwork that runs."""
    try:
        return importlib.metadata.version("graftwork")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
