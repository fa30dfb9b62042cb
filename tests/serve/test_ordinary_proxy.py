"""Ten tests behind Serve's ordinary proxy, the development fallback: the same app answers the same."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from tests.serve.test_app import QUESTION, answer_of, wait_for_models
from tests.stack import Stack, start_stack

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def plain_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = start_stack(tmp_path_factory.mktemp("plain"), haproxy=False)
    yield stack
    stack.run("down")


def test_models(plain_stack: Stack) -> None:
    assert {"base", "both", "ropes@1"} <= wait_for_models(plain_stack, "base", "both", "ropes@1")


def test_one_model(plain_stack: Stack) -> None:
    assert plain_stack.client.models.retrieve("both").id == "both"


def test_health(plain_stack: Stack) -> None:
    assert plain_stack.http.get("/healthz").json() == {"status": "ok"}


def test_base(plain_stack: Stack) -> None:
    completion = plain_stack.client.chat.completions.create(model="base", messages=QUESTION, max_tokens=4)
    assert answer_of(completion) == {}


def test_retrieval(plain_stack: Stack) -> None:
    answer = answer_of(plain_stack.client.chat.completions.create(model="retrieval", messages=QUESTION))
    assert answer["citations"][0]["uri"].endswith("ropes.md")


def test_adapter(plain_stack: Stack) -> None:
    answer = answer_of(plain_stack.client.chat.completions.create(model="adapter", messages=QUESTION))
    assert answer["adapter"] == "ropes@1"


def test_both_in_a_stream(plain_stack: Stack) -> None:
    chunks = list(plain_stack.client.chat.completions.create(model="both", messages=QUESTION, stream=True))
    assert answer_of(chunks[-1])["adapter"] == "ropes@2"


def test_unknown_model(plain_stack: Stack) -> None:
    with pytest.raises(openai.NotFoundError, match="'nobody' does not exist"):
        plain_stack.client.chat.completions.create(model="nobody", messages=QUESTION)


def test_completions(plain_stack: Stack) -> None:
    completion = plain_stack.client.completions.create(model="ropes@2", prompt="The rope", max_tokens=4)
    assert completion.model == "ropes@2"


def test_bad_body(plain_stack: Stack) -> None:
    assert plain_stack.http.post("/v1/chat/completions", content=b"{").status_code == 400
