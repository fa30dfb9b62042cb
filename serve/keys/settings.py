"""Settings of the API keys."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class KeysSettings(BaseModel):
    """The `serve.keys` section of the settings file."""

    model_config = ConfigDict(extra="forbid")

    file: Path | None = Field(
        None,
        description="File with the hashes of the API keys, on every node that serves; without one, no key is asked for "
        "and every request is the default tenant's.",
    )
    poll_interval_s: float = Field(1.0, gt=0, description="Seconds between two looks at the key file.")
