"""The routes of the gateway: an allow-list, and what the layers need to know of each route.

vLLM mounts dozens of routes: other ways to generate, which would bypass every layer, and ways to change the engine.
What is not listed here is answered with 404, by a method that is not listed with 405.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Counting = Literal["none", "prompt", "generation"]


@dataclass(frozen=True, slots=True)
class Route:
    """One route.

    Attributes:
        name: Short name, for metrics and logs.
        path: The path; one that ends in '/' stands for all paths below it.
        method: The HTTP method.
        public: Whether it is answered without a key.
        takes_model: Whether its body is a JSON object with the model's name under `model`.
        counts: Which tokens it costs: none, those of its input, or those of its input and its answer.
        retrieves: Whether a specialist's collection is asked for it.
        prompt_field: Field that takes a specialist's prompt, where no context is assembled; None leaves the prompt out.
        annotated: Whether its answer gets the `graftwork` object.
        prompt_fields: Fields of the body that hold input for the model.
        limit_fields: Fields that bound how many tokens are generated; the first that is there counts.
        default_limit: Tokens vLLM generates at most where the body has none of them; None is what the context leaves.
        default_fields: A specialist's generation defaults by their name in this route's body; others are left out.
        refused_fields: Fields that reach past the tenant or the layers, with what to do instead.
        salted: Whether vLLM takes a `cache_salt` in its body.
        admin: Whether it takes a key that may administer.
    """

    name: str
    path: str
    method: Literal["GET", "POST"]
    public: bool = False
    takes_model: bool = False
    counts: Counting = "none"
    retrieves: bool = False
    prompt_field: str | None = None
    annotated: bool = False
    prompt_fields: tuple[str, ...] = ()
    limit_fields: tuple[str, ...] = ()
    default_limit: int | None = None
    default_fields: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    refused_fields: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    salted: bool = False
    admin: bool = False

    @property
    def generates(self) -> bool:
        """Whether the engine generates for it, with an adapter where the model has one."""
        return self.counts == "generation"


def _same(*names: str) -> Mapping[str, str]:
    return MappingProxyType({name: name for name in names})


_SAMPLING = ("temperature", "top_p", "max_tokens", "seed", "stop", "repetition_penalty")
# Transfers of key-value blocks between engines name blocks of other requests; ids of requests are the gateway's.
_INTERNAL = MappingProxyType(
    {name: "leave it out" for name in ("kv_transfer_params", "ec_transfer_params", "request_id")}
)

CHAT = Route(
    name="chat",
    path="/v1/chat/completions",
    method="POST",
    takes_model=True,
    counts="generation",
    retrieves=True,
    annotated=True,
    prompt_fields=("messages", "tools"),
    limit_fields=("max_completion_tokens", "max_tokens"),
    default_fields=_same(*_SAMPLING),
    refused_fields=_INTERNAL,
    salted=True,
)
COMPLETIONS = Route(
    name="completions",
    path="/v1/completions",
    method="POST",
    takes_model=True,
    counts="generation",
    annotated=True,
    prompt_fields=("prompt", "suffix"),
    limit_fields=("max_tokens",),
    default_limit=16,
    default_fields=_same(*_SAMPLING),
    refused_fields=_INTERNAL,
    salted=True,
)
RESPONSES = Route(
    name="responses",
    path="/v1/responses",
    method="POST",
    takes_model=True,
    counts="generation",
    prompt_field="instructions",
    prompt_fields=("input", "instructions", "tools"),
    limit_fields=("max_output_tokens",),
    default_fields=MappingProxyType(
        {**_same("temperature", "top_p", "seed", "stop", "repetition_penalty"), "max_tokens": "max_output_tokens"}
    ),
    refused_fields=MappingProxyType(
        {
            **_INTERNAL,
            "previous_response_id": "send the conversation as `input`; no response is kept",
            "previous_input_messages": "send the conversation as `input`",
            "background": "wait for the answer, or stream it",
        }
    ),
    salted=True,
)
MESSAGES = Route(
    name="messages",
    path="/v1/messages",
    method="POST",
    takes_model=True,
    counts="generation",
    prompt_field="system",
    prompt_fields=("messages", "system", "tools"),
    limit_fields=("max_tokens",),
    default_fields=MappingProxyType({**_same("temperature", "top_p", "max_tokens"), "stop": "stop_sequences"}),
    refused_fields=_INTERNAL,
    salted=True,
)
EMBEDDINGS = Route(
    name="embeddings",
    path="/v1/embeddings",
    method="POST",
    takes_model=True,
    counts="prompt",
    prompt_fields=("input",),
)
RETRIEVE = Route(
    name="retrieve", path="/v1/retrieve", method="POST", takes_model=True, retrieves=True, prompt_fields=("query",)
)
TOKENIZE = Route(name="tokenize", path="/tokenize", method="POST", takes_model=True)
DETOKENIZE = Route(name="detokenize", path="/detokenize", method="POST", takes_model=True)
MODELS = Route(name="models", path="/v1/models", method="GET")
MODEL = Route(name="model", path="/v1/models/", method="GET")
LOAD = Route(name="load", path="/load", method="GET")
ADMIN_ADAPTERS = Route(name="admin_adapters", path="/v1/admin/adapters", method="GET", admin=True)
ADMIN_EVENTS = Route(name="admin_events", path="/v1/admin/events", method="GET", admin=True)
ADMIN_VERBS = {
    verb: Route(name=f"admin_{verb}", path=f"{ADMIN_ADAPTERS.path}/{verb}", method="POST", admin=True)
    for verb in ("promote", "rollback", "canary", "pin", "unpin", "retire", "verify")
}
HEALTHZ = Route(name="healthz", path="/healthz", method="GET", public=True)
READYZ = Route(name="readyz", path="/readyz", method="GET", public=True)

ROUTES = (
    CHAT,
    COMPLETIONS,
    RESPONSES,
    MESSAGES,
    EMBEDDINGS,
    RETRIEVE,
    TOKENIZE,
    DETOKENIZE,
    MODELS,
    MODEL,
    LOAD,
    ADMIN_ADAPTERS,
    ADMIN_EVENTS,
    *ADMIN_VERBS.values(),
    HEALTHZ,
    READYZ,
)
_BY_PATH: Mapping[str, Route] = {route.path: route for route in ROUTES}


def find_route(path: str) -> Route | None:
    """The route of a path, whatever the method; None where there is none."""
    if path in _BY_PATH:
        return _BY_PATH[path] if not path.endswith("/") else None
    return next((route for route in ROUTES if route.path.endswith("/") and path.startswith(route.path)), None)
