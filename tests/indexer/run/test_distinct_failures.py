from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from indexer.chunking.chunker import ChunkerSettings
from indexer.embedding.files import EMBEDDED_NAME, resolve_embedder
from indexer.run.datasink import WriteOutcome
from indexer.run.result import Share, distinct, report_of
from indexer.run.stages import Recipe, compare, prepare
from indexer.run.state import Fingerprint, Plan
from indexer.run.tables import SOURCE_SCHEMA, chunks_from_table, fingerprints_from_table, sources_to_rows
from indexer.sources.discovery import discover
from indexer.types import FailedDocument, Generation, Identity
from tests.indexer.run.test_stages import CountingBoard

MADE = Generation("c", "c__g1", 1, Identity("m@1", 8, "k", (), 1), verified=None, rolled_back=False)


def share(failures: list[FailedDocument]) -> Share:
    plan = Plan(new=frozenset(), changed=frozenset(), unchanged=frozenset({"a"}), sources={}, vanished=())
    return Share(
        tenant="t",
        read=frozenset(),
        plan=plan,
        seen=plan,
        outcome=WriteOutcome(),
        failures=distinct(failures),
        vanished=(),
        deleted_documents=0,
    )


def test_a_list_that_breaks_off_is_one_failure_though_it_is_read_twice(tmp_path: Path) -> None:
    recipe = Recipe(
        tenant="t",
        pipeline="p",
        chunker=ChunkerSettings(chunk_tokens=100, overlap_tokens=10, prefix_tokens=20),
        embedder=EMBEDDED_NAME,
        tokenizer=resolve_embedder(EMBEDDED_NAME).path,
        max_document_bytes=500,
        parse_timeout_s=60.0,
    )
    (tmp_path / "list.json").write_text('[{"text": "one"}, {"text": "tw')
    (tmp_path / "rows.jsonl").write_text('{"text": ""}\nbroken\n')
    table = pa.Table.from_pylist(
        sources_to_rows([(file, ()) for file in discover([tmp_path]).files]), schema=SOURCE_SCHEMA
    )
    found = fingerprints_from_table(pa.concat_tables(compare(table, recipe=recipe)))
    compared = [item[1] for item in found if not isinstance(item, Fingerprint)]
    _, _, later = chunks_from_table(pa.concat_tables(prepare(table, recipe=recipe, board=CountingBoard())))  # type: ignore[arg-type]
    assert [failure.uri.rpartition("/")[2] for failure in (*compared, *later)].count("list.json") == 2

    report = report_of([share([*compared, *later])], made=MADE, built=None, seconds={}, skipped={}, dead_letters=0)
    assert [failure.uri.rpartition("/")[2] for failure in report.failures] == [
        "list.json", "rows.jsonl#L1", "rows.jsonl#L2"
    ]  # fmt: skip
    assert (report.documents.failed, report.documents.seen) == (3, 4)


def test_the_first_failure_of_an_address_stays() -> None:
    first, again, other = (
        FailedDocument(*each) for each in (("u", "read", "1"), ("u", "write", "2"), ("v", "read", "3"))
    )
    assert distinct([first, other, again]) == (first, other)
