"""Distractors, evidence and the rows that hold them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.train.examples.making import answered, layout, passage
from train.examples.raft import distractors, evidence, raft_row, with_golden
from train.examples.types import Answered, Rejection, Row
from train.wording import REFUSAL

GOLDEN = passage(0, "The hawser is 212 metres long. It is tarred every third autumn.", heading=("Ropes",))
SAME_SECTION = passage(1, "Ropes lie in the shed.", heading=("Ropes",))
OTHER_SECTION = passage(2, "The chain is 90 metres long.", heading=("Chains",))
OTHER_DOCUMENT = passage(3, "The red lamp burns rape oil.", document="lamps.md")
SAYS_IT_TOO = passage(4, "Its hawser is 212 metres long.", document="copy.md")
FOUND = (OTHER_SECTION, GOLDEN, SAME_SECTION, SAYS_IT_TOO, OTHER_DOCUMENT)
ANSWER = "The hawser is 212 metres long [2]."


def raft(given: Answered, **changes: object) -> Row | Rejection:
    fields: dict[str, object] = {"k": 3, "without_golden": 0.0, "threshold": 0.8, "seed": 0, "prompt": "Be brief."}
    return raft_row(given, layout=layout, **{**fields, **changes})  # type: ignore[arg-type]


def given_answer(answer: str = ANSWER, found: tuple = FOUND) -> Answered:
    return answered(GOLDEN, answer, shown=FOUND[:3], found=found)


def test_distractors_are_of_other_sections_and_do_not_answer() -> None:
    assert distractors(given_answer(), [GOLDEN], threshold=0.8) == (OTHER_SECTION, OTHER_DOCUMENT)


def test_a_golden_row_quotes_what_it_cites_by_its_number_there() -> None:
    row = raft(given_answer())
    assert isinstance(row, Row)
    assert (row.kind, row.golden) == ("golden", "c0")
    assert row.chunks == ("c2", "c0", "c3")
    assert row.documents == ("ropes.md", "lamps.md")
    assert row.messages[-1]["content"] == ('[2] "The hawser is 212 metres long."\n\nThe hawser is 212 metres long [2].')
    assert row.messages[0]["content"].startswith(f"Be brief.\n\n[1] {OTHER_SECTION.text}\n\n[2] {GOLDEN.text}")


def test_markers_are_numbered_anew_and_those_that_point_nowhere_go() -> None:
    shown = (SAME_SECTION, OTHER_DOCUMENT, GOLDEN)
    row = raft(answered(GOLDEN, "The hawser is 212 metres long [3][9].", shown=shown, found=shown), k=2)
    assert isinstance(row, Row)
    assert row.chunks == ("c3", "c0")
    assert row.messages[-1]["content"].endswith("The hawser is 212 metres long [2].")


def test_without_its_golden_chunk_a_row_is_refused() -> None:
    row = raft(given_answer(), without_golden=1.0)
    assert isinstance(row, Row)
    assert (row.kind, row.chunks) == ("absent", ("c2", "c3"))
    assert row.messages[-1] == {"role": "assistant", "content": REFUSAL}
    assert row.documents == ("ropes.md", "lamps.md")


def test_a_question_without_distractors_or_whose_distractors_answer_together_keeps_its_chunk() -> None:
    alone = raft(given_answer(found=(GOLDEN, SAME_SECTION)), without_golden=1.0)
    assert isinstance(alone, Row)
    assert (alone.kind, alone.chunks) == ("golden", ("c0",))
    halves = (
        GOLDEN,
        passage(6, "There is a hawser of many metres.", document="x.md"),
        passage(7, "It is 212 long.", document="y.md"),
    )
    together = raft(answered(GOLDEN, "The hawser is 212 metres long [1].", found=halves), without_golden=1.0)
    assert isinstance(together, Row)
    assert together.kind == "golden"


@pytest.mark.parametrize(("share", "low", "high"), [(0.2, 20, 60), (0.5, 70, 130), (0.0, 0, 0), (1.0, 200, 200)])
def test_the_share_without_golden_is_kept(share: float, low: int, high: int) -> None:
    rows = []
    for number in range(200):
        golden = passage(0, GOLDEN.text, heading=("Ropes",), chunk_id=f"g{number}")
        row = raft(answered(golden, "The hawser is 212 metres long [1].", found=FOUND[:1]), without_golden=share)
        rows.append(row)
    absent = sum(isinstance(row, Row) and row.kind == "absent" for row in rows)
    assert low <= absent <= high


def test_an_answer_that_cites_nothing_or_cites_in_vain_is_left_out() -> None:
    uncited = raft(given_answer("The hawser is 212 metres long [7]."))
    assert isinstance(uncited, Rejection)
    assert uncited.reason == "uncited"
    in_vain = raft(answered(GOLDEN, "The hawser: 212 metres [2].", shown=(GOLDEN, OTHER_DOCUMENT)))
    assert isinstance(in_vain, Rejection)
    assert in_vain.reason == "without evidence"


def test_evidence_is_the_shortest_sentence_that_says_most() -> None:
    text = (
        "Ropes are old. The hawser is, as all know, 212 metres long. The hawser is 212 metres long! See [4] 212 hawser."
    )
    assert evidence("The hawser is 212 metres long.", passage(0, text)) == "The hawser is 212 metres long!"
    assert evidence("Nothing alike.", passage(0, text)) is None
    assert evidence("The hawser.", passage(0, "The hawser is long [4].")) is None


@given(
    st.lists(st.integers(0, 15), unique=True, max_size=10), st.sets(st.integers(0, 20), max_size=4), st.integers(1, 8)
)
def test_golden_passages_are_always_shown_in_the_order_of_ranks(ranks, wanted, k) -> None:
    passages = [passage(number, f"Text {number}.") for number in ranks]
    golden = [passage(number, f"Text {number}.") for number in sorted(wanted)]
    shown = with_golden(passages, golden, k=k)
    ids = [each.chunk_id for each in shown]
    assert len(ids) == len(set(ids))
    assert {each.chunk_id for each in golden} <= set(ids)
    assert len(ids) == max(len(golden), min(k, len({*ranks, *wanted})))
    ranked = [each for each in ids if each in {each.chunk_id for each in passages}]
    assert ranked == [each.chunk_id for each in passages if each.chunk_id in ids]
    assert ids[: len(ranked)] == ranked
