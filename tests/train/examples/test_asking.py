"""The endpoint under load and in trouble."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.errors import GraftworkError, InputError, NotFoundError, UnavailableError
from tests.train.examples.making import SmallEndpoint
from train.examples.asking import Asker
from train.examples.costs import Costs
from train.examples.journal import Reply, open_journal
from train.examples.request import Endpoint, request_fields
from train.examples.teacher import Ask, Books


def asks(count: int) -> list[Ask]:
    return [Ask(f"c{number}", 0, ({"role": "user", "content": f"Question {number}?"},)) for number in range(count)]


def ask(folder: Path, settings: Endpoint, count: int = 12, costs: Costs | None = None) -> list[Reply | None]:
    with open_journal(folder / "work") as journal:
        fields = request_fields(settings.fields, max_tokens=99)
        asker = Asker(settings, books=Books(journal, costs or Costs()), fields=fields)
        return asker.ask_all("questions", asks(count), progress=lambda done: None)


def echo(messages: list[dict[str, str]]) -> str:
    return messages[-1]["content"]


def test_so_many_are_under_way_and_answers_keep_their_places(tmp_path: Path, endpoint: SmallEndpoint) -> None:
    endpoint.answering, endpoint.delay_s = echo, 0.1
    replies = ask(tmp_path, endpoint.settings(concurrency=3))
    assert [reply and reply.text for reply in replies] == [f"Question {number}?" for number in range(12)]
    assert endpoint.most_under_way == 3
    assert {key for key in endpoint.keys} == {"Bearer k"}
    assert {(body["max_tokens"], body["temperature"], body["model"]) for body in endpoint.asked} == {(99, 0, "teacher")}


@pytest.mark.parametrize("failure", [429, 500, 503, "slow"])
def test_what_passes_is_tried_again(tmp_path: Path, endpoint: SmallEndpoint, failure: int | str) -> None:
    endpoint.answering = echo
    endpoint.failures = iter([failure, failure])
    costs = Costs()
    replies = ask(tmp_path, endpoint.settings(retries=2, timeout_s=0.5, concurrency=1), 2, costs)
    assert None not in replies
    assert endpoint.tries == 4
    assert (costs.failures, costs.stages["questions"].requests) == (0, 2)


@pytest.mark.parametrize(
    ("failure", "error", "said"),
    [
        (500, UnavailableError, "3 requests to .* failed in a row, the last: HTTP 500, Told to answer 500; 2 answers"),
        (429, UnavailableError, "HTTP 429"),
        (400, InputError, "HTTP 400"),
        ("malformed", UnavailableError, "cannot be read"),
        ("empty", UnavailableError, "no chat completion"),
        ("null", UnavailableError, "has no text"),
        ("slow", UnavailableError, "no answer in time"),
    ],
)
def test_failures_in_a_row_end_it(
    tmp_path: Path, endpoint: SmallEndpoint, failure: int | str, error: type[GraftworkError], said: str
) -> None:
    endpoint.answering = echo
    endpoint.failures = iter([None, failure, failure, None, *[failure] * 3])
    with pytest.raises(error, match=said) as raised:
        ask(tmp_path, endpoint.settings(give_up_after=3, concurrency=1, timeout_s=0.5))
    assert type(raised.value) is error
    assert endpoint.tries == 7


@pytest.mark.parametrize(("status", "error"), [(401, UnavailableError), (403, UnavailableError), (404, NotFoundError)])
def test_what_no_patience_mends_ends_it_at_once(
    tmp_path: Path, endpoint: SmallEndpoint, status: int, error: type[GraftworkError]
) -> None:
    endpoint.failures = iter([status] * 99)
    with pytest.raises(error, match=f"Told to answer {status}"):
        ask(tmp_path, endpoint.settings(concurrency=1, retries=3))
    assert endpoint.tries == 1


def test_an_endpoint_that_is_not_there(tmp_path: Path) -> None:
    settings = Endpoint(url="http://127.0.0.1:9/v1", model="m", api_key="k", retries=0, give_up_after=2)
    with pytest.raises(UnavailableError, match="it cannot be reached"):
        ask(tmp_path, settings)


def test_fields_are_added_and_left_out(tmp_path: Path, endpoint: SmallEndpoint) -> None:
    endpoint.answering = echo
    ask(tmp_path, endpoint.settings(fields={"max_tokens": None, "max_completion_tokens": 5, "seed": 1}), 1)
    [body] = endpoint.asked
    assert (body.get("max_tokens"), body["max_completion_tokens"], body["seed"]) == (None, 5, 1)
    ask(tmp_path, endpoint.settings(), 1)
    assert len(endpoint.asked) == 2
    ask(tmp_path, endpoint.settings(), 1)
    assert len(endpoint.asked) == 2
