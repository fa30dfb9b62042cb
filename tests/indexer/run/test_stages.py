from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pytest
from docx import Document
from openpyxl import Workbook
from pyarrow import parquet

from indexer.chunking.chunker import ChunkerSettings
from indexer.embedding.files import EMBEDDED_NAME, resolve_embedder
from indexer.errors import InputError, UnavailableError
from indexer.parsers import PARSERS
from indexer.parsers.ooxml import OLE2
from indexer.progress import Counts
from indexer.run.dead_letters import settle
from indexer.run.stages import EmbedChunks, Recipe, compare, prepare
from indexer.run.state import Fingerprint
from indexer.run.tables import (
    SOURCE_SCHEMA,
    chunks_from_table,
    chunks_to_table,
    fingerprints_from_table,
    sources_to_rows,
)
from indexer.settings import IndexerSettings
from indexer.sources.discovery import discover
from indexer.sources.provenance import stored_file
from indexer.sources.stores import filesystem
from indexer.store.letters import letter_body
from indexer.store.schema import row_from_chunk
from indexer.types import Chunk, FailedDocument
from tests.indexer.making import chunk
from tests.indexer.parsers.making import make_docx, make_xlsx, saved, with_part
from tests.indexer.parsers.test_pdf import make_pdf
from tests.s3 import S3Server


class CountingBoard:
    def __init__(self) -> None:
        self.counts = Counts()

    def tell(self, counts: Counts) -> None:
        self.counts = self.counts.plus(counts)


@pytest.fixture
def recipe() -> Recipe:
    return Recipe(
        tenant="t",
        pipeline="p",
        chunker=ChunkerSettings(chunk_tokens=100, overlap_tokens=10, prefix_tokens=20),
        embedder=EMBEDDED_NAME,
        tokenizer=resolve_embedder(EMBEDDED_NAME).path,
        max_document_bytes=500,
        parse_timeout_s=60.0,
    )


@pytest.fixture
def sources(tmp_path: Path) -> pa.Table:
    (tmp_path / "good.md").write_text("# Good\n\nText.")
    (tmp_path / "empty.md").write_text("")
    (tmp_path / "large.txt").write_text("x" * 501)
    (tmp_path / "bad.pdf").write_bytes(b"%PDF-1.7 no")
    (tmp_path / "many.jsonl").write_text('{"id": "a", "text": "A"}\nbroken\n{"id": "b", "text": "B"}\n')
    return pa.Table.from_pylist(
        sources_to_rows([(file, ("a",) if file.uri.endswith(".jsonl") else ()) for file in discover([tmp_path]).files]),
        schema=SOURCE_SCHEMA,
    )


def compared_items(table: pa.Table, recipe: Recipe) -> Iterator[Fingerprint | tuple[str, FailedDocument]]:
    return fingerprints_from_table(pa.concat_tables(compare(table, recipe=recipe)))


def test_compare_holds_no_more_than_a_portion_of_a_files_documents(tmp_path: Path, recipe: Recipe) -> None:
    (tmp_path / "many.jsonl").write_text("".join(f'{{"text": "{number}"}}\n' for number in range(1200)))
    rows = sources_to_rows([(file, ()) for file in discover([tmp_path]).files])
    tables = compare(pa.Table.from_pylist(rows, schema=SOURCE_SCHEMA), recipe=recipe)
    assert [found.num_rows for found in tables] == [512, 512, 176]


def test_compare_hashes_what_can_be_read(sources: pa.Table, recipe: Recipe) -> None:
    items = list(compared_items(sources, recipe))
    names = [item.document_id.split("/")[1] for item in items if isinstance(item, Fingerprint)]
    assert names == ["bad.pdf", "empty.md", "good.md", "many.jsonl#a", "many.jsonl#b"]
    failures = [item[1] for item in items if not isinstance(item, Fingerprint)]
    assert [(failure.stage, failure.uri.rsplit("/", 1)[1]) for failure in failures] == [
        ("read", "large.txt"),
        ("read", "many.jsonl#L2"),
    ]
    assert "max_document_bytes" in failures[0].reason


def test_prepare_gives_chunks_and_reasons(sources: pa.Table, recipe: Recipe) -> None:
    board = CountingBoard()
    tables = list(prepare(sources, recipe=recipe, board=board))  # type: ignore[arg-type]
    chunks, _, failures = chunks_from_table(pa.concat_tables(tables))
    assert [made.document_id.split("/")[1] for made in chunks] == ["good.md", "many.jsonl#b"]
    assert {failure.uri.rsplit("/", 1)[1]: failure.stage for failure in failures} == {
        "bad.pdf": "parse", "empty.md": "parse", "large.txt": "read"
    }  # fmt: skip
    assert (board.counts.documents, board.counts.failed, board.counts.chunks) == (2, 3, 2)


