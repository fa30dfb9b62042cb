"""Requests that nobody should send, and somebody will."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
USER = {"role": "user", "content": "Hi"}


@dataclass(frozen=True)
class Malformed:
    """One request; `body` as it goes over the wire."""

    name: str
    path: str
    body: bytes
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=dict)


def chat(name: str, **fields: object) -> Malformed:
    """A chat request of the base with other fields than it should have."""
    body = {"model": "base", "messages": [USER], "max_tokens": 2, **fields}
    return Malformed(name, CHAT, json.dumps(body).encode())


def raw(name: str, body: bytes, path: str = CHAT) -> Malformed:
    """Bytes as they are."""
    return Malformed(name, path, body)


def to(path: str, name: str, **fields: object) -> Malformed:
    """A request of another route."""
    return Malformed(f"{path[1:]} {name}", path, json.dumps({"model": "base", "max_tokens": 2, **fields}).encode())


MALFORMED = (
    raw("nothing", b""),
    raw("blank", b"   "),
    raw("half an object", b'{"model": "base", "messages": ['),
    raw("a list", b"[]"),
    raw("a number", b"7"),
    raw("null", b"null"),
    raw("a string", b'"base"'),
    raw("not utf-8", b'{"model": "\xff\xfe"}'),
    raw("utf-16", '{"model": "base"}'.encode("utf-16")),
    raw("half a surrogate pair", b'{"model": "base", "messages": [{"role": "user", "content": "\\ud83d"}]}'),
    raw("two objects", b'{"model": "base"}{"model": "base"}'),
    raw("a trailing comma", b'{"model": "base",}'),
    raw("a comment", b'{"model": "base" /* the base */}'),
    raw("NaN", b'{"model": "base", "messages": [], "temperature": NaN}'),
    raw("Infinity", b'{"model": "base", "messages": [], "top_p": Infinity}'),
    raw("a huge exponent", b'{"model": "base", "messages": [{"role":"user","content":"a"}], "temperature": 1e999}'),
    raw("a number of many digits", b'{"model": "base", "max_tokens": ' + b"9" * 5_000 + b"}"),
    raw("deep lists", b'{"model": "base", "messages": ' + b"[" * 50_000),
    raw("deep objects", b'{"model": "base", "x": ' + b'{"a":' * 2_000 + b"1" + b"}" * 2_000 + b"}"),
    raw("a key twice", b'{"model": "base", "model": 7, "messages": []}'),
    raw("zero bytes", b"\x00" * 64),
    raw("a form", b"model=base&prompt=Hi"),
    chat("no model", model=None),
    chat("a number for a model", model=7),
    chat("a list for a model", model=["base"]),
    chat("an empty model", model=""),
    chat("an unknown model", model="nobody"),
    chat("a model that is a path", model="../../etc/passwd"),
    chat("a very long model", model="x" * 100_000),
    chat("an adapter without a version", model="ropes@"),
    chat("an adapter of a version that is none", model="ropes@-1"),
    chat("no messages", messages=None),
    chat("messages that are a string", messages="Hi"),
    chat("messages that are numbers", messages=[1, 2]),
    chat("an empty message", messages=[{}]),
    chat("an unknown role", messages=[{"role": "ghost", "content": "Hi"}]),
    chat("content that is a number", messages=[{"role": "user", "content": 7}]),
    chat(
        "a picture for a model of text", messages=[{"role": "user", "content": [{"type": "image_url", "image_url": 7}]}]
    ),
    chat("a negative limit", max_tokens=-1),
    chat("a limit of nothing", max_tokens=0),
    chat("a limit beyond the context", max_tokens=10**9),
    chat("a limit that is a word", max_tokens="many"),
    chat("a negative temperature", temperature=-1),
    chat("a temperature that is a word", temperature="hot"),
    chat("top_p above one", top_p=7),
    chat("no choices", n=0),
    chat("a million choices", n=1_000_000),
    chat("stop that is an object", stop={"a": 1}),
    chat("a thousand stops", stop=["x"] * 1_000),
    chat("an empty stop", stop=[""]),
    chat("seed that is a word", seed="luck"),
    chat("seed beyond 64 bits", seed=2**70),
    chat("stream that is a word", stream="yes please"),
    chat("stream options without a stream", stream_options={"include_usage": True}),
    chat("stream options that are a number", stream=True, stream_options=7),
    chat("logprobs beyond the vocabulary", logprobs=True, top_logprobs=10**6),
    chat("negative logprobs", logprobs=True, top_logprobs=-5),
    chat("a bias of a token that is none", logit_bias={"99999999": 1}),
    chat("a bias that is a word", logit_bias={"a": "b"}),
    chat("an unknown response format", response_format={"type": "poem"}),
    chat("a schema that is none", response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": 7}}),
    chat(
        "a schema that refers to nothing",
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#/nowhere"}}},
    ),
    chat("a broken pattern", structured_outputs={"regex": "("}),
    chat("a broken grammar", structured_outputs={"grammar": "root ::= ("}),
    chat("tools that are numbers", tools=[1]),
    chat("a tool without a name", tools=[{"type": "function", "function": {}}]),
    chat("a choice of a tool that is not there", tools=[], tool_choice={"type": "function", "function": {"name": "x"}}),
    chat("a salt that is a number", cache_salt=7),
    chat("an id of its own", request_id="mine"),
    chat("a transfer of blocks", kv_transfer_params={"do_remote_prefill": True}),
    chat("a template of its own", chat_template="{{ ''.__class__.__mro__ }}"),
    chat("a processor of its own", logits_processors=["os.system"]),
    chat("a question longer than the context", messages=[{"role": "user", "content": "rope " * 20_000}]),
    chat("thinking of a billion tokens", min_tokens=10**9),
    chat("extra arguments that are a list", vllm_xargs=[1]),
    to(COMPLETIONS, "without a prompt"),
    to(COMPLETIONS, "of tokens that are none", prompt=[10**9]),
    to(COMPLETIONS, "of negative tokens", prompt=[-1]),
    to(COMPLETIONS, "of mixed prompts", prompt=["a", 1]),
    to(COMPLETIONS, "of an empty list", prompt=[]),
    to(COMPLETIONS, "of vectors", prompt_embeds="AAAA"),
    to("/v1/responses", "without input"),
    to("/v1/responses", "that go on", input="Hi", previous_response_id="resp_1"),
    to("/v1/responses", "in the background", input="Hi", background=True),
    to("/v1/messages", "without messages", messages=None),
    to("/v1/embeddings", "of the base", input="Hi"),
    to("/v1/embeddings", "of nothing", model="embedder", input=None),
    to("/v1/embeddings", "of a text longer than it reads", model="embedder", input="rope " * 2_000),
    to("/tokenize", "of a number", prompt=7),
    to("/detokenize", "of tokens that are none", tokens=[10**9]),
    to("/detokenize", "of words", tokens=["a"]),
    Malformed("a method that is none", CHAT, b"{}", method="BREW"),
    Malformed("another method", CHAT, b"", method="PUT"),
    Malformed("an unknown path", "/v1/chat/completions/../../metrics", b"{}"),
    Malformed("a path with a null", "/v1/models/%00", b"", method="GET"),
    Malformed("a path of half a character", "/v1/models/%ff", b"", method="GET"),
    Malformed("another type of content", CHAT, b'{"model": "base"}', headers={"content-type": "text/xml"}),
    Malformed("a compressed body that is none", CHAT, b"{}", headers={"content-encoding": "gzip"}),
    Malformed("a very long header", CHAT, b"{}", headers={"x-request-id": "r" * 4_000}),
    Malformed("a body over the limit", CHAT, b'{"x": "' + b"a" * (9 * 2**20) + b'"}'),
)
