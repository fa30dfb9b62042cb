from __future__ import annotations

import pytest

from serve.routing.wish import Belonging, merged, read_body, read_header, read_headers


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("agronomy", Belonging(model="agronomy")),
        ("agronomy@3; session=ab 1", Belonging(model="agronomy@3", session="ab 1")),
        ('base;Session="x"', Belonging(model="base", session="x")),
        ("; session=x", Belonging(session="x")),
        ("base; colour=red; session=", Belonging(model="base")),
        ("", Belonging()),
    ],
)
def test_the_header_names_a_model_and_perhaps_a_session(value: str, expected: Belonging) -> None:
    assert read_header(value) == expected


def test_the_session_may_have_a_header_of_its_own() -> None:
    headers = {"x-graftwork-model": "base", "x-session-id": "s"}
    assert read_headers(headers) == Belonging(model="base", session="s")
    assert read_headers({}) == Belonging()


def test_prompts_that_begin_alike_belong_together_and_short_ones_nowhere() -> None:
    long, other = "You keep ropes. " * 80, "You keep sails. " * 80
    chat = [{"role": "system", "content": long}, {"role": "user", "content": "One?"}]
    again = [{"role": "system", "content": long}, {"role": "user", "content": "Two?"}]
    assert read_body({"messages": chat}).prefix == read_body({"messages": again}).prefix is not None
    assert read_body({"prompt": long}).prefix != read_body({"prompt": other}).prefix
    assert read_body({"prompt": [1, 2, 3]}) == Belonging()
    assert read_body({"model": 3, "user": ["x"], "messages": "Hello"}) == Belonging()


def test_the_header_goes_before_the_body() -> None:
    body = read_body({"model": "base", "user": "u"})
    assert merged(read_header("agronomy"), body) == Belonging(model="agronomy", session="u")
