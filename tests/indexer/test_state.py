from __future__ import annotations

from indexer.state import Fingerprint, gather, make_plan, stale_rows
from indexer.types import StoredRow


def rows(document_id: str, document_hash: str, count: int, *, of: int | None = None) -> list[StoredRow]:
    return [
        StoredRow(f"{document_id}-{document_hash}-{number}", document_id, document_hash, of or count)
        for number in range(count)
    ]


def found(document_id: str, document_hash: str) -> Fingerprint:
    source_id, _, key = document_id.partition("#")
    return Fingerprint(source_id, key or None, document_id, document_hash)


def test_documents_are_new_changed_unchanged_or_vanished() -> None:
    known = gather([*rows("d/a", "1", 3), *rows("d/b", "1", 2), *rows("d/gone", "1", 1), *rows("other/x", "1", 1)])
    plan = make_plan(
        [found("d/a", "1"), found("d/b", "2"), found("d/c", "1")], known=known, folders=["d"], unreadable=[]
    )
    assert (plan.new, plan.changed, plan.unchanged) == ({"d/c"}, {"d/b"}, {"d/a"})
    assert plan.sources == {"d/b": (), "d/c": ()}
    assert plan.vanished == ("d/gone",)


def test_an_interrupted_write_is_a_change() -> None:
    known = gather([*rows("d/half", "1", 2, of=3), *rows("d/both", "1", 1), *rows("d/both", "2", 1)])
    plan = make_plan([found("d/half", "1"), found("d/both", "2")], known=known, folders=["d"], unreadable=[])
    assert plan.changed == {"d/half", "d/both"}


def test_unchanged_parts_of_a_changed_file_are_passed_over() -> None:
    known = gather([*rows("d/f#a", "1", 1), *rows("d/f#b", "1", 1)])
    plan = make_plan([found("d/f#a", "1"), found("d/f#b", "2")], known=known, folders=["d"], unreadable=[])
    assert plan.sources == {"d/f": ("a",)}


def test_what_cannot_be_read_has_not_vanished() -> None:
    known = gather([row for name in ("d/f#a", "d/shut/x", "d/p.pdf", "d/gone") for row in rows(name, "1", 1)])
    plan = make_plan([], known=known, folders=["d"], unreadable=["d/f", "d/shut", "d/p.pdf"])
    assert plan.vanished == ("d/gone",)


def test_nothing_vanishes_when_a_file_was_named() -> None:
    plan = make_plan([found("d/a", "1")], known=gather(rows("d/b", "1", 1)), folders=[], unreadable=[])
    assert plan.vanished == ()


def test_stale_rows_are_those_of_another_version_of_a_written_document() -> None:
    stored = [*rows("a", "1", 2), *rows("a", "2", 1), *rows("b", "1", 1)]
    assert stale_rows(stored, current={"a": "2"}) == ["a-1-0", "a-1-1"]
