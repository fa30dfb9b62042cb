"""A specialist: the model name that clients call, and what is grafted onto the base for it.

The JSON Schema of the document is published beside this file; write it anew with

    python -m serve.specialist > serve/specialist.schema.json
"""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator

from indexer.errors import InputError
from indexer.filters import BoundedFilter
from indexer.passages import MAX_NEIGHBOURS
from indexer.rerank.mixing import MAX_DEPTH, Rerank, RerankBy
from serve.conversation import MAX_TURNS

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}$"
ADAPTER_REF_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}@(stable|[1-9][0-9]{0,8})$"
MAX_PASSAGES = 100  # more than any context takes
MIN_CONTEXT_TOKENS = 64  # room for one short passage

AdapterRef = Annotated[str, Field(pattern=ADAPTER_REF_PATTERN)]


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WeightedAdapter(_Document):
    """One arm of a weighted specialist."""

    ref: AdapterRef = Field(description="Adapter version, as 'name@3' or 'name@stable'.")
    weight: int = Field(gt=0, le=1_000_000, description="Share of the traffic, relative to the other arms.")


class RerankSettings(_Document):
    """How the first passages of a ranking are ordered anew."""

    by: RerankBy = Field(
        description="'maxsim' compares words by the embedder; 'model' is the cross-encoder of indexer.reranker."
    )
    depth: int = Field(20, ge=1, le=MAX_DEPTH, description="Passages looked at again: one forward pass each.")
    weight: float = Field(
        0.5, ge=0.0, le=1.0, description="Share of the reranker in a passage's rank; the rest is the first ranking's."
    )

    @property
    def chosen(self) -> Rerank:
        """The same for the indexer."""
        return Rerank(by=self.by, depth=self.depth, weight=self.weight)


class RetrievalSettings(_Document):
    """How the specialist's collection is asked and how much of it the model sees."""

    k: int = Field(4, ge=1, le=MAX_PASSAGES, description="Passages fetched per question.")
    dense_weight: float | None = Field(
        None,
        ge=0.0,
        le=1.0,
        description="1 ranks by embeddings alone, 0 by BM25 alone, between is a weighted hybrid. Where neither weight "
        "is given, they are those kept with the collection (collections evaluate --save), else 1 and 0.",
    )
    section_weight: float | None = Field(
        None,
        ge=0.0,
        le=1.0,
        description="Share in a passage's rank of what else was found under the same headings; 0 ranks passages alone.",
    )
    rerank: RerankSettings | None = Field(None, description="How the first passages are ordered anew; null for not.")
    max_context_tokens: int = Field(
        1024,
        ge=MIN_CONTEXT_TOKENS,
        description="Tokens of passages put before the model at most; the rest is dropped and counted.",
    )
    min_score: float | None = Field(
        None, description="Passages scoring below are dropped; the scale depends on the weights, so set it by looking."
    )
    filter: BoundedFilter | None = Field(
        None, description="Passages that may be found, as conditions on their documents; null is all of the tenant's."
    )
    neighbours: int = Field(
        0,
        ge=0,
        le=MAX_NEIGHBOURS,
        description="Chunks to each side that a passage grows by; those that meet become one.",
    )
    turns: int = Field(
        1,
        ge=1,
        le=MAX_TURNS,
        description="User messages that a question may be searched for with, where it leans on those before it.",
    )
    skip_small_talk: bool = Field(False, description="Search nothing for a message such as 'Thanks!'.")
    timeout_s: float | None = Field(
        None, gt=0, description="Seconds after which a retrieval has failed; null is serve.retrieval_timeout_s."
    )
    refusal: str | None = Field(
        None,
        min_length=1,
        description="The answer where no passage is found, or none above min_score; null lets the model answer alone.",
    )
    on_failure: Literal["error", "answer"] = Field(
        "error", description="When retrieval fails: refuse the request, or answer without context and say so."
    )


class GenerationDefaults(_Document):
    """Values used where a request does not set them."""

    temperature: float | None = Field(None, ge=0.0, le=2.0, description="Sampling temperature.")
    top_p: float | None = Field(None, gt=0.0, le=1.0, description="Nucleus sampling mass.")
    max_tokens: int | None = Field(None, ge=1, description="Tokens generated at most.")
    seed: int | None = Field(None, description="Sampling seed.")
    stop: list[str] | None = Field(None, description="Strings that end the generation.")
    repetition_penalty: float | None = Field(None, gt=0.0, description="vLLM's repetition penalty.")


class Specialist(_Document):
    """Base model, optional adapter and optional collection under one name."""

    api_version: Literal["graftwork.dev/v1"] = Field(
        "graftwork.dev/v1", alias="apiVersion", description="Version of this document's form."
    )
    name: str = Field(pattern=NAME_PATTERN, description="Model name that clients call.")
    base: str = Field("base", description="Name of the base model it grafts onto, as served.")
    adapter: AdapterRef | list[WeightedAdapter] | None = Field(
        None, description="Adapter version, a weighted list of them, or none."
    )
    collection: str | None = Field(
        None, pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$", description="Alias of the collection it answers from, or none."
    )
    retrieval: RetrievalSettings = Field(default_factory=RetrievalSettings, description="How the collection is asked.")
    prompt: str | None = Field(None, description="System prompt put before the client's messages.")
    fallback: Literal["error", "base"] = Field(
        "error",
        description="When the adapter is absent or cannot be loaded: refuse, or answer with the base and say so.",
    )
    generation_defaults: GenerationDefaults = Field(
        default_factory=GenerationDefaults, description="Generation parameters a request may leave out."
    )

    @field_validator("adapter")
    @classmethod
    def _arms_are_distinct(cls, value: str | list[WeightedAdapter] | None) -> str | list[WeightedAdapter] | None:
        if isinstance(value, list):
            refs = [arm.ref for arm in value]
            if not refs:
                raise ValueError("a weighted adapter list needs at least one entry; use null for no adapter")
            if len(set(refs)) != len(refs):
                raise ValueError(f"the weighted adapter list names one version twice: {', '.join(refs)}")
        return value

    @property
    def adapter_refs(self) -> tuple[str, ...]:
        """Every adapter reference the specialist may use."""
        if self.adapter is None:
            return ()
        if isinstance(self.adapter, str):
            return (self.adapter,)
        return tuple(arm.ref for arm in self.adapter)


def parse_specialist(document: bytes, *, source: str) -> Specialist:
    """Read one specialist document.

    Args:
        document: JSON text, UTF-8.
        source: Where it came from, for the message.

    Raises:
        InputError: It is not JSON, has an unknown or missing field, or a value that does not fit.
    """
    try:
        return Specialist.model_validate_json(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "document"
        raise InputError(
            f"{source} is not a specialist: {field}: {first['msg']}; mend it and apply it again."
        ) from error


def json_schema() -> dict[str, JsonValue]:
    """The document's JSON Schema (draft 2020-12)."""
    return Specialist.model_json_schema()


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2))
