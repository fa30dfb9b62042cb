"""What POST /v1/embeddings takes and gives, after OpenAI's reference."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from indexer.errors import InputError

# As many as OpenAI takes in one request.
MAX_INPUTS = 2_048


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """Texts to embed.

    Attributes:
        texts: At least one.
        query: Whether they are searched for; else they are documents.
    """

    texts: tuple[str, ...]
    query: bool


@dataclass(frozen=True, slots=True)
class Embedded:
    """The vectors of one request.

    Attributes:
        vectors: Unit vectors of shape [texts, dimension].
        tokens: Tokens that the model read.
    """

    vectors: NDArray[np.float32]
    tokens: int


def parse_request(body: dict[str, JsonValue]) -> EmbeddingRequest:
    """Read a request's body.

    Raises:
        InputError: The input is not text, or there is none or too much of it, or a field has a value that is not taken.
    """
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise InputError("The field 'input' is not a text or a list of texts; send a string or a list of strings.")
    if len(texts) > MAX_INPUTS:
        raise InputError(f"The field 'input' has {len(texts)} texts; send {MAX_INPUTS} at most.")
    kind = body.get("input_type", "document")
    if kind not in ("document", "passage", "query"):
        raise InputError(f"The field 'input_type' is {kind!r}; it is 'document' or 'query'.")
    encoding_of(body)
    dimensions = body.get("dimensions")
    if dimensions is not None and (not isinstance(dimensions, int) or isinstance(dimensions, bool)):
        raise InputError(f"The field 'dimensions' is {dimensions!r}; leave it out.")
    return EmbeddingRequest(texts=tuple(str(text) for text in texts), query=kind == "query")


def encoding_of(body: dict[str, JsonValue]) -> Literal["float", "base64"]:
    """How the vectors are written.

    Raises:
        InputError: It is neither as numbers nor in base64.
    """
    match body.get("encoding_format", "float"):
        case "float" | None:
            return "float"
        case "base64":
            return "base64"
        case other:
            raise InputError(f"The field 'encoding_format' is {other!r}; it is 'float' or 'base64'.")


def too_long(counts: Sequence[int], *, limit: int) -> InputError | None:
    """What is wrong with texts of so many tokens each, where the embedder reads `limit`; None where nothing is."""
    for position, count in enumerate(counts):
        if count > limit:
            return InputError(
                f"Text {position} of the field 'input' has {count} tokens, the embedder reads {limit}; cut it."
            )
    return None


def answer(
    embedded: Embedded, *, model: str, encoding: Literal["float", "base64"], dimensions: JsonValue
) -> dict[str, JsonValue]:
    """The response's body.

    Raises:
        InputError: Other dimensions were asked for than the embedder has.
    """
    has = embedded.vectors.shape[1]
    if dimensions is not None and dimensions != has:
        raise InputError(f"The field 'dimensions' is {dimensions}, but '{model}' has {has}; leave it out.")
    data: list[JsonValue] = [
        {"object": "embedding", "index": index, "embedding": _written(vector, encoding)}
        for index, vector in enumerate(embedded.vectors)
    ]
    usage: dict[str, JsonValue] = {"prompt_tokens": embedded.tokens, "total_tokens": embedded.tokens}
    return {"object": "list", "model": model, "data": data, "usage": usage}


def _written(vector: NDArray[np.float32], encoding: Literal["float", "base64"]) -> JsonValue:
    if encoding == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    numbers: list[JsonValue] = [*vector.tolist()]
    return numbers
