"""Reads one line into a row: a chat (`messages`), or a prompt and its completion. Pure.

A chat is written as OpenAI writes it, with `tools` where the assistant may use some; prompt and completion are texts,
or lists of messages as TRL has them. `documents` names what a row was made from. Other fields are left alone.
"""

from __future__ import annotations

import json
from typing import cast

from pydantic import JsonValue

from train.data.row import ROLES, Example, Origin, Role, ToolCall, Turn


class BadLineError(ValueError):
    """Why a line cannot be used, in words that go behind its place."""


def parse_line(line: bytes, *, origin: Origin) -> Example:
    """Read a line.

    Raises:
        BadLineError: It is no row.
    """
    row = _parse_json(line)
    if not isinstance(row, dict):
        raise BadLineError("not an object; a row is an object with `messages`, or with `prompt` and `completion`")
    turns = _turns(row)
    if all(turn.role != "assistant" for turn in turns):
        raise BadLineError("no assistant turn, so there is nothing to learn")
    return Example(turns=turns, origin=origin, tools=_tools(row.get("tools")), documents=_documents(row))


def _parse_json(line: bytes) -> JsonValue:
    try:
        return cast(JsonValue, json.loads(line.decode("utf-8")))
    except UnicodeDecodeError as error:
        raise BadLineError(f"not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise BadLineError(f"not JSON: {error.msg} at column {error.colno}") from error
    except RecursionError as error:
        raise BadLineError("not usable JSON: nested too deeply") from error


def _turns(row: dict[str, JsonValue]) -> tuple[Turn, ...]:
    has_pair = "prompt" in row or "completion" in row
    if "messages" in row and has_pair:
        raise BadLineError("both `messages` and `prompt` or `completion`; a row has the one or the other")
    if has_pair:
        prompt = _side(row.get("prompt"), field="prompt", role="user")
        completion = _side(row.get("completion"), field="completion", role="assistant")
        if completion[0].role != "assistant":
            raise BadLineError(f"the completion begins with the role {completion[0].role!r}, not with assistant")
        return (*prompt, *completion)
    return _messages(row.get("messages"), field="messages")


def _side(given: JsonValue, *, field: str, role: Role) -> tuple[Turn, ...]:
    if isinstance(given, str):
        if not given.strip():
            raise BadLineError(f"the {field} is empty")
        return (Turn(role=role, content=given),)
    return _messages(given, field=field)


def _messages(given: JsonValue, *, field: str) -> tuple[Turn, ...]:
    if not isinstance(given, list) or not given:
        kind = "a non-empty list" if field == "messages" else "a text or a non-empty list of messages"
        raise BadLineError(f"no {field}: a row has {kind} `{field}`")
    return tuple(_turn(turn, f"{field[:-1] if field == 'messages' else field} {n}") for n, turn in enumerate(given, 1))


def _turn(given: JsonValue, place: str) -> Turn:
    if not isinstance(given, dict):
        raise BadLineError(f"{place} is not an object")
    role, content = given.get("role"), given.get("content")
    if role not in ROLES:
        raise BadLineError(f"{place} has the unknown role {role!r}; use {', '.join(ROLES)}")
    calls = _calls(given.get("tool_calls"), place=place)
    if calls and role != "assistant":
        raise BadLineError(f"{place} ({role}) has tool calls, which only an assistant makes")
    if calls and content is None:
        content = ""
    if not isinstance(content, str) or not (content.strip() or calls):
        raise BadLineError(f"{place} ({role}) has empty content")
    name = given.get("name")
    if name is not None and (not isinstance(name, str) or not name):
        raise BadLineError(f"{place} has a name that is no text")
    return Turn(role=role, content=content, tool_calls=calls, name=name)


def _calls(given: JsonValue, *, place: str) -> tuple[ToolCall, ...]:
    if given is None:
        return ()
    if not isinstance(given, list):
        raise BadLineError(f"{place} has tool_calls that are no list")
    return tuple(_call(call, f"tool call {number} of {place}") for number, call in enumerate(given, start=1))


def _call(given: JsonValue, place: str) -> ToolCall:
    function = given.get("function", given) if isinstance(given, dict) else None
    if not isinstance(function, dict):
        raise BadLineError(f"{place} is not an object")
    name, arguments = function.get("name"), function.get("arguments", {})
    if not isinstance(name, str) or not name:
        raise BadLineError(f"{place} names no function")
    if isinstance(arguments, str):  # as OpenAI's API sends them; chat templates take the object
        try:
            arguments = json.loads(arguments)
        except (json.JSONDecodeError, RecursionError) as error:
            raise BadLineError(f"the arguments of {place} are not JSON") from error
    if not isinstance(arguments, dict):
        raise BadLineError(f"the arguments of {place} are no object")
    return ToolCall(name=name, arguments=arguments)


def _tools(given: JsonValue) -> tuple[dict[str, JsonValue], ...]:
    if given is None:
        return ()
    if not isinstance(given, list):
        raise BadLineError("tools is no list")
    tools: list[dict[str, JsonValue]] = []
    for number, tool in enumerate(given, start=1):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(tool, dict) or not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise BadLineError(f'tool {number} is not {{"type": "function", "function": {{"name": ...}}}}')
        tools.append(tool)
    return tuple(tools)


def _documents(row: dict[str, JsonValue]) -> tuple[str, ...]:
    given = row.get("documents", [])
    ids = [given] if isinstance(given, str) else given
    if not isinstance(ids, list) or not all(isinstance(each, str) and each for each in ids):
        raise BadLineError("documents is no list of ids")
    return tuple(dict.fromkeys(cast(list[str], ids)))
