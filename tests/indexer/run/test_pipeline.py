from __future__ import annotations

import json
import os
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import ray

from indexer.board import Board
from indexer.embedding.embedder import Embedder
from indexer.embedding.files import resolve_embedder
from indexer.errors import ConflictError, InputError, NotFoundError, UnavailableError
from indexer.progress import Counts
from indexer.run import pipeline, updating, writing
from indexer.run.datasink import MilvusDatasink
from indexer.run.pipeline import run_index
from indexer.run.pool import embedder_pool
from indexer.run.ray_data import read_cpus, readers
from indexer.run.report import IndexProgress, IndexReport
from indexer.search import Searcher
from indexer.settings import IndexerSettings
from indexer.sources.recorded import failed_files
from indexer.store.holding import holding
from indexer.store.milvus import MilvusStore
from tests.indexer.conftest import free_port
from tests.indexer.parsers.test_pdf import make_pdf

POD = """=head1 NAME

pump - run the pump

=head1 OPTIONS

=over

=item --dry

Only C<print> what would run.

=back
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "docs"
    (root / "deep").mkdir(parents=True)
    (root / "soil.md").write_text("# Soil\n\n## Lime\n\nLime raises the pH of acid soil. Use three kilograms.\n")
    (root / "bees.html").write_text("<title>Bees</title><nav>Menu</nav><main><p>Bees pollinate apple trees.</p></main>")
    (root / "deep" / "wheat.txt").write_text("Wheat\n\nIrrigate wheat twice a week in summer.\n")
    (root / "sheep.jsonl").write_text(
        '{"id": "shear", "title": "Shearing", "text": "Sheep are shorn before lambing."}\n'
        '{"id": "feed", "text": "Ewes get hay in winter.", "url": "https://farm.example/feed"}\n'
    )
    (root / "pump.pdf").write_bytes(make_pdf("The pump P-117 needs oil every forty hours.", "Order oil from Brandt."))
    (root / "pump.pod").write_text(POD)
    return root


def run(folder: Path, collection: str, settings: IndexerSettings, **options: object) -> IndexReport:
    options = {"tenant": "default", **options}
    return run_index([folder], collection=collection, settings=settings, **options)  # type: ignore[arg-type]


def rows(settings: IndexerSettings, collection: str, tenant: str = "default") -> dict[str, str]:
    store = MilvusStore(settings.milvus_uri)
    found = {row.chunk_id: row.document_id for row in store.scan(store.locate(collection).physical, tenant=tenant)}
    store.close()
    return found


def test_bad_input_is_named_before_any_work(tmp_path: Path, settings: IndexerSettings) -> None:
    with pytest.raises(NotFoundError, match="missing"):
        run(tmp_path / "missing", "c", settings)
    with pytest.raises(InputError, match="holds no files"):
        run(tmp_path, "c", settings)
    with pytest.raises(InputError, match="Collection name"):
        run(tmp_path, "bad-name", settings)
    with pytest.raises(InputError, match="Tenant"):
        run(tmp_path, "c", settings, tenant="")


def test_ray_is_needed(folder: Path, settings: IndexerSettings) -> None:
    if ray.is_initialized():
        pytest.skip("Ray is up in this session already")
    with pytest.raises(UnavailableError, match="Ray is not initialised"):
        run(folder, "c", settings)


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
class TestOnRay:
    def test_all_formats_end_to_end_then_nothing_then_changes_then_sync(
        self, folder: Path, settings: IndexerSettings, embedder: Embedder
    ) -> None:
        (folder / "broken.pdf").write_bytes(b"%PDF-1.7 cut off")
        (folder / ".hidden.md").write_text("# hidden")
        seen: list[IndexProgress] = []
        report = run(folder, "farm", settings, progress=seen.append)
        assert report.documents == replace(report.documents, seen=8, new=7, failed=1, changed=0, unchanged=0, deleted=0)
        assert report.chunks.written == report.chunks.embedded >= 8
        assert report.skipped == {"hidden": 1}
        assert [(failure.uri.rsplit("/", 1)[1], failure.stage) for failure in report.failures] == [
            ("broken.pdf", "parse")
        ]
        assert "damaged" in report.failures[0].reason
        assert json.loads(json.dumps(report.to_json()))["documents"]["new"] == 7
        assert [moment.stage for moment in seen][:2] == ["discover", "compare"]
        assert (seen[-1].stage, seen[-1].documents, seen[-1].failed) == ("done", 7, 1)
        assert seen[-1].chunks_written == report.chunks.written

        searcher = Searcher(store=MilvusStore(settings.milvus_uri), embedder=embedder)
        questions = {
            "What raises soil pH?": ("docs/soil.md", ("Soil", "Lime"), None),
            "How often does P-117 need oil?": ("docs/pump.pdf", (), 1),
            "Where is oil ordered?": ("docs/pump.pdf", (), 2),
            "hay for ewes": ("docs/sheep.jsonl#feed", (), None),
            "Which option only prints what would run?": ("docs/pump.pod", ("OPTIONS", "--dry"), None),
        }
        results = searcher.search(list(questions), collection="farm", tenant="default", k=2, dense_weight=0.8)
        for result, (document_id, headings, page) in zip(results, questions.values(), strict=True):
            best = result.passages[0]
            assert (best.document_id, best.heading_path) == (document_id, headings)
            assert best.page is None if page is None else best.page in (1, 2)

        before = rows(settings, "farm")
        again = run(folder, "farm", settings)
        assert again.documents.unchanged == 7
        assert (again.documents.new, again.documents.changed, again.documents.failed) == (0, 0, 1)
        assert (again.chunks.written, again.chunks.embedded, again.chunks.deleted) == (0, 0, 0)
        assert rows(settings, "farm") == before

        (folder / "soil.md").write_text("# Soil\n\nNew words altogether.\n")
        (folder / "bees.html").unlink()
        lines = (folder / "sheep.jsonl").read_text().splitlines()
        (folder / "sheep.jsonl").write_text(lines[0] + '\n{"id": "feed", "text": "Ewes get oats."}\n')
        changed = run(folder, "farm", settings)
        assert (changed.documents.changed, changed.documents.unchanged, changed.documents.deleted) == (2, 4, 0)
        assert changed.vanished == ("docs/bees.html",)
        assert changed.chunks.written == 2
        after = rows(settings, "farm")
        replaced = [document_id for chunk_id, document_id in before.items() if chunk_id not in after]
        assert set(replaced) == {"docs/soil.md", "docs/sheep.jsonl#feed"}
        assert changed.chunks.deleted == len(replaced)
        assert "docs/bees.html" in after.values()

        (folder / "pump.pod").rename(folder / "deep" / "water.pod")
        synced = run(folder, "farm", settings, sync=True)
        assert (synced.documents.deleted, synced.documents.changed, synced.documents.unchanged) == (1, 1, 5)
        assert synced.renamed == {"docs/deep/water.pod": "docs/pump.pod"}
        assert (synced.chunks.written > 0, synced.chunks.embedded) == (True, 0)
        kept = Counter(rows(settings, "farm").values())
        assert kept["docs/deep/water.pod"] == synced.chunks.written == Counter(after.values())["docs/pump.pod"]
        assert not {"docs/bees.html", "docs/pump.pod"} & kept.keys()

    @pytest.mark.long
    def test_folders_of_one_name_do_not_take_each_others_documents(
        self, tmp_path: Path, settings: IndexerSettings
    ) -> None:
        one, two = tmp_path / "a" / "docs", tmp_path / "b" / "docs"
        for folder, own in ((one, "ours"), (two, "theirs")):
            folder.mkdir(parents=True)
            (folder / "README.md").write_text("# The same words")
            (folder / f"{own}.jsonl").write_text(f'{{"id": "1", "text": "{own}", "url": "https://{own}.example"}}\n')
        run(one, "twins", settings, sync=True)
        report = run(two, "twins", settings, sync=True)
        assert (report.documents.new, report.documents.unchanged, report.documents.deleted) == (1, 1, 0)
        held = {"docs/README.md", "docs/ours.jsonl#1", "docs/theirs.jsonl#1"}
        before = rows(settings, "twins")
        assert set(before.values()) == held

        (two / "README.md").write_text("# Other words")
        with pytest.raises(ConflictError, match=f"{two}/README.md has the id .*{one}/README.md"):
            run(two, "twins", settings)
        assert rows(settings, "twins") == before

        moved = tmp_path / "c" / "docs"
        moved.parent.mkdir()
        one.rename(moved)
        again = run(moved, "twins", settings)
        assert (again.documents.unchanged, again.chunks.embedded, again.vanished) == (2, 0, ())
        assert rows(settings, "twins") == before
        (moved / "README.md").write_text("# Newer words")
        (moved / "ours.jsonl").unlink()
        synced = run(moved, "twins", settings, sync=True)
        assert (synced.documents.changed, synced.vanished) == (1, ("docs/ours.jsonl#1",))
        assert set(rows(settings, "twins").values()) == held - {"docs/ours.jsonl#1"}

    def test_an_interrupted_run_is_taken_up(self, tmp_path: Path, settings: IndexerSettings) -> None:
        text = "\n\n".join(f"## Part {number}\n\nSome words about it." for number in range(6))
        (tmp_path / "long.md").write_text(text)
        (tmp_path / "short.md").write_text("Other words.")
        run(tmp_path, "whole", settings)
        wanted = rows(settings, "whole")
        lost = [chunk_id for chunk_id, document_id in wanted.items() if document_id.endswith("long.md")][:3]
        MilvusStore(settings.milvus_uri).delete_chunks("whole__g1", lost, tenant="default")
        report = run(tmp_path, "whole", settings)
        assert (report.documents.changed, report.documents.unchanged, report.chunks.deleted) == (1, 1, 0)
        assert (report.chunks.written, report.chunks.embedded) == (6, 3)
        assert rows(settings, "whole") == wanted

    def test_a_write_beside_another_writer_is_refused_before_anything_is_made(
        self, tmp_path: Path, settings: IndexerSettings, store: MilvusStore
    ) -> None:
        (tmp_path / "a.md").write_text("# Words")
        with holding(store, "held"), pytest.raises(ConflictError, match="Another writer has the lease"):
            run(tmp_path, "held", settings)
        assert store.generations("held") == ()

    def test_only_bad_documents_leave_an_empty_collection(
        self, tmp_path: Path, settings: IndexerSettings, embedder: Embedder
    ) -> None:
        (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7 cut off")
        report = run(tmp_path, "only_bad", settings)
        assert (report.documents.seen, report.documents.failed, report.chunks.written) == (1, 1, 0)
        searcher = Searcher(store=MilvusStore(settings.milvus_uri), embedder=embedder)
        assert searcher.search(["x"], collection="only_bad", tenant="default", k=3)[0].passages == ()

    def test_what_failed_is_kept_and_tried_again_alone(self, tmp_path: Path, settings: IndexerSettings) -> None:
        docs, store = tmp_path / "docs", MilvusStore(settings.milvus_uri)
        (docs / "deep").mkdir(parents=True)
        (docs / "good.md").write_text("# Soil\n\nWords.\n")
        (docs / "deep" / "a.pdf").write_bytes(b"%PDF-1.7 cut off")
        assert run(docs, "letters", settings).dead_letters == 1
        assert run(docs, "letters", settings).dead_letters == 1
        [letter] = store.read_letters("letters", tenant="default")
        assert (letter.source_id, letter.stage, letter.attempts) == ("docs/deep/a.pdf", "parse", 2)
        (docs / "deep" / "a.pdf").write_bytes(make_pdf("Lamps burn oil."))
        report = run_index(failed_files([letter]), collection="letters", tenant="default", settings=settings)
        assert (report.documents.new, report.documents.unchanged, report.dead_letters) == (1, 0, 0)
        assert store.read_letters("letters", tenant="default") == []
        assert set(rows(settings, "letters").values()) == {"docs/good.md", "docs/deep/a.pdf"}

    def test_a_failed_row_of_a_very_long_id_is_kept_reported_and_tried_again(
        self, tmp_path: Path, settings: IndexerSettings
    ) -> None:
        docs, store = tmp_path / "docs", MilvusStore(settings.milvus_uri)
        docs.mkdir()
        (docs / "bad.pdf").write_bytes(b"%PDF-1.7 cut off")
        table, key = docs / "rows.jsonl", "k" * 20_000
        table.write_text(json.dumps({"id": key, "text": ""}) + "\n")
        report = run(docs, "long_letter", settings)
        assert (report.documents.failed, report.dead_letters) == (2, 2)
        letters = store.read_letters("long_letter", tenant="default")
        assert {letter.source_id for letter in letters} == {"docs/bad.pdf", "docs/rows.jsonl"}
        table.write_text(json.dumps({"id": key, "text": "Words."}) + "\n")
        again = run_index(failed_files(letters), collection="long_letter", tenant="default", settings=settings)
        assert (again.documents.new, again.documents.failed, again.dead_letters) == (1, 1, 1)

    @pytest.mark.parametrize("left", [1, 2])
    def test_a_rename_that_was_interrupted_ends_as_an_undisturbed_one(
        self, tmp_path: Path, settings: IndexerSettings, store: MilvusStore, monkeypatch: pytest.MonkeyPatch, left: int
    ) -> None:
        docs, collection = tmp_path / "docs", f"renaming_{left}"
        docs.mkdir()
        (docs / "old.md").write_text("# Farm\n\n## One\n\nBees.\n\n## Two\n\nPumps.")
        run(docs, collection, settings)
        (docs / "old.md").rename(docs / "new.md")

        def cut_off(*arguments: object, **options: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(updating, "finish_documents", cut_off)
        with pytest.raises(KeyboardInterrupt):
            run(docs, collection, settings)
        monkeypatch.undo()
        written = [key for key, document_id in rows(settings, collection).items() if document_id == "docs/new.md"]
        assert len(written) == 2
        store.delete_chunks(f"{collection}__g1", written[left:], tenant="default")
        report = run(docs, collection, settings)
        assert (report.renamed, report.vanished) == ({"docs/new.md": "docs/old.md"}, ())
        assert (report.chunks.embedded, report.chunks.deleted) == (0, 2)
        assert set(rows(settings, collection).values()) == {"docs/new.md"}
        assert len(rows(settings, collection)) == 2
        counts = report.documents
        assert (counts.seen, counts.new, counts.changed, counts.unchanged) == (1, 0, 2 - left, left - 1)

    def test_two_files_of_equal_text_in_one_folder_stay_two_documents(
        self, tmp_path: Path, settings: IndexerSettings
    ) -> None:
        docs = tmp_path / "docs"
        docs.mkdir()
        for name in ("one.md", "two.md"):
            (docs / name).write_text("# Bees\n\nThe same words.")
        assert run(docs, "equal", settings).documents.new == 2
        both = rows(settings, "equal")
        assert sorted(both.values()) == ["docs/one.md", "docs/two.md"]
        again = run(docs, "equal", settings, sync=True)
        assert (again.documents.unchanged, again.renamed, rows(settings, "equal")) == (2, {}, both)
        (docs / "two.md").unlink()
        gone = run(docs, "equal", settings)
        assert (gone.vanished, gone.renamed, rows(settings, "equal")) == (("docs/two.md",), {}, both)

    def test_a_lost_board_costs_the_busy_seconds_and_nothing_else(
        self, folder: Path, settings: IndexerSettings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(writing, "Board", _lost_board)
        (folder / "broken.pdf").write_bytes(b"%PDF-1.7 cut off")
        seen: list[IndexProgress] = []
        report = run(folder, "unboarded", settings, progress=seen.append)
        assert (report.documents.new, report.documents.failed) == (7, 1)
        assert (seen[-1].stage, seen[-1].documents, seen[-1].failed) == ("done", 7, 1)
        assert seen[-1].chunks_written == report.chunks.written == len(rows(settings, "unboarded"))
        assert {"index", "finish", "total"} <= report.seconds.keys()
        assert not {"parse_busy", "embed_busy", "write_busy"} & report.seconds.keys()

        monkeypatch.undo()
        (folder / "soil.md").write_text("# Soil\n\nOther words.\n")
        assert run(folder, "unboarded", settings).seconds["embed_busy"] > 0

    def test_milvus_that_is_not_there_is_named_quickly(self, folder: Path) -> None:
        uri = f"http://127.0.0.1:{free_port()}"
        began = time.monotonic()
        with pytest.raises(UnavailableError, match=uri):
            run(folder, "c", IndexerSettings(milvus_uri=uri))
        assert time.monotonic() - began < 10

    @pytest.mark.long
    def test_a_write_that_fails_on_a_worker_keeps_its_reason(
        self, folder: Path, settings: IndexerSettings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(MilvusDatasink, "__init__", _broken_init)
        with pytest.raises(UnavailableError, match=r"cannot be reached.*run the same command again") as caught:
            run(folder, "broken_write", settings)
        assert "\n" not in str(caught.value)

    def test_other_weights_on_a_worker_stop_the_run_with_both_names(
        self, folder: Path, settings: IndexerSettings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        files = replace(resolve_embedder(settings.embedder), identity="all-minilm-l6-v2@1234")
        monkeypatch.setattr(pipeline, "resolve_embedder", lambda name: files)
        with pytest.raises(InputError, match=r"all-minilm-l6-v2@\w{16}, the run needs all-minilm-l6-v2@1234") as caught:
            run(folder, "other_weights", settings)
        assert "\n" not in str(caught.value)

    def test_reading_is_not_fused_into_the_embedding_actors(self, settings: IndexerSettings) -> None:
        for actors in (1, 2, 3, 4):
            assert read_cpus() != embedder_pool(settings.model_copy(update={"embed_actors": actors})).cpus


def test_no_more_tasks_read_than_there_are_cores_and_files(local_ray: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})
    assert [readers(files).size for files in (1, 2, 100)] == [1, 2, 2]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert readers(100).size == 1


def _lost_board() -> Board[Counts]:
    board: Board[Counts] = Board()
    ray.kill(board._actor)
    return board


_real_init = MilvusDatasink.__init__


def _broken_init(self: MilvusDatasink, **arguments: object) -> None:
    arguments["store"] = MilvusStore(f"http://127.0.0.1:{free_port()}")
    _real_init(self, **arguments)  # type: ignore[arg-type]
