from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from indexer.run.state import Fingerprint, Moved, Plan, gather, make_plan, match_renamed, stale_rows
from indexer.types import StoredRow


def rows(document_id: str, document_hash: str, count: int, *, of: int | None = None, at: str = "/x") -> list[StoredRow]:
    file = f"file://{at}/{document_id.partition('#')[0]}"
    return [
        StoredRow(f"{document_id}-{document_hash}-{number}", document_id, document_hash, of or count, file)
        for number in range(count)
    ]


def found(document_id: str, document_hash: str) -> Fingerprint:
    source_id, _, key = document_id.partition("#")
    return Fingerprint(source_id, key or None, document_id, document_hash)


def plan_of(
    *documents: Fingerprint,
    stored: Iterable[StoredRow],
    folders: Sequence[str] = ("d",),
    unreadable: Sequence[str] = (),
    at: str = "/x",
    existing: Iterable[str] = (),
    elsewhere: str = "/nowhere",
) -> Plan:
    """The plan of a run over what lies below `at`, where `existing` files are there besides and a folder is not."""
    files = {document.source_id: f"file://{at}/{document.source_id}" for document in documents}
    there = {*files.values(), *existing}
    return make_plan(
        documents,
        known=gather(stored),
        folders=folders,
        unreadable=unreadable,
        files=files,
        existing=there.intersection,
        at_home=lambda _, origins: not any(file.startswith(f"file://{elsewhere}/") for file in origins),
    )


def test_documents_are_new_changed_unchanged_or_vanished() -> None:
    plan = plan_of(
        found("d/a", "1"), found("d/b", "2"), found("d/c", "3"),
        stored=[*rows("d/a", "1", 3), *rows("d/b", "1", 2), *rows("d/gone", "1", 1), *rows("other/x", "1", 1)],
    )  # fmt: skip
    assert (plan.new, plan.changed, plan.unchanged) == ({"d/c"}, {"d/b"}, {"d/a"})
    assert plan.sources == {"d/b": (), "d/c": ()}
    assert (plan.vanished, plan.moved) == (("d/gone",), ())


def test_an_interrupted_write_is_a_change() -> None:
    plan = plan_of(
        found("d/half", "1"), found("d/both", "2"),
        stored=[*rows("d/half", "1", 2, of=3), *rows("d/both", "1", 1), *rows("d/both", "2", 1)],
    )  # fmt: skip
    assert plan.changed == {"d/half", "d/both"}


def test_unchanged_parts_of_a_changed_file_are_passed_over() -> None:
    plan = plan_of(found("d/f#a", "1"), found("d/f#b", "2"), stored=[*rows("d/f#a", "1", 1), *rows("d/f#b", "1", 1)])
    assert plan.sources == {"d/f": ("a",)}


def test_what_cannot_be_read_has_not_vanished() -> None:
    stored = [row for name in ("d/f#a", "d/shut/x", "d/p.pdf", "d/gone") for row in rows(name, "1", 1)]
    plan = plan_of(stored=stored, unreadable=["d/f", "d/shut", "d/p.pdf"])
    assert plan.vanished == ("d/gone",)


def test_nothing_vanishes_when_a_file_was_named() -> None:
    assert plan_of(found("d/a", "1"), stored=rows("d/b", "1", 1), folders=[]).vanished == ()


def test_a_part_that_its_file_does_not_hold_any_more_has_vanished() -> None:
    plan = plan_of(found("d/f#a", "1"), stored=[*rows("d/f#a", "1", 1), *rows("d/f#b", "1", 1)])
    assert plan.vanished == ("d/f#b",)


def test_documents_of_another_folder_of_the_same_name_have_not_vanished() -> None:
    stored = [*rows("d/theirs", "1", 1, at="/x"), *rows("d/removed", "1", 1, at="/x"), *rows("d/own", "1", 1, at="/y")]
    plan = plan_of(found("d/b", "2"), stored=stored, at="/y", existing=["file:///x/d/theirs"])
    assert plan.vanished == ("d/own", "d/removed")


def test_a_row_that_does_not_tell_its_file_is_kept() -> None:
    assert plan_of(stored=[StoredRow("c", "d/untold", "1", 1, None)]).vanished == ()


def test_a_changed_document_knows_the_other_files_that_it_was_stored_from() -> None:
    stored = [*rows("d/a", "1", 1, at="/x"), *rows("d/b", "1", 1, at="/x"), *rows("d/b", "2", 1, at="/z")]
    plan = plan_of(found("d/a", "1"), found("d/b", "3"), found("d/c", "1"), stored=stored, at="/y")
    assert (plan.unchanged, plan.changed) == ({"d/a"}, {"d/b"})
    assert plan.moved == (
        Moved("d/b", stored="file:///x/d/b", now="file:///y/d/b"),
        Moved("d/b", stored="file:///z/d/b", now="file:///y/d/b"),
    )


