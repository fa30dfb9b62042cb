"""A document is on one side, about as many are for evaluation as asked, and passages stay on theirs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.train.examples.making import passage
from train.examples.splitting import on_side, side_of


@given(st.text(), st.integers(), st.floats(0, 0.99))
def test_a_document_that_is_for_evaluation_stays_there_at_a_larger_share(
    document: str, seed: int, share: float
) -> None:
    side = side_of(document, seed=seed, share=share)
    assert side_of(document, seed=seed, share=share) == side
    if side == "evaluation":
        assert side_of(document, seed=seed, share=min(0.999, share + 0.1)) == "evaluation"
    assert side_of(document, seed=seed, share=0.0) == "training"


def test_shares_are_kept_and_known_documents_never_move() -> None:
    sides = [side_of(f"docs/{number}.md", seed=0, share=0.1) for number in range(5000)]
    assert 0.08 < sides.count("evaluation") / 5000 < 0.12
    assert [number for number in range(60) if sides[number] == "evaluation"] == [17, 21, 43]
    other = [side_of(f"docs/{number}.md", seed=1, share=0.1) for number in range(5000)]
    assert other != sides


def test_passages_of_the_other_side_and_copies_go() -> None:
    names = [f"d{number}.md" for number in range(40)]
    golden = passage(0, "Golden text.", document=names[0], chunk_id="golden")
    found = [passage(number, f"Text {number}.", document=name) for number, name in enumerate(names)]
    copies = [passage(90, "Golden text. ", document=name, chunk_id=f"copy {name}") for name in names]
    twice = [passage(91, "Text 1.", document=name, chunk_id=f"twice {name}") for name in names]
    kept = on_side([*copies, golden, *found, *twice], "training", golden=golden, seed=0, share=0.3)
    assert {side_of(each.document_id, seed=0, share=0.3) for each in kept} == {"training"}
    texts = [each.text.strip() for each in kept]
    assert len(texts) == len(set(texts))
    assert [each.chunk_id for each in kept if each.text.startswith("Golden")] == ["golden"]
