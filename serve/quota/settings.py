"""Settings of the keys' limits."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator


class QuotaSettings(BaseModel):
    """The `serve.quota` section of the settings file."""

    model_config = ConfigDict(extra="forbid")

    storage: SecretStr | None = Field(
        None, description="Redis that all replicas count in, as redis://host:6379/0; unset, each replica counts alone."
    )
    when_away: Literal["local", "refuse"] = Field(
        "local", description="While Redis is away: each replica counts alone, or requests get 503."
    )
    timeout_s: float = Field(
        1.0, gt=0, description="Seconds after which a call to Redis is given up; a late event loop's own do not count."
    )
    retry_s: float = Field(5.0, gt=0, description="Seconds between two tries to reach a Redis that is away.")

    @field_validator("storage")
    @classmethod
    def _storageis_redis(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not is_redis(value.get_secret_value()):
            raise ValueError("serve.quota.storage is no address of a Redis; give redis://HOST:PORT/NUMBER")
        return value


def is_redis(uri: str) -> bool:
    """Whether redis-py would take an address; it is asked itself, as parts of what it refuses may be a password."""
    from redis.connection import parse_url  # here, as most who read settings name no Redis

    try:
        parse_url(uri)  # type: ignore[no-untyped-call]
        parts = urlsplit(uri)
    except ValueError:
        return False
    return parts.scheme in ("redis", "rediss") and bool(parts.hostname) and _is_number(parts.path.strip("/"))


def _is_number(text: str) -> bool:
    return not text or (text.isascii() and text.isdigit())
