from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.data.parsing import BadLineError, parse_line
from train.data.row import Example, Origin, ToolCall, Turn

ORIGIN = Origin("rows.jsonl", 7)
USER = {"role": "user", "content": "q"}
ASSISTANT = {"role": "assistant", "content": "a"}
CALL = {"id": "1", "type": "function", "function": {"name": "depth", "arguments": '{"berth": 3}'}}
TOOL = {"type": "function", "function": {"name": "depth", "parameters": {"type": "object"}}}


def parse(row: object) -> Example:
    return parse_line(json.dumps(row).encode(), origin=ORIGIN)


def _chat(role: object, content: object, **more: object) -> dict[str, object]:
    return {"messages": [{"role": role, "content": content, **more}, ASSISTANT]}


def test_a_chat_keeps_its_turns_as_written() -> None:
    example = parse({"messages": [{"role": "system", "content": "Be brief ü"}, USER, ASSISTANT], "source": 7})
    assert example.turns == (Turn("system", "Be brief ü"), Turn("user", "q"), Turn("assistant", "a"))
    assert (example.origin, example.tools, example.documents) == (ORIGIN, (), ())
    assert example.as_dicts()[1] == USER


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "completion": "a"},
        {"prompt": [USER], "completion": [ASSISTANT]},
        {"prompt": "q", "completion": [ASSISTANT]},
    ],
)
def test_a_prompt_and_its_completion_are_a_chat(row: object) -> None:
    assert parse(row).turns == (Turn("user", "q"), Turn("assistant", "a"))


def test_tools_their_calls_and_their_answers_are_kept() -> None:
    called = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    answered = {"role": "tool", "content": "9 m", "name": "depth", "tool_call_id": "1"}
    example = parse({"messages": [USER, called, answered, ASSISTANT], "tools": [TOOL]})
    assert example.turns[1].tool_calls == (ToolCall("depth", {"berth": 3}),)
    assert example.tools == (TOOL,)
    assert example.uses_tools
    assert example.as_dicts()[1] == {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "function": {"name": "depth", "arguments": {"berth": 3}}}],
    }
    assert example.as_dicts()[2] == {"role": "tool", "content": "9 m", "name": "depth"}


def test_documents_are_those_that_a_row_was_made_from() -> None:
    assert parse({"messages": [USER, ASSISTANT], "documents": ["a.md", "b.md", "a.md"]}).documents == ("a.md", "b.md")
    assert parse({"messages": [USER, ASSISTANT], "documents": "a.md"}).documents == ("a.md",)


BAD_ROWS: list[tuple[object, str]] = [
    ([1, 2], "not an object"),
    ({}, "no messages"),
    ({"messages": []}, "no messages"),
    ({"messages": "hi"}, "no messages"),
    ({"messages": ["hi"]}, "message 1 is not an object"),
    ({"messages": [USER]}, "no assistant turn"),
    (_chat("user", ""), "message 1 (user) has empty content"),
    (_chat("user", " \n"), "empty content"),
    (_chat("user", None), "empty content"),
    (_chat("user", [{"type": "text"}]), "empty content"),
    (_chat("robot", "q"), "unknown role 'robot'"),
    (_chat(None, "q"), "unknown role None"),
    (_chat(["user"], "q"), "unknown role"),
    (_chat("user", "q", tool_calls=[CALL]), "only an assistant makes"),
    (_chat("assistant", "q", tool_calls="x"), "tool_calls that are no list"),
    (_chat("assistant", "q", tool_calls=["x"]), "tool call 1 of message 1 is not an object"),
    (_chat("assistant", "q", tool_calls=[{}]), "names no function"),
    (_chat("assistant", "q", tool_calls=[{"name": "f", "arguments": "{"}]), "are not JSON"),
    (_chat("assistant", "q", tool_calls=[{"name": "f", "arguments": [1]}]), "are no object"),
    (_chat("user", "q", name=3), "a name that is no text"),
    ({"messages": [USER, ASSISTANT], "tools": {}}, "tools is no list"),
    ({"messages": [USER, ASSISTANT], "tools": [{"name": "f"}]}, "tool 1 is not"),
    ({"messages": [USER, ASSISTANT], "documents": [3]}, "documents is no list of ids"),
    ({"prompt": "q"}, "no completion"),
    ({"completion": "a"}, "no prompt"),
    ({"prompt": " ", "completion": "a"}, "the prompt is empty"),
    ({"prompt": "q", "completion": [USER, ASSISTANT]}, "begins with the role 'user'"),
    ({"prompt": "q", "completion": "a", "messages": [USER, ASSISTANT]}, "both `messages` and"),
]


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS)
def test_what_is_no_row_says_why(row: object, reason: str) -> None:
    with pytest.raises(BadLineError) as caught:
        parse(row)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("line", "reason"),
    [(b"{oops", "not JSON"), (b"\xff\xfe", "not UTF-8 at byte 0"), (b"[" * 100_000, "nested too deeply")],
)
def test_what_is_no_json_says_where(line: bytes, reason: str) -> None:
    with pytest.raises(BadLineError, match=reason):
        parse_line(line, origin=ORIGIN)


KEYS = ["messages", "role", "content", "prompt", "completion", "tools", "tool_calls", "function", "name", "documents"]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["user", "assistant", "tool"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=12,
)


@given(row=JSON_VALUES)
def test_no_json_value_brings_anything_but_a_row_or_a_reason(row: object) -> None:
    try:
        example = parse(row)
    except BadLineError:
        return
    assert any(turn.role == "assistant" and (turn.content.strip() or turn.tool_calls) for turn in example.turns)
