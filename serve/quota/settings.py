"""Settings of the keys' limits."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

_SCHEMES = re.compile(r"^(rediss?|redis\+unix)://")


class QuotaSettings(BaseModel):
    """The `serve.quota` section of the settings file."""

    model_config = ConfigDict(extra="forbid")

    storage: SecretStr | None = Field(
        None, description="Redis that all replicas count in, as redis://host:6379/0; unset, each replica counts alone."
    )
    when_away: Literal["local", "refuse"] = Field(
        "local", description="While Redis is away: each replica counts alone, or requests get 503."
    )
    timeout_s: float = Field(0.25, gt=0, description="Seconds after which a call to Redis is given up.")
    retry_s: float = Field(5.0, gt=0, description="Seconds between two tries to reach a Redis that is away.")

    @field_validator("storage")
    @classmethod
    def _storage_is_redis(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _SCHEMES.match(value.get_secret_value()):
            raise ValueError("serve.quota.storage is no address of a Redis; give redis://HOST:PORT/NUMBER")
        return value
