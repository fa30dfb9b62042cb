from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.errors import InputError, NotFoundError
from train.dataset import ChatMessage, hash_dataset, read_chat_dataset

GOOD = json.dumps({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "source": 7})


def _turn(role: object, content: object) -> str:
    turns = [{"role": role, "content": content}, {"role": "assistant", "content": "a"}]
    return json.dumps({"messages": turns})


def test_rows_keep_their_turns_and_line_numbers(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{GOOD}\n\n  \n{_turn('system', 'Be brief ü')}\r\n", encoding="utf-8")
    first, second = read_chat_dataset(path)
    assert (first.line, second.line) == (1, 4)
    assert first.messages == (ChatMessage("user", "q"), ChatMessage("assistant", "a"))
    assert second.as_dicts()[0] == {"role": "system", "content": "Be brief ü"}
    assert hash_dataset(path) == hashlib.sha256(path.read_bytes()).hexdigest()


BAD_LINES = [
    ("{oops", "not JSON"),
    ("[1, 2]", "no messages"),
    ("{}", "no messages"),
    ('{"messages": []}', "no messages"),
    ('{"messages": "hi"}', "no messages"),
    ('{"messages": ["hi"]}', "message 1 is not an object"),
    (json.dumps({"messages": [{"role": "user", "content": "q"}]}), "no assistant turn"),
    (_turn("user", ""), "message 1 (user) has empty content"),
    (_turn("user", " \n"), "empty content"),
    (_turn("user", None), "empty content"),
    (_turn("user", [{"type": "text"}]), "empty content"),
    (_turn("robot", "q"), "unknown role 'robot'"),
    (_turn(None, "q"), "unknown role None"),
    (_turn(["user"], "q"), "unknown role"),
]


def test_all_bad_lines_are_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join([GOOD, *(line for line, _ in BAD_LINES)]), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_chat_dataset(path)
    text = str(caught.value)
    assert f"{len(BAD_LINES)} of {len(BAD_LINES) + 1} rows" in text
    listed = text.splitlines()[1:]
    assert len(listed) == len(BAD_LINES)
    for number, ((_, reason), line) in enumerate(zip(BAD_LINES, listed, strict=True), start=2):
        assert line.startswith(f"  line {number}: ")
        assert reason in line


def test_only_the_first_twenty_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("{}\n" * 25)
    with pytest.raises(InputError) as caught:
        read_chat_dataset(path)
    lines = str(caught.value).splitlines()
    assert lines[20].startswith("  line 20:")
    assert lines[21:] == ["  and 5 more"]


def test_broken_bytes_are_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(GOOD.encode() + b"\n\xff\xfe\n")
    with pytest.raises(InputError, match="line 2: not UTF-8 at byte 0"):
        read_chat_dataset(path)


def test_nothing_to_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_chat_dataset(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="cannot be read"):
        read_chat_dataset(tmp_path)
    (tmp_path / "empty.jsonl").write_text("\n\n")
    with pytest.raises(InputError, match="holds no rows"):
        read_chat_dataset(tmp_path / "empty.jsonl")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["messages", "role", "content"]), inner)
    ),
    max_leaves=8,
)


@given(row=JSON_VALUES)
def test_no_json_value_brings_anything_but_rows_or_a_reason(
    tmp_path_factory: pytest.TempPathFactory, row: object
) -> None:
    path = tmp_path_factory.mktemp("any") / "rows.jsonl"
    path.write_text(GOOD + "\n" + json.dumps(row) + "\n")
    try:
        examples = read_chat_dataset(path)
    except InputError:
        return
    assert any(message.role == "assistant" and message.content.strip() for message in examples[1].messages)
