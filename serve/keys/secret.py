"""Tokens: how a key looks to its owner, and what is kept of it.

A token is `gw-<id>-<secret>`. The id is public and names the key in lists and logs. Of the secret only its SHA-256 is
kept. A plain fast hash is right here: a slow, salted one protects what people choose, by making each guess dear. The
secret is 32 random bytes, 256 bits: nobody can guess it, no table holds it, and every request can afford the check.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Container
from dataclasses import dataclass, field

PREFIX = "gw"
SECRET_BYTES = 32
# Letters and digits that are not mistaken for each other; 31 ** 8 is 8.5e11.
_ID_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
_ID_LENGTH = 8
ID_PATTERN = "[a-z0-9]{1,32}"
# 43 is the length of 32 bytes in URL-safe base64. What is shorter is never accepted, so that the hash of a password
# that someone wrote into the file by hand opens nothing.
_TOKEN = re.compile(rf"{PREFIX}-(?P<id>{ID_PATTERN})-(?P<secret>[A-Za-z0-9_-]{{43,128}})")
_SECRET_LIKE = re.compile(r"[A-Za-z0-9_-]{43,}")


@dataclass(frozen=True, slots=True)
class Token:
    """A token in its parts; what it prints as holds no secret."""

    key_id: str
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        """The token as its owner sends it."""
        return f"{PREFIX}-{self.key_id}-{self.secret}"


def new_token(*, taken: Container[str] = ()) -> Token:
    """Make a token from the system's randomness, with an id that is not taken."""
    while True:
        key_id = "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_LENGTH))
        if key_id not in taken:
            return Token(key_id, secrets.token_urlsafe(SECRET_BYTES))


def parse_token(text: str) -> Token | None:
    """The parts of a token, or None where the text has another form."""
    match = _TOKEN.fullmatch(text)
    return Token(match["id"], match["secret"]) if match else None


def hash_secret(secret: str) -> bytes:
    """The SHA-256 of a secret."""
    return hashlib.sha256(secret.encode()).digest()


def without_secrets(text: str) -> str:
    """The text with everything masked that could be a secret or its hash."""
    return _SECRET_LIKE.sub("**********", text)
