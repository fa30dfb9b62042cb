from __future__ import annotations

import pytest

from indexer.errors import ConflictError
from indexer.identity import content_hash, document_hash
from indexer.run.rebuild import by_content, found_by_content, left_over, lost_documents, refuse_loss, refuse_switch
from indexer.run.state import Fingerprint, KnownDocument, gather
from indexer.run.target import Target
from tests.indexer.run.test_state import rows
from tests.indexer.run.test_target import made

TARGET = Target(number=2, live=made(1), because=("chunker a instead of b",), begun=False)
FIRST = Target(number=1, live=None, because=(), begun=False)


def known(*documents: tuple[str, str, int, int]) -> dict[str, KnownDocument]:
    return gather([row for name, version, count, of in documents for row in rows(name, version, count, of=of)])


def test_the_same_bytes_under_two_pipelines_have_the_same_content_hash() -> None:
    one, two = (document_hash(b"words", pipeline=pipeline) for pipeline in ("a" * 32, "b" * 32))
    assert one != two
    assert content_hash(one) == content_hash(two) != content_hash(document_hash(b"other", pipeline="a" * 32))
    stored = by_content(known(("d/a", one, 2, 2)))
    [found] = found_by_content([Fingerprint("d/a", None, "d/a", two)])
    assert stored["d/a"].is_complete(found.document_hash)
    assert stored["d/a"].files == ("file:///x/d/a",)


def test_documents_that_nobody_let_go_are_lost() -> None:
    assert lost_documents(["d/a", "d/b", "e/c"], present={"d/a"}, let_go=["d/b"]) == ["e/c"]


def test_a_loss_is_refused_with_its_number_and_roots() -> None:
    with pytest.raises(ConflictError, match=r"3 documents of d, e \(first 'd/a'\) that generation 1 holds.*--sync"):
        refuse_loss(["d/a", "d/b", "e/c"], alias="handbook", target=TARGET)
    with pytest.raises(ConflictError, match="of a, b, c, d, e and 2 more"):
        refuse_loss([f"{root}/x" for root in "abcdefg"], alias="handbook", target=TARGET)
    refuse_loss([], alias="handbook", target=TARGET)
    refuse_loss(["d/a"], alias="handbook", target=FIRST)


def test_a_switch_that_would_lose_documents_is_refused_with_a_reason() -> None:
    with pytest.raises(ConflictError, match=r"stay with generation 1: 1 documents of d .*anew \(file: damaged\)"):
        refuse_switch(["d/a"], alias="handbook", target=TARGET, reason="file: damaged")
    refuse_switch([], alias="handbook", target=TARGET, reason="")


def test_of_an_earlier_attempt_whole_documents_stay_and_halves_go() -> None:
    left = known(("d/now", "1", 1, 1), ("d/whole", "1", 2, 2), ("d/half", "1", 1, 2), ("d/unwanted", "1", 1, 1))
    assert left_over(left, stored={"d/now"}, wanted={"d/now", "d/whole", "d/half"}) == {"d/whole"}
