"""Finds the commands that a Markdown text shows, and puts new output below them. No I/O."""

from __future__ import annotations

import re
from dataclasses import dataclass

# A block that is generated: a marker line, then a console block that begins with `$ command`.
_BLOCK = re.compile(
    r"(?P<head><!-- run(?P<options>[^>]*)-->\n)(?P<fence>`{3,})console\n(?P<body>.*?)^(?P=fence)$\n",
    re.DOTALL | re.MULTILINE,
)
_FENCED = re.compile(r"^(?P<fence>`{3,})(?:console|sh|bash)\n(?P<body>.*?)^(?P=fence)$", re.DOTALL | re.MULTILINE)
_PROMPT = "$ "
_LAST = re.compile(r"\s*\(last (?P<lines>\d+) lines\)$")


@dataclass(frozen=True, slots=True)
class Block:
    """One generated console block.

    Attributes:
        name: Words of its marker: `<!-- run: index perl -->` is 'index perl'.
        commands: The commands it shows, in order; a trailing backslash continues one on the next line.
        last: How many lines at the end of an output are shown, for `<!-- run: test (last 4 lines) -->`; None for all.
    """

    name: str
    commands: tuple[str, ...]
    last: int | None = None

    def shown(self, output: str) -> str:
        """The part of a command's output that is shown, without the blanks that a table leaves at line ends."""
        lines = [line.rstrip() for line in output.strip().splitlines()]
        return "\n".join(lines if self.last is None or len(lines) <= self.last else ["...", *lines[-self.last :]])


def read_blocks(text: str) -> list[Block]:
    """Every generated block of a Markdown text, in order."""
    return [_block(match) for match in _BLOCK.finditer(text)]


def write_blocks(text: str, outputs: dict[str, list[str]]) -> str:
    """Put new outputs into a Markdown text.

    Args:
        text: The Markdown.
        outputs: By block name, what each of its commands printed; blocks that are not named stay as they are.
    """

    def replace(match: re.Match[str]) -> str:
        block = _block(match)
        if block.name not in outputs:
            return match[0]
        shown = [
            f"{_PROMPT}{command}\n{block.shown(output)}\n" if output.strip() else f"{_PROMPT}{command}\n"
            for command, output in zip(block.commands, outputs[block.name], strict=True)
        ]
        body = "\n".join(shown)
        longest = max((len(run) for run in re.findall("`+", body)), default=0)
        fence = "`" * max(3, longest + 1)  # an answer may hold a fence of its own
        return f"{match['head']}{fence}console\n{body}{fence}\n"

    return _BLOCK.sub(replace, text)


def all_commands(text: str) -> list[str]:
    """Every `graftwork ...` and `make ...` command in any fenced block of a Markdown text."""
    found: list[str] = []
    for fenced in _FENCED.finditer(text):
        lines = fenced["body"].replace("\\\n", " ").splitlines()
        found += [
            line.removeprefix(_PROMPT).strip()
            for line in lines
            if line.removeprefix(_PROMPT).startswith(("graftwork ", "make "))
        ]
    return found


def _block(match: re.Match[str]) -> Block:
    words = match["options"].strip(" :")
    last = _LAST.search(words)
    return Block(
        name=_LAST.sub("", words),
        commands=tuple(_commands(match["body"])),
        last=int(last["lines"]) if last else None,
    )


def _commands(body: str) -> list[str]:
    lines = body.replace("\\\n", "\\\x00").splitlines()
    return [line.removeprefix(_PROMPT).replace("\x00", "\n") for line in lines if line.startswith(_PROMPT)]
