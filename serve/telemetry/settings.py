"""Settings of metrics, traces and logs."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class TelemetrySettings(BaseModel):
    """The `serve.telemetry` section of the settings file."""

    model_config = ConfigDict(extra="forbid")

    otlp_endpoint: str | None = Field(
        None,
        pattern=r"^https?://\S+$",
        description="Where spans are sent by OTLP over HTTP, such as http://127.0.0.1:4318; none makes no spans.",
    )
    log_format: Literal["text", "json"] = Field(
        "text", description="Format of Serve's logs: lines of text, or one JSON object to a line with the request's id."
    )
    max_label_values: int = Field(
        100,
        ge=1,
        description="Models, tenants, and pairs of a model and its adapter that have labels; further ones are 'other'.",
    )
