"""Who changes a registry, for its events and manifests."""

from __future__ import annotations

import getpass
import os


def user_name() -> str:
    """Who runs this process, for events and manifests."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
