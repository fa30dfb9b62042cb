"""What one request changes of a specialist's retrieval: the field `graftwork` of its body, checked and limited."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, ValidationError

from indexer.errors import InputError
from indexer.filters import BoundedFilter, joined
from indexer.passages import MAX_NEIGHBOURS
from serve.specialist import MAX_PASSAGES, MIN_CONTEXT_TOKENS, RerankSettings, RetrievalSettings

FIELD = "graftwork"
Query = Annotated[str, StringConstraints(strict=True, strip_whitespace=True, min_length=1, max_length=8192)]
Passages = Annotated[int, Field(strict=True, ge=1, le=MAX_PASSAGES)]
Neighbours = Annotated[int, Field(strict=True, ge=0, le=MAX_NEIGHBOURS)]
Share = Annotated[float, Field(strict=True, ge=0.0, le=1.0)]
Tokens = Annotated[int, Field(strict=True, ge=MIN_CONTEXT_TOKENS)]
Score = Annotated[float, Field(strict=True, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class RetrievalPlan:
    """How one request asks its specialist's collection.

    Attributes:
        settings: The specialist's, with what the request has in their place.
        wanted: Whether the collection is asked at all.
        query: What is searched for in place of the last user message; None is that message.
    """

    settings: RetrievalSettings
    wanted: bool = True
    query: str | None = None


class RetrievalOverrides(BaseModel):
    """The field's content; what is left out stays as the specialist has it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    retrieve: bool = Field(True, strict=True, description="Whether the collection is asked at all.")
    query: Query | None = Field(None, description="What is searched for in place of the last user message.")
    k: Passages | None = Field(None, description="Passages fetched.")
    dense_weight: Share | None = Field(None, description="1 embeddings alone, 0 BM25 alone.")
    section_weight: Share | None = Field(None, description="Share of a passage's section in its rank.")
    rerank: RerankSettings | None = Field(None, description="How the first passages are ordered anew; null for not.")
    max_context_tokens: Tokens | None = Field(None, description="Tokens of passages before the model at most.")
    min_score: Score | None = Field(None, description="Passages scoring below are dropped; null drops none.")
    neighbours: Neighbours | None = Field(None, description="Chunks to each side that a passage grows by.")
    filter: BoundedFilter | None = Field(
        None, description="Passages that may be found, of those that the specialist's own filter allows."
    )

    def plan(self, settings: RetrievalSettings) -> RetrievalPlan:
        """What becomes of a specialist's settings; a filter only narrows the specialist's own."""
        nullable = {"rerank", "min_score"}
        given = {
            name: value
            for name in self.model_fields_set & RetrievalSettings.model_fields.keys()
            if (value := getattr(self, name)) is not None or name in nullable
        }
        changed = settings.model_copy(update={**given, "filter": joined(settings.filter, self.filter)})
        return RetrievalPlan(settings=changed, wanted=self.retrieve, query=self.query)


def parse_overrides(given: JsonValue, *, max_passages: int | None) -> RetrievalOverrides:
    """Read the field.

    Args:
        given: Its content.
        max_passages: Passages that the sender's key may ask for; 0 lets it change nothing, None is no limit.

    Raises:
        InputError: It has an unknown field or a value that does not fit, or asks for more than the key may.
    """
    if max_passages == 0:
        raise InputError(f"The key may change nothing of a model's retrieval; leave the field '{FIELD}' out.")
    try:
        overrides = RetrievalOverrides.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in (FIELD, *first["loc"]))
        raise InputError(f"The field '{where}' does not fit: {first['msg'].removeprefix('Value error, ')}.") from error
    if max_passages is not None and (overrides.k or 0) > max_passages:
        raise InputError(f"The field '{FIELD}.k' is {overrides.k}, the key may ask for {max_passages} passages.")
    return overrides
