"""One row of a dataset, as plain typed data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

Role = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class ToolCall:
    """What an assistant asks of a tool.

    Attributes:
        name: The function.
        arguments: By their names.
    """

    name: str
    arguments: dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation.

    Attributes:
        role: Who speaks.
        content: What is said, as written in the file; may be empty beside tool calls.
        tool_calls: Tools that an assistant asks for.
        name: The tool that answers, where the row says so.
    """

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    name: str | None = None

    def as_dict(self) -> dict[str, JsonValue]:
        """Return the turn in the form that chat templates take."""
        turn: dict[str, JsonValue] = {"role": self.role, "content": self.content}
        if self.name is not None:
            turn["name"] = self.name
        if self.tool_calls:
            turn["tool_calls"] = [
                {"type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in self.tool_calls
            ]
        return turn


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a row stands.

    Attributes:
        source: Path or address of its file.
        line: One-based number of its line.
    """

    source: str
    line: int

    def __str__(self) -> str:
        """Return both, as compilers write them."""
        return f"{self.source}:{self.line}"


@dataclass(frozen=True, slots=True)
class Example:
    """One conversation to learn from.

    Attributes:
        turns: At least one of them by the assistant.
        origin: Where it stands.
        tools: Descriptions of the tools that the assistant may use, as JSON Schema.
        documents: Ids of the documents that it was made from; two rows of one document know each other's answers.
    """

    turns: tuple[Turn, ...]
    origin: Origin
    tools: tuple[dict[str, JsonValue], ...] = ()
    documents: tuple[str, ...] = ()

    def as_dicts(self) -> list[dict[str, JsonValue]]:
        """Return the turns in the form that chat templates take."""
        return [turn.as_dict() for turn in self.turns]

    @property
    def uses_tools(self) -> bool:
        """Whether a chat template has to know of tools."""
        return bool(self.tools) or any(turn.tool_calls for turn in self.turns)


@dataclass(frozen=True, slots=True)
class BadRow:
    """A line that cannot be used, and why, in words that go behind its place."""

    origin: Origin
    reason: str
