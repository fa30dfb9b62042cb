"""What a request says of where it belongs: its model, its session, the beginning of its prompt. Pure.

The header `x-graftwork-model: NAME` names the model, `x-graftwork-model: NAME; session=KEY` the session, too: Serve has
HAProxy forward one header to the router and no more. A replica refuses a request whose body names another model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

# The one header that HAProxy forwards, by RAY_SERVE_SESSION_ID_HEADER_KEY.
MODEL_HEADER = "x-graftwork-model"
SESSION_HEADER = "x-session-id"
# Characters of a prompt that are compared. A block of vLLM's prefix cache has 16 tokens, and what is shorter than some
# of them is not worth a longer queue.
_PREFIX, _LEAST_PREFIX = 1024, 256


@dataclass(frozen=True, slots=True)
class Belonging:
    """What a request says.

    Attributes:
        model: The model's name; None where it is not known.
        session: What the client's requests have in common.
        prefix: A hash of the prompt's beginning; None for a short one.
    """

    model: str | None = None
    session: str | None = None
    prefix: str | None = None


def read_header(value: str) -> Belonging:
    """Read the value of `MODEL_HEADER`; what is not understood is left out."""
    name, *parameters = (part.strip() for part in value.split(";"))
    session = next((part[len("session=") :] for part in parameters if part.lower().startswith("session=")), None)
    return Belonging(model=name or None, session=(session or "").strip('"') or None)


def read_headers(headers: Mapping[str, str]) -> Belonging:
    """Read a request's headers, by their lower-case names."""
    found = read_header(headers.get(MODEL_HEADER, ""))
    return Belonging(model=found.model, session=found.session or headers.get(SESSION_HEADER) or None)


def read_body(body: Mapping[str, object]) -> Belonging:
    """Read a parsed request body."""
    model, user = body.get("model"), body.get("user")
    return Belonging(
        model=model if isinstance(model, str) and model else None,
        session=user if isinstance(user, str) and user else None,
        prefix=_prefix_of(body.get("messages") or body.get("prompt")),
    )


def merged(header: Belonging, body: Belonging) -> Belonging:
    """What both say together; the header goes first."""
    return Belonging(
        model=header.model or body.model, session=header.session or body.session, prefix=header.prefix or body.prefix
    )


def _prefix_of(prompt: object) -> str | None:
    texts: list[object] = prompt if isinstance(prompt, list) else [prompt] if prompt else []
    text = ""
    for each in texts:
        text += each if isinstance(each, str) else json.dumps(each, sort_keys=True)
        if len(text) >= _PREFIX:
            break
    return (
        hashlib.blake2b(text[:_PREFIX].encode(errors="replace"), digest_size=8).hexdigest()
        if (len(text) >= _LEAST_PREFIX)
        else None
    )
