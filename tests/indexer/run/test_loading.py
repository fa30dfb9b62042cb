from __future__ import annotations

from indexer.parsers.document import document_id
from indexer.run.loading import failed_before, load_early
from indexer.run.state import Plan
from indexer.store.letters import DeadLetter
from tests.indexer.making import source

FILES = {"docs/a.pdf": "file:///docs/a.pdf", "docs/all.jsonl": "file:///docs/all.jsonl"}


def plan(*, new: tuple[str, ...] = (), changed: tuple[str, ...] = (), alike: tuple[str, ...] = ()) -> Plan:
    return Plan(
        new=frozenset(new),
        changed=frozenset(changed),
        unchanged=frozenset(),
        sources={},
        vanished=(),
        alike={name: f"old/{name}" for name in (*changed, *alike)},
    )


def letter(uri: str, *, source_id: str) -> DeadLetter:
    return DeadLetter(
        uri=uri, file=uri.partition("#")[0], source_id=source_id, stage="parse", reason="", first="", last="",
        attempts=1,
    )  # fmt: skip


def test_new_and_changed_documents_are_expected_to_need_the_model() -> None:
    assert load_early(plan(new=("a",)), failed=set())
    assert load_early(plan(changed=("a",)), failed=set())
    assert load_early(plan(new=("a", "b", "c"), alike=("b",)), failed={"c"})


def test_what_failed_before_and_what_is_stored_under_another_name_is_not() -> None:
    assert not load_early(plan(new=("a", "b"), changed=("c",), alike=("b",)), failed={"a", "c"})
    assert not load_early(plan(), failed=set())


def test_a_failed_document_is_known_by_its_id_in_the_same_file() -> None:
    letters = [
        letter("file:///docs/a.pdf", source_id="docs/a.pdf"),
        letter("file:///docs/all.jsonl#7", source_id="docs/all.jsonl"),
        letter("file:///elsewhere/all.jsonl#8", source_id="docs/all.jsonl"),
        letter("file:///docs/gone.pdf", source_id="docs/gone.pdf"),
    ]
    assert failed_before(letters, files=FILES) == {"docs/a.pdf", "docs/all.jsonl#7"}


def test_its_id_is_the_one_that_it_would_have_now() -> None:
    long = "k" * 3000
    file = source("/docs/all.jsonl")
    known = failed_before([letter(f"{file.uri}#{long}", source_id=file.source_id)], files={file.source_id: file.uri})
    assert known == {document_id(file, long)}