def test_a_node_that_has_the_embedder_elsewhere_finds_it_by_name(
    sources: pa.Table, recipe: Recipe, tmp_path: Path
) -> None:
    elsewhere = replace(recipe, tokenizer=tmp_path / "venv of the driver")
    tables = [list(prepare(sources, recipe=how, board=CountingBoard())) for how in (recipe, elsewhere)]  # type: ignore[arg-type]
    assert tables[0] == tables[1]
    with pytest.raises(UnavailableError, match="no-such/model"):
        list(prepare(sources, recipe=replace(elsewhere, embedder="no-such/model"), board=CountingBoard()))  # type: ignore[arg-type]


def prepared(folder: Path, recipe: Recipe) -> tuple[list[Chunk], dict[str, FailedDocument]]:
    """The chunks of a folder's files, and the failures of comparing and preparing by file name."""
    found = discover([folder])
    table = pa.Table.from_pylist(sources_to_rows([(file, ()) for file in found.files]), schema=SOURCE_SCHEMA)
    compared = [item[1] for item in compared_items(table, recipe) if isinstance(item, tuple)]
    chunks, _, failed = chunks_from_table(pa.concat_tables(prepare(table, recipe=recipe, board=CountingBoard())))  # type: ignore[arg-type]
    return chunks, {failure.uri.rsplit("/", 1)[1]: failure for failure in [*found.failures, *compared, *failed]}


def test_every_chunk_knows_title_headings_page_and_span(tmp_path: Path, recipe: Recipe) -> None:
    sheet = Workbook()
    sheet.active.title = "Wells"
    sheet.properties.title = "Survey"
    for row in (["Well", "Depth"], ["A", 12], ["B", 15]):
        sheet.active.append(row)
    text = Document()
    text.core_properties.title = "Manual"
    text.add_heading("Seals", level=1)
    text.add_paragraph("Check both.")
    (tmp_path / "sheet.xlsx").write_bytes(saved(sheet))
    (tmp_path / "text.zip").write_bytes(saved(text))
    (tmp_path / "scan").write_bytes(make_pdf("", "The pump.", title="Scan"))
    (tmp_path / "crops.csv").write_text("Crop;Days\nOats;90\n")
    (tmp_path / "list.json").write_text('[{"id": "x", "title": "One", "text": "Words."}]')
    (tmp_path / "page.md").write_text("<!DOCTYPE html><title>Page</title><nav>Menu</nav><h1>Head</h1><p>Body")
    chunks, failed = prepared(tmp_path, replace(recipe, max_document_bytes=2_000_000))
    assert failed == {}
    assert [
        (made.document_id.rpartition("/")[2], made.title, made.heading_path, made.page, made.text) for made in chunks
    ] == [
        ("crops.csv", "crops", (), None, "Crop: Oats | Days: 90"),
        ("list.json#x", "One", (), None, "Words."),
        ("page.md", "Page", ("Head",), None, "Head\n\nBody"),
        ("scan", "Scan", (), 2, "The pump."),
        ("sheet.xlsx", "Survey", ("Wells",), None, "Wells\n\nWell: A | Depth: 12\n\nWell: B | Depth: 15"),
        ("text.zip", "Manual", ("Seals",), None, "Seals\n\nCheck both."),
    ]
    assert all(made.end - made.start == len(made.text) for made in chunks)


def test_a_row_with_a_very_long_id_fails_under_an_address_that_a_dead_letter_holds(
    tmp_path: Path, recipe: Recipe
) -> None:
    rows = [{"id": "k" * 20_000 + end, "text": ""} for end in "ab"]
    (tmp_path / "long.jsonl").write_bytes(b"\n".join(orjson.dumps(row) for row in rows))
    _, failed = prepared(tmp_path, replace(recipe, max_document_bytes=100_000))
    assert len(failed) == 2
    settled = settle((), failures=list(failed.values()), read=(), gone=(), now="2026-01-01T00:00:00+00:00")
    assert [letter_body(letter) is not None for letter in settled.write] == [True, True]


