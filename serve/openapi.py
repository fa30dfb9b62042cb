"""The gateway's OpenAPI document, made from the table of routes.

It is published beside this file; write it anew with

    python -m serve.openapi > serve/openapi.json

Requests are described by the fields that the gateway itself reads and those that everybody uses; vLLM takes more.
"""

from __future__ import annotations

import json

from pydantic import JsonValue

from indexer.passages import MAX_NEIGHBOURS
from serve.overrides import FIELD
from serve.routes import ADMIN_EVENTS, ROUTES, Route
from serve.specialist import MAX_PASSAGES, MIN_CONTEXT_TOKENS

Schema = dict[str, JsonValue]

_TEXT: Schema = {"type": "string", "minLength": 1}
_COUNT: Schema = {"type": "integer", "minimum": 1}
_MESSAGE: Schema = {
    "type": "object",
    "required": ["role", "content"],
    "properties": {
        "role": {"enum": ["system", "user", "assistant"]},
        "content": {"type": "string"},
    },
}
_SAMPLING: Schema = {
    "stream": {"type": "boolean"},
    "temperature": {"type": "number", "minimum": 0, "maximum": 2},
    "top_p": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
}
_SEEDED: Schema = {
    **_SAMPLING,
    "n": {"type": "integer", "minimum": 1, "maximum": 8},
    "seed": {"type": "integer"},
    "stop": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "maxItems": 4}]},
    "user": {"type": "string"},
    "stream_options": {
        "type": "object",
        "properties": {"include_usage": {"type": "boolean"}},
        "description": "Only where `stream` is true.",
    },
}
_OVERRIDES: Schema = {
    "type": "object",
    "description": "What to change of a specialist's retrieval for this request; only where it has a collection.",
    "properties": {
        "retrieve": {"type": "boolean"},
        "query": _TEXT,
        "k": {"type": "integer", "minimum": 1, "maximum": MAX_PASSAGES},
        "dense_weight": {"type": "number", "minimum": 0, "maximum": 1},
        "section_weight": {"type": "number", "minimum": 0, "maximum": 1},
        "rerank": {"type": ["object", "null"]},
        "max_context_tokens": {"type": "integer", "minimum": MIN_CONTEXT_TOKENS},
        "min_score": {"type": ["number", "null"]},
        "neighbours": {"type": "integer", "minimum": 0, "maximum": MAX_NEIGHBOURS},
        "filter": {"type": "object", "description": "Conditions on documents, see the README."},
    },
    "additionalProperties": False,
}
_BODIES: dict[str, tuple[list[str], Schema]] = {
    "chat": (
        ["messages"],
        {
            "messages": {"type": "array", "items": _MESSAGE, "minItems": 1},
            "max_completion_tokens": _COUNT,
            "max_tokens": _COUNT,
            "response_format": {"type": "object", "description": "A JSON Schema that the answer keeps to."},
            "tools": {"type": "array", "items": {"type": "object"}},
            "logprobs": {"type": "boolean"},
            FIELD: _OVERRIDES,
            **_SEEDED,
        },
    ),
    "completions": (
        ["prompt"],
        {
            "prompt": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}]},
            "max_tokens": _COUNT,
            **_SEEDED,
        },
    ),
    "responses": (
        ["input"],
        {"input": _TEXT, "instructions": {"type": "string"}, "max_output_tokens": _COUNT, **_SAMPLING},
    ),
    "messages": (
        ["messages", "max_tokens"],
        {
            "messages": {"type": "array", "items": _MESSAGE, "minItems": 1},
            "system": {"type": "string"},
            "max_tokens": _COUNT,
            **_SAMPLING,
        },
    ),
    "embeddings": (
        ["input"],
        {
            "input": {"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "minItems": 1}]},
            "input_type": {"enum": ["document", "query"]},
            "encoding_format": {"enum": ["float", "base64"]},
        },
    ),
    "retrieve": (["query"], {"query": _TEXT, FIELD: _OVERRIDES}),
    "tokenize": (["prompt"], {"prompt": {"type": "string"}}),
    "detokenize": (["tokens"], {"tokens": {"type": "array", "items": {"type": "integer", "minimum": 0}}}),
}
_VERSION: Schema = {
    "adapter": {"type": "string", "minLength": 1, "description": "Name and number of a version, such as name@3."}
}
_ADMIN_BODIES: dict[str, tuple[list[str], Schema]] = {
    **{f"admin_{verb}": (["adapter"], _VERSION) for verb in ("promote", "pin", "unpin", "retire", "verify")},
    "admin_rollback": (["adapter"], {"adapter": {**_TEXT, "description": "Name of the adapter."}}),
    "admin_canary": (
        ["adapter", "percent"],
        {
            **_VERSION,
            "percent": {
                "type": "integer",
                "minimum": 0,
                "maximum": 100,
                "description": "Share of the users, of a hundred; 0 ends the canary.",
            },
        },
    ),
}
_SUMMARIES = {
    "chat": "Generate an answer to a conversation; a specialist's collection is searched for it.",
    "completions": "Generate the rest of a text.",
    "responses": "vLLM's own form of OpenAI's responses, without retrieval and without memory.",
    "messages": "vLLM's own form of Anthropic's messages, without retrieval.",
    "embeddings": "Embed texts with the embedder of the collections.",
    "retrieve": "The passages that a specialist's collection has for a question, without an answer.",
    "tokenize": "The base model's tokens of a text.",
    "detokenize": "The text of the base model's tokens.",
    "models": "The models that the key may call.",
    "model": "One of them.",
    "load": "How many requests the replica that answers works on, and how many wait.",
    "admin_adapters": "Every adapter of the registry with what its versions are.",
    "admin_events": "The last changes of the registry: who, when, from, to.",
    "admin_promote": "Let name@stable mean a version.",
    "admin_rollback": "Let name@stable mean the version that was stable before.",
    "admin_canary": "Let name@stable mean a version for a share of the users.",
    "admin_pin": "Let every replica keep a version loaded.",
    "admin_unpin": "Let replicas load and unload a version as it is used.",
    "admin_retire": "Serve a version no more.",
    "admin_verify": "Read every byte of a version, and see that the base can serve it.",
    "healthz": "The process answers.",
    "readyz": "The replica can serve; which revision of the registry it serves.",
}
_ERROR: Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
                "request_id": {"type": "string"},
            },
        }
    },
}
_WAIT: Schema = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}, "description": "Seconds to wait."}}
_REFUSALS = {
    "400": "The request is wrong; the message says what.",
    "401": "No key, or one that is not valid.",
    "403": "The key may not administer.",
    "404": "No such model for this key, or no such adapter.",
    "405": "The path has another method.",
    "408": "The body did not come in time.",
    "409": "It collides with what serves, or with another change at the same time; the message says which.",
    "413": "The body is too long.",
    "429": "A limit of the key, or too many requests at once.",
    "503": "Something that the request needs is not there now.",
}


