"""Perl POD's formatting codes: B<>, C<< >>, L<text|name/"section">, E<gt> and their nesting, to plain text."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field

_OPENING = re.compile(r"[A-Z](?P<angles><(?:<+(?=\s))?)")
_NAMED_ESCAPES = {"lt": "<", "gt": ">", "verbar": "|", "sol": "/", "lchevron": "«", "rchevron": "»"}
_HAS_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:[^:\s]")
_MAX_DEPTH = 50  # deeper nesting is kept as text


@dataclass(slots=True)
class _Code:
    """An open formatting code; `angles` counts its brackets, 0 is the paragraph itself."""

    letter: str
    angles: int
    parts: list[str | _Code] = field(default_factory=list)


def plain(text: str) -> str:
    """Return the text of a paragraph with its formatting codes applied or removed.

    A code that is never closed ends with the paragraph, as Perl's own formatters do.
    """
    if "<" not in text:
        return text
    return _render(_parse(text))


def _parse(text: str) -> _Code:
    root = _Code(letter="", angles=0)
    stack = [root]
    place = 0
    pending: list[str] = []

    def settle() -> None:
        if pending:
            stack[-1].parts.append("".join(pending))
            pending.clear()

    while place < len(text):
        opening = _OPENING.match(text, place) if text[place].isupper() and len(stack) <= _MAX_DEPTH else None
        if opening is not None:
            settle()
            code = _Code(letter=text[place], angles=len(opening["angles"]))
            stack[-1].parts.append(code)
            stack.append(code)
            place = opening.end()
            continue
        closing = _closing_length(text, place, stack[-1].angles)
        if closing:
            settle()
            stack.pop()
            place += closing
            continue
        pending.append(text[place])
        place += 1
    settle()
    return root


def _closing_length(text: str, place: int, angles: int) -> int:
    """Return how many characters close the innermost code here, or 0."""
    if angles == 0:
        return 0
    if angles == 1:
        return 1 if text[place] == ">" else 0
    after_space = place
    while after_space < len(text) and text[after_space].isspace():
        after_space += 1
    closes = after_space > place and text.startswith(">" * angles, after_space)
    return after_space - place + angles if closes else 0


def _render(code: _Code) -> str:
    if code.letter in ("X", "Z"):
        return ""
    if code.letter == "L":
        return _link(code)
    body = "".join(part if isinstance(part, str) else _render(part) for part in code.parts)
    if code.angles > 1:
        body = body.strip()
    return _escape(body) if code.letter == "E" else body


def _escape(name: str) -> str:
    name = name.strip()
    if name in _NAMED_ESCAPES:
        return _NAMED_ESCAPES[name]
    try:
        if name.lower().startswith("0x"):
            return chr(int(name, 16))
        if name.isdigit():
            return chr(int(name, 8 if name.startswith("0") and len(name) > 1 else 10))
    except (ValueError, OverflowError):
        return name
    entity = f"&{name};"
    unescaped = html.unescape(entity)
    return name if unescaped == entity else unescaped


def _link(code: _Code) -> str:
    label: list[str] = []
    for part in code.parts:
        if isinstance(part, str):
            before, bar, _ = part.partition("|")
            label.append(before)
            if bar:
                return "".join(label).strip()
        else:
            label.append(_render(part))
    target = "".join(label).strip()
    if _HAS_SCHEME.match(target):
        return target
    name, slash, section = target.partition("/")
    section = section.strip().strip('"')
    if not slash:
        return target.strip('"') if target.startswith('"') else target
    quoted = f'"{section}"'
    return f"{quoted} in {name.strip()}" if name.strip() else quoted
