from __future__ import annotations

import pytest

from serve.conversation import is_small_talk, leans, search_query
from serve.prompt import ChatMessage


def talk(*said: str) -> list[ChatMessage]:
    """A conversation in which every question got an answer but the last."""
    messages: list[ChatMessage] = [{"role": "system", "content": "You keep ropes."}]
    for question in said:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": "It is so."}]
    return messages[:-1]


def test_a_question_that_stands_by_itself_is_searched_for_alone() -> None:
    messages = talk("How long is the hawser?", "Which lamp burns rape oil at night?")
    assert search_query(messages, turns=5) == "Which lamp burns rape oil at night?"


@pytest.mark.parametrize(
    "last", ["And in winter?", "Who tars it every third autumn?", "Why?", "What about the others there?"]
)
def test_one_that_leans_on_those_before_takes_them_along(last: str) -> None:
    messages = talk("Which lamp burns rape oil at night?", "How long is the hawser of the north berth?", last)
    assert search_query(messages, turns=5) == f"How long is the hawser of the north berth?\n{last}"
    assert search_query(messages, turns=1) == last


def test_as_far_back_as_is_allowed() -> None:
    messages = talk("How long is the hawser of the north berth?", "Who tars it?", "And why?")
    assert search_query(messages, turns=2) == "Who tars it?\nAnd why?"
    assert search_query(messages, turns=3) == "How long is the hawser of the north berth?\nWho tars it?\nAnd why?"


def test_nothing_is_searched_for_where_nobody_asks() -> None:
    assert search_query([], turns=3) == ""
    assert search_query([{"role": "assistant", "content": "Hi"}], turns=3) == ""
    assert search_query([*talk("How long is it?"), {"role": "user", "content": [{"type": "image_url"}]}], turns=3) == ""


@pytest.mark.parametrize(
    ("text", "small"),
    [
        ("Thanks!", True),
        ("Thank you very much", True),
        ("ok, great", True),
        ("Hello there", True),
        ("Thanks, and the lamp?", False),
        ("Why?", False),
        ("Hello, what is it?", False),
        ("Good day", True),
        ("", False),
        ("Ça va?", False),
        ("42", False),
    ],
)
def test_small_talk(text: str, small: bool) -> None:
    assert is_small_talk(text) == small


def test_other_languages_are_taken_as_they_are() -> None:
    assert not leans("Wie lang ist die Trosse am Nordkai?")
