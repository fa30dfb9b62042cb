"""A chat template that marks the assistant's turns, so that only they are learned, and renders the same text.

transformers finds the tokens of assistant turns by `{% generation %}` markers in the template. TRL carries marked
copies of the templates of many model families; for the plain ChatML loop that SmolLM2 and others use, the markers are
put in here. Whatever the source, the result counts only after its renderings were compared with the base's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Protocol

from pydantic import JsonValue

from indexer.errors import InputError
from train.data.row import Example

Turns = list[dict[str, JsonValue]]
Tools = list[dict[str, JsonValue]]

_Q = r"""(?:'|")"""
_NEWLINE = r"(?:\\n|\n)"
# {{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}, however quoted and spaced.
_CHATML_TURN = re.compile(
    rf"\{{\{{-?\s*{_Q}<\|im_start\|>{_Q}\s*\+\s*message(?:\[{_Q}role{_Q}\]|\.role)\s*\+\s*{_Q}{_NEWLINE}{_Q}"
    rf"\s*\+\s*message(?:\[{_Q}content{_Q}\]|\.content)\s*\+\s*{_Q}<\|im_end\|>"
    rf"(?:{_Q}\s*\+\s*{_Q})?{_NEWLINE}{_Q}\s*-?\}}\}}"
)
_CHATML_MARKED = (
    "{% if message['role'] == 'assistant' %}"
    "{{ '<|im_start|>assistant\\n' }}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}"
    "{% else %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endif %}"
)
_MARKER = re.compile(r"\{%-?\s*generation\s*-?%\}")

_PROBES: tuple[Turns, ...] = (
    [{"role": "user", "content": "How deep?"}, {"role": "assistant", "content": "Two spans."}],
    [
        {"role": "system", "content": "Answer from the sources [1]."},
        {"role": "user", "content": "Context:\n\n[1] One.\n\nQuestion: which?"},
        {"role": "assistant", "content": "  One [1].\n"},
        {"role": "user", "content": "Sure? {{ braces }} <|im_end|>"},
        {"role": "assistant", "content": "Yes."},
    ],
)


class Tokenizer(Protocol):
    """What is used of a transformers tokenizer."""

    chat_template: str | None

    def apply_chat_template(self, conversation: Turns, **options: object) -> object:
        """Render or tokenise a conversation."""

    def decode(self, token_ids: list[int]) -> str:
        """Return the text of tokens."""


def training_template(tokenizer: Tokenizer, *, given: str | None = None, base_name: str) -> str:
    """Return a template with `{% generation %}` markers that renders what the tokenizer's own template renders.

    Args:
        tokenizer: The base model's tokenizer.
        given: A template written by the user, taken instead of a derived one.
        base_name: Name of the base model, for messages.

    Raises:
        InputError: The base has no chat template, its template cannot be marked, or the marked one renders other text.
    """
    own = tokenizer.chat_template
    if not isinstance(own, str):
        raise InputError(f"The base model {base_name} has no chat template; train an instruct model, or give it one.")
    marked = given or _marked(tokenizer, own)
    if marked is None or not _MARKER.search(marked):
        raise InputError(
            f"The chat template of {base_name} cannot be marked for assistant-only loss; set train.chat_template to a "
            "Jinja file that renders the same text with {% generation %} around the assistant's content."
        )
    check_same_text(tokenizer, marked, ((turns, []) for turns in _PROBES))
    return marked


def check_same_text(tokenizer: Tokenizer, marked: str, conversations: Iterable[tuple[Turns, Tools]]) -> None:
    """Compare renderings of a marked template with those of the tokenizer's own template.

    Conversations that the own template refuses are passed over.

    Raises:
        InputError: A rendering differs.
    """
    for turns, tools in conversations:
        for prompt, open_turn in ((turns, False), (turns[:-1], True)):
            expected = _render(tokenizer, prompt, None, tools=tools, open_turn=open_turn) if prompt else None
            if expected is None:
                continue
            found = _render(tokenizer, prompt, marked, tools=tools, open_turn=open_turn)
            if found != expected:
                raise InputError(
                    "The training chat template renders other text than the base model's own: "
                    f"{_difference(expected, found or '')}; training on it would teach another format than is served."
                )


def check_tools_are_rendered(tokenizer: Tokenizer, template: str, examples: Iterable[Example]) -> None:
    """See that a template shows what rows say of tools; many leave it out silently.

    Raises:
        InputError: The tools of a row, or a call of one, are not in its rendering.
    """
    for example in examples:
        if not example.uses_tools:
            continue
        turns, tools = example.as_dicts(), [*example.tools]
        shown = _render(tokenizer, turns, template, tools=tools, open_turn=False)
        quiet: Turns = [{key: value for key, value in turn.items() if key != "tool_calls"} for turn in turns]
        without: tuple[tuple[str, Tools, Turns, bool], ...] = (
            ("tools", [], turns, bool(tools)),
            ("tool calls", tools, quiet, quiet != turns),
        )
        for what, known, said, there in without:
            if (
                there
                and shown is not None
                and shown == _render(tokenizer, said, template, tools=known, open_turn=False)
            ):
                raise InputError(
                    f"{example.origin}: the chat template leaves out the {what} of the row, so that nothing of them is "
                    "learnt; train a base model whose template has them, or give one by train.chat_template."
                )


def add_generation_markers(template: str) -> str | None:
    """Mark the assistant's turns in a template that has the plain ChatML loop exactly once; else return None."""
    marked, count = _CHATML_TURN.subn(lambda _: _CHATML_MARKED, template)
    return marked if count == 1 else None


def _marked(tokenizer: Tokenizer, own: str) -> str | None:
    if _MARKER.search(own):
        return own
    marked = add_generation_markers(own)
    return marked if marked is not None else _marked_by_trl(tokenizer)


def _marked_by_trl(tokenizer: Tokenizer) -> str | None:
    from trl.chat_template_utils import get_training_chat_template

    try:
        template: str | None = get_training_chat_template(tokenizer)
    except ValueError:
        return None
    return template


def _render(
    tokenizer: Tokenizer,
    turns: Sequence[dict[str, JsonValue]],
    template: str | None,
    *,
    tools: Tools,
    open_turn: bool,
) -> str | None:
    from jinja2 import TemplateError

    try:
        text = tokenizer.apply_chat_template(
            list(turns), tools=tools or None, chat_template=template, tokenize=False, add_generation_prompt=open_turn
        )
    except TemplateError:
        return None
    return str(text)


def _difference(expected: str, found: str) -> str:
    at = next(
        (i for i, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), min(len(expected), len(found))
    )
    return f"{found[at : at + 30]!r} where {expected[at : at + 30]!r} is expected, at character {at}"
