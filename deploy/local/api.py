"""How our own commands reach the app: with the operator's key, where the app asks for keys."""

from __future__ import annotations

import os
import time

import httpx

KEY_VARIABLE = "GRAFTWORK_API_KEY"
# What a client sends that has no key; an app that asks for none does not look at it.
NO_KEY = "none"
_POLL_S = 0.1
_LIMIT_S = 10.0


def api_key() -> str:
    """The key in GRAFTWORK_API_KEY, or a word that is none."""
    return os.environ.get(KEY_VARIABLE) or NO_KEY


def key_header() -> dict[str, str]:
    """The header that carries it."""
    return {"Authorization": f"Bearer {api_key()}"}


def served_revision(url: str) -> int | None:
    """Revision of the registry that an app serves; None where it is not ready.

    Args:
        url: Root of the server.
    """
    try:
        answer = httpx.get(f"{url}/readyz", timeout=_LIMIT_S, trust_env=False)
        return int(answer.json()["revision"]) if answer.is_success else None
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return None


def wait_for_revision(url: str, revision: int, *, limit_s: float) -> bool:
    """Wait until an app serves a revision of the registry, or a later one; False where it did not in time.

    Behind several replicas it is the one that answers last that counts; the others follow within their poll interval.

    Args:
        url: Root of the server.
        revision: The revision.
        limit_s: Seconds to wait at most.
    """
    deadline = time.monotonic() + limit_s
    while (served := served_revision(url)) is None or served < revision:
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True
