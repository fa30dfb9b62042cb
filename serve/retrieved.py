"""The answer of POST /v1/retrieve: the server writes it, the command line reads it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Literal

from pydantic import BaseModel, JsonValue, field_serializer

from indexer.passages import Passage


class Retrieved(BaseModel):
    """Passages for one question, and where they come from.

    In JSON every passage is an object of its own with its `index`, and scores have six decimals.

    Attributes:
        object: What this is, in OpenAI's words.
        model: The specialist whose collection was asked.
        collection: The alias that was asked.
        generation: Number of the physical collection that answered.
        data: Passages, best first.
        timings: Milliseconds per stage, by `embed_ms`, `search_ms` and the like.
    """

    object: Literal["list"] = "list"
    model: str
    collection: str
    generation: int
    data: tuple[Passage, ...]
    timings: dict[str, float]

    @field_serializer("data")
    def _as_objects(self, data: tuple[Passage, ...]) -> list[dict[str, JsonValue]]:
        return [
            {"object": "passage", "index": number, **asdict(passage), "score": round(passage.score, 6)}
            for number, passage in enumerate(data)
        ]
