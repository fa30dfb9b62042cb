"""Finds the commands that a Markdown text shows, and puts new output below them. No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass

# A block that is generated: a marker line, then a console block that begins with `$ command`.
_BLOCK = re.compile(r"(?P<head><!-- run(?P<options>[^>]*)-->\n```console\n)(?P<body>.*?)(?P<tail>```\n)", re.DOTALL)
_PROMPT = "$ "


@dataclass(frozen=True, slots=True)
class Block:
    """One generated console block.

    Attributes:
        name: Words of its marker: `<!-- run: index perl -->` is 'index perl'.
        commands: The commands it shows, in order; a trailing backslash continues one on the next line.
    """

    name: str
    commands: tuple[str, ...]


def read_blocks(text: str) -> list[Block]:
    """Every generated block of a Markdown text, in order."""
    return [
        Block(name=match["options"].strip(" :"), commands=tuple(_commands(match["body"])))
        for match in _BLOCK.finditer(text)
    ]


def write_blocks(text: str, outputs: dict[str, list[str]]) -> str:
    """Put new outputs into a Markdown text.

    Args:
        text: The Markdown.
        outputs: By block name, what each of its commands printed; blocks that are not named stay as they are.
    """

    def replace(match: re.Match[str]) -> str:
        name = match["options"].strip(" :")
        if name not in outputs:
            return match[0]
        commands = _commands(match["body"])
        shown = [
            f"{_PROMPT}{command}\n{output.rstrip()}\n" if output.strip() else f"{_PROMPT}{command}\n"
            for command, output in zip(commands, outputs[name], strict=True)
        ]
        return match["head"] + "\n".join(shown) + match["tail"]

    return _BLOCK.sub(replace, text)


def all_commands(text: str) -> list[str]:
    """Every `graftwork ...` and `make ...` command in any fenced block of a Markdown text."""
    found: list[str] = []
    for fenced in re.findall(r"```(?:console|sh|bash)\n(.*?)```", text, re.DOTALL):
        lines = fenced.replace("\\\n", " ").splitlines()
        found += [
            line.removeprefix(_PROMPT).strip()
            for line in lines
            if line.removeprefix(_PROMPT).startswith(("graftwork ", "make "))
        ]
    return found


def _commands(body: str) -> list[str]:
    lines = body.replace("\\\n", "\\\x00").splitlines()
    return [line.removeprefix(_PROMPT).replace("\x00", "\n") for line in lines if line.startswith(_PROMPT)]
