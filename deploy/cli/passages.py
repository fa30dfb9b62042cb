"""Passages from the running app: POST /v1/retrieve."""

from __future__ import annotations

from collections.abc import Mapping

import httpx
import openai
from openai import OpenAI
from pydantic import JsonValue, ValidationError

from deploy.cli.conversation import REQUEST_TIMEOUT_S, translate
from deploy.local.api import api_key
from indexer.errors import UnavailableError
from indexer.passages import SearchResult
from serve.retrieved import Retrieved


def retrieve(url: str, *, specialist: str, query: str, changes: Mapping[str, JsonValue]) -> SearchResult:
    """Ask a specialist's collection through the app.

    Args:
        url: The OpenAI endpoint, ending in /v1.
        specialist: Model name.
        query: The question.
        changes: What to change of the specialist's retrieval, as in the field `graftwork`.

    Raises:
        NotFoundError: No such specialist.
        InputError: The server refuses the request, such as one for a specialist without a collection.
        UnavailableError: The server cannot be reached, or its answer is none.
    """
    body = {"model": specialist, "query": query, "graftwork": dict(changes) or None}
    try:
        with OpenAI(base_url=url, api_key=api_key(), max_retries=0, timeout=REQUEST_TIMEOUT_S) as client:
            response = client.post("/retrieve", body=body, cast_to=httpx.Response)
        found = Retrieved.model_validate_json(response.content)
    except openai.OpenAIError as error:
        raise translate(error, url=url) from error
    except ValidationError as error:
        raise UnavailableError(f"{url}/retrieve gave no passages: {error.errors()[0]['msg']}.") from error
    return SearchResult(
        passages=found.data,
        collection=found.collection,
        generation=found.generation,
        embed_ms=found.timings.get("embed_ms", 0.0),
        search_ms=found.timings.get("search_ms", 0.0),
        rerank_ms=found.timings.get("rerank_ms", 0.0),
    )