def test_each_bad_file_has_its_reason_and_the_others_are_read(tmp_path: Path, recipe: Recipe) -> None:
    document = make_docx("Text")
    (tmp_path / "good.md").write_text("# Good")
    (tmp_path / "bomb.docx").write_bytes(with_part(document, "word/document.xml", lambda part: part + b" " * 9_000_000))
    (tmp_path / "cut.docx").write_bytes(document[:-100])
    (tmp_path / "empty.xlsx").write_bytes(make_xlsx([]))
    (tmp_path / "long.json").write_text('{"a": "' + "x" * 3_000_000 + '"}')
    (tmp_path / "secret.docx").write_bytes(OLE2 + bytes(100) + "EncryptedPackage".encode("utf-16-le"))
    (tmp_path / "scan.pdf").write_bytes(make_pdf("", ""))
    (tmp_path / "wrong.xlsx").write_bytes(b"no workbook")
    chunks, failed = prepared(tmp_path, replace(recipe, max_document_bytes=2_000_000))
    assert [made.text for made in chunks] == ["Good"]
    for name, reason in {
        "bomb.docx": "more than the limit of 2000000 bytes (max_document_bytes)",
        "cut.docx": "damaged or cut off",
        "empty.xlsx": "the document has no text",
        "long.json": "larger than the limit of 2000000 bytes (max_document_bytes)",
        "secret.docx": "needs a password",
        "scan.pdf": "no text layer on any of its 2 pages",
        "wrong.xlsx": "damaged or cut off",
    }.items():
        assert reason in failed.pop(name).reason
    assert failed == {}


