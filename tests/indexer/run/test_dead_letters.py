"""What becomes of dead letters; a whole run with a failing document is in test_pipeline.py."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pymilvus.exceptions import MilvusException

from indexer.embedding.files import EMBEDDED_NAME, resolve_embedder
from indexer.errors import ConflictError, UnavailableError
from indexer.run.building import build_generation
from indexer.run.context import RunContext
from indexer.run.datasink import WriteOutcome
from indexer.run.dead_letters import letters_in_any_case, settle, settle_letters
from indexer.run.result import Share
from indexer.run.target import Target
from indexer.sources.discovery import Discovery
from indexer.store.letters import DeadLetter
from indexer.store.milvus import MilvusStore
from indexer.types import FailedDocument
from tests.indexer.conftest import free_port
from tests.indexer.making import chunk, plan, running, unit_vectors

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


def discovery(*failures: FailedDocument) -> Discovery:
    return Discovery(files=(), failures=failures, skipped={}, folders=(), unreadable=())


def share(tenant: str, *failures: FailedDocument, read: tuple[str, ...] = ()) -> Share:
    return Share(
        tenant=tenant, read=frozenset(read), plan=plan(), seen=plan(), outcome=WriteOutcome(), failures=failures,
        vanished=(), deleted_documents=0,
    )  # fmt: skip


def standing(store: MilvusStore, collection: str, tenant: str = "t") -> list[str]:
    return [letter.source_id for letter in store.read_letters(collection, tenant=tenant)]


def test_every_tenant_of_a_build_keeps_its_own_letters(store: MilvusStore) -> None:
    store.write_letters("of_all", [letter("well.pdf"), letter("elsewhere.pdf")], tenant="red")
    with running(store, "of_all") as run:
        shares = [share("t", failure("a.pdf")), share("red", failure("b.pdf"), read=("docs/well.pdf",))]
        assert settle_letters(run, replace(discovery(), folders=("docs",)), shares) == 1
    assert standing(store, "of_all") == ["docs/a.pdf"]
    assert standing(store, "of_all", "red") == ["docs/b.pdf", "docs/elsewhere.pdf"]


def test_what_failed_is_kept_where_the_generation_is_refused(store: MilvusStore) -> None:
    """A row that is there for no document keeps it from passing."""
    made = store.ensure_generation(
        "refused", embedder=resolve_embedder(EMBEDDED_NAME).identity, dimension=384, chunker="", number=1
    )
    store.upsert(made.physical, [chunk("stray", tenant="other")], unit_vectors(1, 384), tenant="other")
    with (
        running(store, "refused") as run,
        pytest.raises(ConflictError, match="1 rows are counted where 0 chunks were cut"),
        letters_in_any_case(run),
    ):
        build_generation(
            run,
            discovery(failure("a.pdf")),
            target=Target(number=1, live=None, because=(), begun=False),
            sync=False,
            allow_missing=False,
            questions=(),
        )
    assert standing(store, "refused") == ["docs/a.pdf"]


class Refusing(MilvusStore):
    """Milvus takes no letters, by an error that is no lost connection."""

    def write_letters(self, *arguments: object, **options: object) -> None:
        raise MilvusException(code=1, message="no room")


def test_letters_that_milvus_refuses_do_not_cost_the_report(
    store: MilvusStore, caplog: pytest.LogCaptureFixture
) -> None:
    refusing = Refusing(store.uri)
    with running(refusing, "unwritable") as run:
        assert settle_letters(run, discovery(), [share("t", failure("a.pdf"))]) == 1
    refusing.close()
    assert "dead letters of 'unwritable' were not brought up to date" in caplog.text


def fail(run: RunContext, name: str, error: Exception, *, lose_lease: bool = False) -> None:
    """A document fails, and then the run does."""
    with letters_in_any_case(run):
        run.failed([failure(name)], tenant="t")
        if lose_lease:
            run.store.delete_claims([run.lease.claim])
        raise error


def test_an_error_takes_no_letter_away(store: MilvusStore) -> None:
    store.write_letters("ended", [letter("a.pdf"), letter("b.pdf", attempts=4)], tenant="t")
    with running(store, "ended") as run, pytest.raises(ZeroDivisionError):
        fail(run, "b.pdf", ZeroDivisionError())
    assert standing(store, "ended") == ["docs/a.pdf", "docs/b.pdf"]
    assert [letter.attempts for letter in store.read_letters("ended", tenant="t")] == [1, 5]


def test_letters_that_cannot_be_written_do_not_hide_the_error(store: MilvusStore) -> None:
    away = MilvusStore(f"http://127.0.0.1:{free_port()}")
    with running(store, "away") as run, pytest.raises(UnavailableError, match="its own"):
        fail(replace(run, store=away), "a.pdf", UnavailableError("its own"))


def test_who_lost_the_lease_writes_no_letters(store: MilvusStore) -> None:
    with running(store, "lost") as run, pytest.raises(ConflictError, match="its own"):
        fail(run, "a.pdf", ConflictError("its own"), lose_lease=True)
    assert standing(store, "lost") == []
