from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.catalog import Target
from serve.layers.call import Call, JsonObject
from serve.overrides import RetrievalOverrides
from serve.principal import Principal
from serve.quota.estimate import Estimate, estimate_tokens
from serve.routes import CHAT, COMPLETIONS, EMBEDDINGS, MESSAGES, TOKENIZE, Route
from serve.specialist import Specialist


def estimated(
    route: Route, body: JsonObject, specialist: Specialist | None = None, changes: RetrievalOverrides | None = None
) -> Estimate:
    target = Target(kind="base", name="base", specialist=specialist, adapter=None)
    plan = (changes or RetrievalOverrides()).plan(specialist.retrieval) if specialist else None
    call = Call(route=route, body=body, target=target, principal=Principal(tenant="t"), plan=plan)
    return estimate_tokens(call, max_model_len=1_000)


def estimate(route: Route, body: JsonObject, specialist: Specialist | None = None) -> int:
    return estimated(route, body, specialist).total


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
        (CHAT, {**HI, "max_tokens": 0}, 102 + 8 + 1),
        (CHAT, {**HI, "max_tokens": -(10**30)}, 102 + 8 + 1),
        (CHAT, {**HI, "max_tokens": "10"}, 102 + 8 + 10),
        (CHAT, {**HI, "max_tokens": 10, "n": "4"}, 102 + 8 + 40),
        (CHAT, {**HI, "max_tokens": 10, "n": 4.0}, 102 + 8 + 40),
        (CHAT, {**HI, "max_tokens": 10, "n": 0}, 102 + 8 + 10),
        (CHAT, {**HI, "max_tokens": 10, "n": -1}, 102 + 8 + 10),
        (CHAT, {**HI, "max_tokens": 10, "n": -(10**30), "best_of": -5}, 102 + 8 + 10),
        (CHAT, {**HI, "max_tokens": 10, "n": 10**30}, 102 + 8 + 163_840),
        (COMPLETIONS, {"prompt": "x" * 30}, 10 + 16),
        (COMPLETIONS, {"prompt": "x" * 30, "max_tokens": None}, 1_000),
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


@pytest.mark.parametrize(
    ("changes", "tokens"), [({}, 200), ({"max_context_tokens": 300}, 300), ({"retrieve": False}, 0), ({"k": 9}, 200)]
)
def test_the_context_that_a_request_asks_for_counts(changes: dict[str, object], tokens: int) -> None:
    asking = Specialist.model_validate({"name": "s", "collection": "c", "retrieval": {"max_context_tokens": 200}})
    body: JsonObject = {**HI, "max_tokens": 10}
    asked = estimated(CHAT, body, asking, RetrievalOverrides.model_validate(changes))
    assert asked.total == estimate(CHAT, body) + tokens


def test_an_answer_is_as_long_as_a_limit_lets_it_be_where_the_request_leaves_it_open() -> None:
    assert estimated(CHAT, HI).within(2_000) == estimated(CHAT, HI)
    assert estimated(CHAT, HI).within(150) == Estimate(prompt=110, answers=1, answer=40, named=False)
    assert estimated(CHAT, {**HI, "n": 4}).within(150) == Estimate(prompt=110, answers=4, answer=10, named=False)
    assert estimated(CHAT, {**HI, "n": 4}).within(113).total > 113
    assert estimated(CHAT, {**HI, "max_tokens": 500}).within(150).total == 610
    assert estimated(COMPLETIONS, {"prompt": "x" * 30}).within(150).answer == 16


VALUES = st.sampled_from([None, True, "", "3", "many", [], [1, 2], ["a", "b"], 0, -1, 10**30, -(10**30), 2.0, 1e300])


@given(
    st.sampled_from([CHAT, COMPLETIONS, MESSAGES, EMBEDDINGS]),
    st.fixed_dictionaries({}, optional=dict.fromkeys(("n", "best_of", "max_tokens", "prompt", "input"), VALUES)),
    st.integers(1, 2_000),
)
def test_whatever_a_body_says_a_reservation_is_a_number_that_can_be_counted(
    route: Route, body: JsonObject, limit: int
) -> None:
    found = estimated(route, body)
    assert 0 <= found.total < 2**40
    assert found.within(limit).total in (found.total, *range(limit + 1))
