from __future__ import annotations

from tests.train.examples.making import passage, question
from train.examples.repeated import without_repeated

LONG = "How long is the hawser of the north berth in the harbour of Vessen today?"


def test_the_first_of_alike_questions_stays() -> None:
    texts = [LONG, "How deep is it?", f"And {LONG.lower()}", "how  DEEP is it?", LONG.upper(), "How wide is it?"]
    questions = [question(passage(number, "Text."), text) for number, text in enumerate(texts)]
    kept, rejected = without_repeated(questions)
    assert [each.text for each in kept] == [LONG, "How deep is it?", "How wide is it?"]
    assert [(each.chunk_id, each.reason) for each in rejected] == [
        ("c2", "nearly equal question"),
        ("c3", "equal question"),
        ("c4", "equal question"),
    ]
    assert rejected[0].detail == f"as {LONG!r}"
    assert without_repeated([]) == ((), ())