def test_stale_rows_are_those_of_another_version_of_a_written_document() -> None:
    stored = [*rows("a", "1", 2), *rows("a", "2", 1), *rows("b", "1", 1)]
    assert stale_rows(stored, current={"a": "2"}) == ["a-1-0", "a-1-1"]


def test_new_documents_with_the_bytes_of_gone_ones_are_renamed() -> None:
    plan = plan_of(
        found("d/new/a", "1"), found("d/fresh", "2"), found("d/copy", "3"), found("d/kept", "3"), found("d/b", "5"),
        stored=[
            *rows("d/a", "1", 2), *rows("d/gone", "4", 1), *rows("d/kept", "3", 1), *rows("d/b", "6", 1),
            *rows("other/fresh", "2", 1),
        ],
    )  # fmt: skip
    assert plan.renamed == {"d/new/a": "d/a"}
    assert (plan.vanished, plan.new) == (("d/gone",), {"d/new/a", "d/fresh", "d/copy"})
    assert plan.alike == {"d/new/a": "d/a", "d/copy": "d/kept", "d/b": "d/b", "d/fresh": "other/fresh"}


def test_a_file_of_another_machine_is_no_former_name() -> None:
    stored = [*rows("d/old", "1", 1, at="/x"), *former(rows("d/b", "2", 1, at="/y"), "d/a"), *rows("d/a", "2", 1)]
    documents = found("d/new", "1"), found("d/b", "2")
    assert plan_of(*documents, stored=stored, at="/y").renamed == {"d/new": "d/old", "d/b": "d/a"}
    plan = plan_of(*documents, stored=stored, at="/y", elsewhere="/x")
    assert (plan.renamed, plan.vanished) == ({}, ("d/a", "d/old"))


def former(stored: Iterable[StoredRow], document_id: str) -> list[StoredRow]:
    return [replace(row, former=document_id) for row in stored]


def test_a_rename_that_was_interrupted_is_taken_up_wherever_it_was() -> None:
    new = found("d/new", "1")
    partly, wholly = former(rows("d/new", "1", 1, of=2), "d/old"), former(rows("d/new", "1", 2), "d/old")
    for stored in (partly, wholly):
        plan = plan_of(new, stored=[*stored, *rows("d/old", "1", 2)])
        assert (plan.renamed, plan.vanished) == ({"d/new": "d/old"}, ())
    assert plan_of(new, stored=[*wholly, *rows("d/old", "1", 1, of=2)]).renamed == {"d/new": "d/old"}
    edited = plan_of(found("d/new", "3"), stored=[*wholly, *rows("d/old", "1", 2)])
    assert (edited.renamed, edited.changed) == ({"d/new": "d/old"}, {"d/new"})


def test_no_rename_is_taken_up_where_the_file_is_back_or_holds_something_else_or_was_a_copy() -> None:
    new, wholly = found("d/new", "1"), former(rows("d/new", "1", 2), "d/old")
    there = plan_of(new, found("d/old", "1"), stored=[*wholly, *rows("d/old", "1", 2)])
    assert (there.renamed, there.vanished) == ({}, ())
    other = plan_of(new, stored=[*wholly, *rows("d/old", "2", 2)])
    assert (other.renamed, other.vanished) == ({}, ("d/old",))
    copy = plan_of(new, stored=[*rows("d/new", "1", 2), *rows("d/old", "1", 2)])
    assert (copy.renamed, copy.vanished) == ({}, ("d/old",))


def test_a_document_is_renamed_under_another_parser_too_but_not_if_it_was_stored_in_part() -> None:
    content = "c" * 32
    new = found("d/new", content + "parser 2")
    assert plan_of(new, stored=rows("d/old", content + "parser 1", 2)).renamed == {"d/new": "d/old"}
    assert plan_of(new, stored=rows("d/old", content + "parser 1", 2, of=3)).renamed == {}


def test_equal_documents_are_paired_one_by_one_and_by_their_file_names_first() -> None:
    new = {"d/x/two": "1", "d/x/three": "1", "d/x/one": "1", "d/other": "2"}
    assert match_renamed(new, gone={"1": ["d/one", "d/two"], "3": ["d/z"]}) == {"d/x/one": "d/one", "d/x/two": "d/two"}
    assert match_renamed({"d/c": "1"}, gone={"1": ["d/b", "d/a"]}) == {"d/c": "d/a"}
    assert match_renamed({}, gone={"1": ["d/a"]}) == {}
