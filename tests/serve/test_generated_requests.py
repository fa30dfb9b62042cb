"""Requests that schemathesis makes from the published document, right ones and wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case

from tests.stack import Stack

pytestmark = pytest.mark.stack

schema = schemathesis.openapi.from_path(Path(__file__).parents[2] / "serve" / "openapi.json")
# The field that limits an answer; where a request says nothing, an answer goes on to the context's end.
LIMIT_OF = {"completions": "max_tokens", "messages": "max_tokens", "responses": "max_output_tokens"}
LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
CONTEXT = 1024  # of the engine under test; a limit beyond it is refused, one below is made short


@schema.parametrize()
@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_a_generated_request_is_answered_or_refused_in_one_shape(case: Case, stack: Stack) -> None:
    if isinstance(case.body, dict):
        route = case.operation.path.rsplit("/", 1)[1]
        if len(str(case.body.get("model"))) % 2:
            case.body["model"] = {"embeddings": "embedder"}.get(route, "base")
        if route in LIMIT_OF:
            case.body.setdefault(LIMIT_OF[route], 2)
        for name in LIMITS:
            if isinstance(case.body.get(name), int) and 2 < case.body[name] <= CONTEXT:
                case.body[name] = 2
    response = case.call(base_url=stack.url, headers={"Authorization": "Bearer none"}, timeout=30)
    if response.status_code == 200:
        return
    fine = response.status_code == 503 and "retry-after" in response.headers
    assert fine or response.status_code < 500, (response.status_code, response.text[:500])
    error = response.json()["error"]
    assert isinstance(error["code"], str)
    assert isinstance(error["message"], str)


def test_the_app_still_works(stack: Stack) -> None:
    assert stack.client.chat.completions.create(
        model="base", messages=[{"role": "user", "content": "Hi"}], max_tokens=1
    ).choices
