from __future__ import annotations

from tests.train.examples.making import answered, layout, passage
from train.examples.plain import plain_row

GOLDEN, OTHER, UNUSED = (passage(number, f"Text {number}.", document=f"d{number}.md") for number in range(3))
SHOWN = (UNUSED, GOLDEN, OTHER)


def test_a_row_is_made_of_its_chunk_and_of_what_is_cited() -> None:
    row = plain_row(answered(GOLDEN, "It is so [3]. Really [9].", shown=SHOWN), layout=layout, prompt=None)
    assert row.messages == (
        {"role": "user", "content": "How long is the hawser?"},
        {"role": "assistant", "content": "It is so. Really."},
    )
    assert (row.kind, row.documents, row.chunks) == ("closed", ("d0.md", "d1.md"), ("c0", "c1"))


def test_a_row_that_cites_nothing_may_be_made_of_all() -> None:
    row = plain_row(answered(GOLDEN, "It is so.", shown=SHOWN), layout=layout, prompt=None)
    assert row.documents == ("d0.md", "d2.md", "d1.md")