BROKEN = "\\ud800"  # half of a pair, as JSON and YAML can write it


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.jsonl", f'{{"id": "{BROKEN}", "text": "x"}}'),
        ("rows.jsonl", f'{{"id": "a{BROKEN}", "text": "x"}}'),
        ("rows.jsonl", f'{{"text": "x", "url": "https://a.b/{BROKEN}", "title": "{BROKEN}"}}'),
        ("rows.jsonl", f'{{"text": "x", "by{BROKEN}": "A", "of": "B{BROKEN}"}}'),
        ("list.json", f'[{{"id": "{BROKEN}", "url": "{BROKEN}", "by": "{BROKEN}", "text": "x"}}]'),
        ("page.md", f'---\nby: "{BROKEN}"\n"{BROKEN}": A\ntitle: "{BROKEN}"\n---\nx'),
    ],
)
def test_broken_characters_in_any_field_cost_no_run(tmp_path: Path, recipe: Recipe, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    chunks, failed = prepared(tmp_path, recipe)
    assert [made.text for made in chunks] == ["x"]
    assert failed == {}
    row = row_from_chunk(chunks[0], np.zeros(8, dtype=np.float32), tenant="t")
    assert orjson.loads(orjson.dumps({name: value for name, value in row.items() if name != "dense"}))["text"] == "x"


def test_broken_characters_in_a_parquet_table_cost_no_run(tmp_path: Path, recipe: Recipe) -> None:
    pairs = [f'{{"by": "{BROKEN}", "{BROKEN}": "A"}}', f'{{"id": "{BROKEN}"}}']
    parquet.write_table(pa.table({"text": ["x", "y"], "metadata": pairs}), tmp_path / "rows.parquet")
    chunks, failed = prepared(tmp_path, recipe)
    assert [(made.text, made.document_id.partition("#")[2]) for made in chunks] == [("x", "R1"), ("y", "R2")]
    assert failed == {}


def test_too_much_front_matter_fails_where_it_is_parsed(tmp_path: Path, recipe: Recipe) -> None:
    (tmp_path / "page.md").write_text("---\nnotes: " + "n" * 40_000 + "\n---\nText.")
    chunks, failed = prepared(tmp_path, replace(recipe, max_document_bytes=50_000))
    assert (chunks, failed["page.md"].stage) == ([], "parse")
    assert "metadata has 40013 bytes" in failed["page.md"].reason


def test_a_file_that_went_away_is_a_failure(sources: pa.Table, recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "good.md").unlink()
    items = list(compared_items(sources, recipe))
    reasons = {item[1].uri.rsplit("/", 1)[1]: item[1].reason for item in items if not isinstance(item, Fingerprint)}
    assert reasons["good.md"] == "the file cannot be read: No such file or directory"


@pytest.fixture
def stored(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[pa.Table]:
    filesystem.cache_clear()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "topsecret")
    s3.start_with("farm")
    s3.put("farm", "docs/good.md", "Text without a title.")
    s3.put("farm", "docs/many.jsonl", '{"id": "a", "text": "A"}\nbroken\n{"id": "b", "text": "B"}\n')
    sink = BytesIO()
    parquet.write_table(pa.table({"id": ["x", "y"], "text": ["X", None]}), sink)
    s3.put("farm", "docs/rows.parquet", sink.getvalue())
    found = discover([f"s3://farm/docs/{s3.query}"])
    yield pa.Table.from_pylist(sources_to_rows([(file, ()) for file in found.files]), schema=SOURCE_SCHEMA)
    filesystem.cache_clear()


def test_objects_are_read_where_the_worker_is(stored: pa.Table, recipe: Recipe, s3: S3Server) -> None:
    items = list(compared_items(stored, recipe))
    ids = ["farm/docs/good.md", "farm/docs/many.jsonl#a", "farm/docs/many.jsonl#b", "farm/docs/rows.parquet#x"]
    assert [item.document_id for item in items if isinstance(item, Fingerprint)] == ids
    failures = [item[1] for item in items if not isinstance(item, Fingerprint)]
    assert [failure.uri.rpartition("#")[2] for failure in failures] == ["L2", "R2"]
    chunks, _, _ = chunks_from_table(pa.concat_tables(prepare(stored, recipe=recipe, board=CountingBoard())))  # type: ignore[arg-type]
    assert [made.document_id for made in chunks] == ids
    assert chunks[0].title == "good"
    assert stored_file(chunks[1].uri, dict(chunks[1].metadata)) == stored.column("uri")[1].as_py()

    s3.delete("farm", "docs/good.md")
    reasons = [item[1].reason for item in compared_items(stored, recipe) if isinstance(item, tuple)]
    assert reasons[0] == "the file cannot be read: No such file or directory"


def test_a_store_that_refuses_stops_the_run_instead_of_failing_every_document(
    stored: pa.Table, recipe: Recipe, s3: S3Server
) -> None:
    with s3.checking_credentials(), pytest.raises(UnavailableError, match=r"s3://farm.*ACCESS_DENIED"):
        list(compare(stored, recipe=recipe))


@pytest.mark.parametrize(("raised", "passes"), [(ZeroDivisionError("oops"), False), (UnavailableError("away"), True)])
def test_what_a_reader_raises_is_a_failure_unless_it_concerns_the_run(
    sources: pa.Table, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, raised: Exception, passes: bool
) -> None:
    def explode(stream: object, *, max_bytes: int) -> Iterator[object]:
        yield from ()
        raise raised

    monkeypatch.setattr(PARSERS["text/markdown"], "split", explode)
    if passes:
        with pytest.raises(UnavailableError, match="away"):
            list(compare(sources, recipe=recipe))
        with pytest.raises(UnavailableError, match="away"):
            list(prepare(sources, recipe=recipe, board=CountingBoard()))  # type: ignore[arg-type]
        return
    compared = [item[1] for item in compared_items(sources, recipe) if isinstance(item, tuple)]
    chunks, _, prepared_failures = chunks_from_table(
        pa.concat_tables(prepare(sources, recipe=recipe, board=CountingBoard()))  # type: ignore[arg-type]
    )
    for failures in (compared, prepared_failures):
        reasons = {failure.uri.rsplit("/", 1)[1]: failure.reason for failure in failures}
        assert reasons["good.md"] == "the reader failed with ZeroDivisionError: oops"
    assert [made.document_id.split("/")[1] for made in chunks] == ["many.jsonl#b"]


def test_a_parser_with_a_bug_costs_one_document(
    sources: pa.Table, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(raw: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(PARSERS["text/markdown"], "parse", explode)
    tables = list(prepare(sources, recipe=recipe, board=CountingBoard()))  # type: ignore[arg-type]
    chunks, _, failures = chunks_from_table(pa.concat_tables(tables))
    assert [made.document_id.split("/")[1] for made in chunks] == ["many.jsonl#b"]
    assert (
        "ZeroDivisionError: oops" in {failure.uri.rsplit("/", 1)[1]: failure.reason for failure in failures}["good.md"]
    )


def test_the_model_is_loaded_while_documents_are_read() -> None:
    assert embedding_actor("no-such-model").load_began


def test_a_model_that_is_to_wait_is_loaded_at_the_first_text() -> None:
    actor = embedding_actor(EMBEDDED_NAME, load_early=False)
    stored = chunks_to_table([chunk("old")], stored={chunk("old").chunk_id: np.zeros(384, dtype=np.float32)})
    for table in (chunks_to_table([]), chunks_to_table([FailedDocument("file:///x", "parse", "bad")]), stored):
        assert actor(table) is table
        assert not actor.load_began
    with pytest.raises(InputError, match="needs x@1"):
        actor(chunks_to_table([chunk("text")]))
    assert actor.load_began


def test_other_weights_on_a_node_are_refused() -> None:
    actor = embedding_actor(EMBEDDED_NAME)
    with pytest.raises(InputError, match=r"all-minilm-l6-v2@.* needs x@1"):
        actor(chunks_to_table([chunk("text")]))


def embedding_actor(name: str, *, load_early: bool = True) -> EmbedChunks:
    return EmbedChunks(
        settings=IndexerSettings(embedder=name, embed_threads=1),
        identity="x@1",
        board=CountingBoard(),  # type: ignore[arg-type]
        load_early=load_early,
    )
