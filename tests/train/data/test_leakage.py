from __future__ import annotations

from train.data.leakage import Leak, find_leaks
from train.data.row import Example, Origin, Turn


def example(asked: str, answered: str, line: int, *documents: str, source: str = "train") -> Example:
    return Example((Turn("user", asked), Turn("assistant", answered)), Origin(source, line), documents=documents)


def test_each_evaluation_row_is_told_once_by_the_most_that_training_knows_of_it() -> None:
    training = [example("How deep?", "Two.", 1, "a.md"), example("How wide?", "Four.", 2, "b.md")]
    held_out = [
        example("how  DEEP?", "two.", 1, "a.md", source="eval"),
        example("How wide?", "Five.", 2, source="eval"),
        example("How long?", "Nine.", 3, "c.md", "b.md", source="eval"),
        example("How old?", "Ten.", 4, "d.md", source="eval"),
    ]
    leaks = find_leaks(training, held_out)
    assert leaks == [
        Leak(Origin("eval", 1), "row", Origin("train", 1)),
        Leak(Origin("eval", 2), "question", Origin("train", 2)),
        Leak(Origin("eval", 3), "document", Origin("train", 2), "b.md"),
    ]
    assert [leak.sentence() for leak in leaks][1:] == [
        "eval:2 has the question of train:2",
        "eval:3 has the document b.md of train:2",
    ]
