"""What becomes of dead letters; a whole run with a failing document is in test_pipeline.py."""

from __future__ import annotations

from indexer.run.dead_letters import settle
from indexer.store.letters import DeadLetter
from indexer.types import FailedDocument

EARLIER, NOW = "2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00"


def letter(name: str, *, key: str = "", attempts: int = 1) -> DeadLetter:
    file = f"file:///docs/{name}"
    return DeadLetter(
        uri=file + key, file=file, source_id=f"docs/{name}", stage="parse", reason="old", first=EARLIER, last=EARLIER,
        attempts=attempts,
    )  # fmt: skip


def failure(name: str, *, key: str = "") -> FailedDocument:
    file = f"file:///docs/{name}"
    return FailedDocument(uri=file + key, stage="read", reason="new", file=file, source_id=f"docs/{name}")


def test_a_new_failure_is_written_and_an_old_one_counted_on() -> None:
    settled = settle(
        [letter("a.pdf", attempts=2)], failures=[failure("a.pdf"), failure("b.pdf")], read=(), gone=(), now=NOW
    )
    first, second = settled.write
    assert (first.uri, first.attempts, first.first, first.last) == ("file:///docs/a.pdf", 3, EARLIER, NOW)
    assert (first.stage, first.reason) == ("read", "new")
    assert (second.attempts, second.first) == (1, NOW)
    assert (settled.delete, settled.standing) == ((), 2)


def test_what_was_read_and_did_not_fail_is_well() -> None:
    before = [letter("f.jsonl", key="#1"), letter("f.jsonl", key="#2"), letter("other.pdf")]
    settled = settle(before, failures=[failure("f.jsonl", key="#2")], read={"docs/f.jsonl"}, gone=(), now=NOW)
    assert settled.delete == ("file:///docs/f.jsonl#1",)
    assert settled.standing == 2


def test_what_is_gone_is_let_go() -> None:
    settled = settle([letter("a.pdf")], failures=[], read=(), gone={"file:///docs/a.pdf"}, now=NOW)
    assert (settled.write, settled.delete, settled.standing) == ((), ("file:///docs/a.pdf",), 0)


def test_what_was_not_looked_at_stands() -> None:
    settled = settle([letter("a.pdf")], failures=[], read={"docs/b.pdf"}, gone=(), now=NOW)
    assert (settled.write, settled.delete, settled.standing) == ((), (), 1)
