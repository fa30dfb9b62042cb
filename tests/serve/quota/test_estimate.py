from __future__ import annotations

import pytest

from serve.catalog import Target
from serve.layers.call import Call, JsonObject
from serve.principal import Principal
from serve.quota.estimate import tokens_at_most
from serve.routes import CHAT, COMPLETIONS, EMBEDDINGS, MESSAGES, TOKENIZE, Route
from serve.specialist import Specialist


def estimate(route: Route, body: JsonObject, specialist: Specialist | None = None) -> int:
    target = Target(kind="base", name="base", specialist=specialist, adapter=None)
    call = Call(route=route, body=body, target=target, principal=Principal(tenant="t"))
    return tokens_at_most(call, max_model_len=1_000)


HI: JsonObject = {"messages": [{"role": "user", "content": "x" * 300}]}


@pytest.mark.parametrize(
    ("route", "body", "tokens"),
    [
        (CHAT, {**HI, "max_tokens": 10}, 102 + 8 + 10),
        (CHAT, {**HI, "max_tokens": 10, "max_completion_tokens": 5}, 102 + 8 + 5),
        (CHAT, {**HI, "max_tokens": 10, "n": 4}, 102 + 8 + 40),
        (CHAT, {**HI, "max_tokens": 10**9}, 102 + 8 + 1_000),
        (CHAT, HI, 1_000),
        (CHAT, {**HI, "max_tokens": "many", "n": "x"}, 1_000),
        (COMPLETIONS, {"prompt": "x" * 30, "max_tokens": 5}, 15),
        (COMPLETIONS, {"prompt": ["x" * 30, "x" * 30], "max_tokens": 5}, 30),
        (COMPLETIONS, {"prompt": [1, 2, 3], "max_tokens": 5}, 8),
        (COMPLETIONS, {"prompt": [[1, 2], [3]], "max_tokens": 5}, 13),
        (MESSAGES, {"messages": [], "system": "x" * 30, "max_tokens": 5}, 15),
        (EMBEDDINGS, {"input": ["x" * 30, "x" * 3]}, 11),
        (TOKENIZE, {"prompt": "x" * 3_000}, 0),
        (CHAT, {"messages": "\ud800", "max_tokens": 1}, 2),
    ],
)
def test_input_and_answers(route: Route, body: JsonObject, tokens: int) -> None:
    assert estimate(route, body) == tokens


def test_what_a_specialist_adds_counts() -> None:
    plain = Specialist.model_validate({"name": "s", "prompt": "x" * 30})
    asking = Specialist.model_validate({"name": "s", "collection": "c", "retrieval": {"max_context_tokens": 200}})
    body: JsonObject = {**HI, "max_tokens": 10}
    assert estimate(CHAT, body, plain) == estimate(CHAT, body) + 10
    assert estimate(CHAT, body, asking) == estimate(CHAT, body) + 200
