"""Rows are laid out as the app lays out what a model reads."""

from __future__ import annotations

from deploy.cli.passage_layout import in_system, in_user
from indexer.passages import Passage
from serve.prompt import CONTEXT_HEADER, assemble

PASSAGES = tuple(
    Passage(f"c{n}", f"d{n}.md", f"Title {n}", ("Ropes",), f"file:///d{n}.md", None, 0, f"Text {n}.", 1.0)
    for n in (1, 2)
)


def test_passages_stand_in_the_system_message_as_in_serving() -> None:
    served = assemble(
        [{"role": "user", "content": "How long?"}],
        prompt="Be brief.",
        passages=PASSAGES,
        max_context_tokens=9999,
        max_model_len=99999,
        max_new_tokens=1,
        count_tokens=len,
    )
    assert list(in_system("How long?", prompt="Be brief.", passages=PASSAGES)) == served.messages
    assert in_system("How long?", prompt=None, passages=()) == ({"role": "user", "content": "How long?"},)


def test_passages_stand_before_the_question() -> None:
    shown = f"{CONTEXT_HEADER}\n\n[1] Title 1 > Ropes\nText 1.\n\n[2] Title 2 > Ropes\nText 2.\n\nHow long?"
    assert in_user("How long?", prompt="Be brief.", passages=PASSAGES) == (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": shown},
    )
    assert in_user("How long?", prompt=None, passages=()) == ({"role": "user", "content": "How long?"},)