_ADMIN_ONLY = frozenset({"403", "409"})


def document() -> Schema:
    """The whole document (OpenAPI 3.1)."""
    paths: dict[str, JsonValue] = {}
    for route in ROUTES:
        path = route.path + "{name}" if route.path.endswith("/") else route.path
        paths[path] = {route.method.lower(): _operation(route)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Graftwork", "version": "1", "description": "Specialists behind OpenAI's API."},
        "paths": paths,
        "components": {
            "schemas": {"Error": _ERROR},
            "responses": {status: _refusal(status) for status in _REFUSALS},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route) -> Schema:
    operation: Schema = {
        "operationId": route.name,
        "summary": _SUMMARIES[route.name],
        "responses": _responses(route),
        "security": [] if route.public else [{"key": []}],
    }
    if route.path.endswith("/"):
        name: Schema = {"name": "name", "in": "path", "required": True, "schema": _TEXT}
        operation["parameters"] = [name]
    if route is ADMIN_EVENTS:
        adapter: Schema = {"name": "adapter", "in": "query", "required": False, "schema": _TEXT}
        operation["parameters"] = [adapter]
    if route.name in _ADMIN_BODIES:
        needed, fields = _ADMIN_BODIES[route.name]
        of_admin: Schema = {
            "type": "object",
            "required": [*needed],
            "properties": fields,
            "additionalProperties": False,
        }
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": of_admin}}}
    if route.takes_model:
        required, properties = _BODIES[route.name]
        schema: Schema = {
            "type": "object",
            "required": ["model", *required],
            "properties": {"model": _TEXT, **properties},
        }
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _responses(route: Route) -> Schema:
    content: Schema = {"application/json": {"schema": {"type": "object"}}}
    if route.generates:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    refusals = [status for status in _REFUSALS if route.admin or status not in _ADMIN_ONLY]
    if route.public:
        refusals = ["405", "503"]
    return {
        "200": {"description": "Done.", "content": content},
        **{status: {"$ref": f"#/components/responses/{status}"} for status in refusals},
    }


def _refusal(status: str) -> Schema:
    content: Schema = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    headers: Schema = {"headers": _WAIT} if status in ("429", "503") else {}
    return {"description": _REFUSALS[status], "content": content, **headers}


if __name__ == "__main__":
    print(json.dumps(document(), indent=2))
