"""New generations on a real Ray: each test is one life of a collection."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.embedding.embedder import Embedder
from indexer.errors import ConflictError, InputError
from indexer.run import building
from indexer.run.comparing import Comparison, read_fingerprints
from indexer.run.pipeline import run_index
from indexer.run.report import IndexReport
from indexer.search import Searcher
from indexer.settings import IndexerSettings
from indexer.store.milvus import MilvusStore
from indexer.store.upkeep import diff, prune, rollback

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("local_ray")]
SENTENCE = "One sentence of seven words stands here. "


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "docs"
    root.mkdir()
    (root / "a.md").write_text("# Bees\n\n" + SENTENCE * 6)
    (root / "b.md").write_text("# Pumps\n\nThe pump needs oil.")
    return root


@pytest.fixture
def finer(settings: IndexerSettings) -> IndexerSettings:
    return settings.model_copy(update={"chunk_tokens": 16, "chunk_overlap_tokens": 4})


def run(path: Path, collection: str, settings: IndexerSettings, **options: object) -> IndexReport:
    options = {"tenant": "default", **options}
    return run_index([path], collection=collection, settings=settings, **options)  # type: ignore[arg-type]


def documents(store: MilvusStore, physical: str, tenant: str = "default") -> set[str]:
    return {found.document_id for found in store.list_documents(physical, tenant=tenant)}


@pytest.mark.long
def test_another_chunker_builds_the_next_generation_with_all_documents_of_all_tenants(
    folder: Path, tmp_path: Path, settings: IndexerSettings, finer: IndexerSettings, store: MilvusStore
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "c.jsonl").write_text('{"id": "1", "text": "Sheep are shorn."}\n')
    first = run(folder, "grown", settings)
    assert first.built is not None
    assert (first.generation, first.built.replaces, first.built.because) == (1, None, ())
    assert (first.built.verification.chunks, first.built.verification.recall) == (first.chunks.written, 1.0)
    run(other, "grown", settings)
    run(folder / "a.md", "grown", settings, tenant="red")
    with pytest.raises(ConflictError, match=r"Generation 1 of 'grown' has another identity .chunker"):
        run(folder, "grown", finer, allow_new_generation=False)
    assert len(store.generations("grown")) == 1

    (folder / "b.md").write_text("# Pumps\n\nThe pump needs grease.")
    report = run(folder, "grown", finer)
    assert report.built is not None
    assert (report.generation, report.built.replaces, report.built.verification.recall) == (2, 1, 1.0)
    assert report.built.because[0].startswith("chunker v1 16/4/")
    counts = report.documents
    assert (counts.seen, counts.new, counts.changed, counts.unchanged, counts.failed) == (4, 0, 1, 3, 0)
    assert report.chunks.written == report.built.verification.chunks
    physical = store.locate("grown").physical
    assert documents(store, physical) == {"docs/a.md", "docs/b.md", "other/c.jsonl#1"}
    assert documents(store, physical, "red") == {"docs/a.md"}
    between = diff(store, "grown", left=None, right=None)
    assert (between.changed, between.only_left, between.only_right) == ((("default", "docs/b.md"),), (), ())
    assert between.recut == (("default", "docs/a.md"), ("red", "docs/a.md"))

    again = run(folder, "grown", finer)
    assert (again.generation, again.built, again.chunks.embedded) == (2, None, 0)

    rollback(store, "grown", to=None)
    with pytest.raises(ConflictError, match="taken back from generation 2"):
        run(folder, "grown", finer)
    back = run(folder, "grown", settings)
    assert (back.generation, back.documents.changed, back.documents.unchanged) == (1, 1, 1)
    assert [made.number for made in prune(store, "grown", keep=0)] == [2]


@pytest.mark.long
def test_a_document_whose_file_is_gone_stops_a_new_generation_unless_it_is_let_go(
    folder: Path, tmp_path: Path, settings: IndexerSettings, finer: IndexerSettings, store: MilvusStore
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "c.md").write_text("Words.")
    run(folder, "thinned", settings)
    run(other, "thinned", settings)
    (folder / "b.md").unlink()
    (other / "c.md").unlink()
    with pytest.raises(ConflictError, match=r"2 documents of docs, other \(first 'docs/b.md'\)"):
        run(folder, "thinned", finer)
    with pytest.raises(ConflictError, match="1 documents of other"):
        run(folder, "thinned", finer, sync=True)
    assert len(store.generations("thinned")) == 1
    report = run(folder, "thinned", finer, allow_missing=True)
    assert (report.generation, report.vanished, report.documents.deleted) == (2, ("docs/b.md",), 2)
    assert documents(store, store.locate("thinned").physical) == {"docs/a.md"}


@pytest.mark.long
def test_readers_keep_the_live_generation_until_the_next_has_passed_and_the_build_goes_on(
    folder: Path,
    settings: IndexerSettings,
    finer: IndexerSettings,
    store: MilvusStore,
    embedder: Embedder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(folder, "steady", settings)
    searcher = Searcher(store=store, embedder=embedder)

    def seen() -> tuple[int, set[str]]:
        [result] = searcher.search(["words"], collection="steady", tenant="default", k=50)
        return result.generation, {passage.document_id for passage in result.passages}

    def cut_off(*arguments: object, **options: object) -> None:
        assert seen() == (1, {"docs/a.md", "docs/b.md"})
        raise KeyboardInterrupt

    monkeypatch.setattr(building, "verify", cut_off)
    with pytest.raises(KeyboardInterrupt):
        run(folder, "steady", finer)
    assert seen() == (1, {"docs/a.md", "docs/b.md"})
    assert [made.verified is not None for made in store.generations("steady")] == [True, False]
    assert store.read_claims("steady") == []

    monkeypatch.undo()
    half = store.list_documents("steady__g2", tenant="default")
    lost = store.read_document("steady__g2", "docs/a.md", tenant="default")[0].chunk_id
    store.delete_chunks("steady__g2", [lost], tenant="default")
    report = run(folder, "steady", finer)
    assert (report.generation, report.documents.changed, report.documents.unchanged) == (2, 0, 2)
    assert seen() == (2, {"docs/a.md", "docs/b.md"})
    assert store.list_documents("steady__g2", tenant="default") == half


@pytest.mark.long
def test_one_tenants_interrupted_first_run_stops_neither_another_nor_itself(
    folder: Path, settings: IndexerSettings, store: MilvusStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(building, "verify", cut_off)
    with pytest.raises(KeyboardInterrupt):
        run(folder, "shared_first", settings, tenant="red")
    monkeypatch.undo()
    lost = store.read_document("shared_first__g1", "docs/a.md", tenant="red")[0].chunk_id
    store.delete_chunks("shared_first__g1", [lost], tenant="red")
    report = run(folder / "a.md", "shared_first", settings, tenant="blue")
    assert (report.generation, report.documents.new, report.built is not None) == (1, 1, True)
    assert documents(store, "shared_first__g1", "red") == {"docs/b.md"}
    again = run(folder, "shared_first", settings, tenant="red")
    assert (again.generation, again.documents.new, again.documents.unchanged) == (1, 1, 1)
    assert documents(store, "shared_first__g1", "red") == {"docs/a.md", "docs/b.md"}
    assert documents(store, "shared_first__g1", "blue") == {"docs/a.md"}


def test_a_file_that_is_edited_while_it_is_built_is_held_against_what_was_written(
    folder: Path, settings: IndexerSettings, store: MilvusStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def edit(*arguments: object, **options: object) -> Comparison:
        found = read_fingerprints(*arguments, **options)  # type: ignore[arg-type]
        (folder / "b.md").write_text("# Pumps\n\nThe pump needs grease.")
        return found

    monkeypatch.setattr(building, "read_fingerprints", edit)
    report = run(folder, "edited", settings)
    assert (report.documents.new, report.documents.failed) == (2, 0)
    [chunk] = store.read_document("edited__g1", "docs/b.md", tenant="default")
    assert chunk.text.endswith("grease.")
    monkeypatch.undo()
    assert run(folder, "edited", settings).documents.unchanged == 2


@pytest.mark.long
def test_a_document_that_fails_now_keeps_readers_where_they_are(
    folder: Path, settings: IndexerSettings, finer: IndexerSettings, store: MilvusStore
) -> None:
    run(folder, "spoiled", settings)
    (folder / "b.md").write_text("")
    with pytest.raises(ConflictError, match=r"Generation 2 of 'spoiled' is built, but .*1 documents of docs .*b\.md"):
        run(folder, "spoiled", finer)
    assert store.locate("spoiled").number == 1
    assert [letter.source_id for letter in store.read_letters("spoiled", tenant="default")] == ["docs/b.md"]
    (folder / "b.md").write_text("Mended.")
    report = run(folder, "spoiled", finer)
    assert (report.generation, report.documents.changed, report.documents.unchanged) == (2, 1, 1)
    assert (report.dead_letters, store.read_letters("spoiled", tenant="default")) == (0, [])


def test_another_embedder_takes_over_and_queries_with_the_old_one_are_refused(
    folder: Path, settings: IndexerSettings, store: MilvusStore, embedder: Embedder
) -> None:
    """The collection of another model is left empty, for there is only one model here."""
    made = store.ensure_generation("owned_by_other", embedder="other@1234", dimension=8)
    store.point_alias("owned_by_other", made.physical)
    searcher = Searcher(store=store, embedder=embedder)
    with pytest.raises(InputError, match=r"other@1234.*all-minilm-l6-v2@"):
        searcher.search(["pumps"], collection="owned_by_other", tenant="default", k=1)
    report = run(folder, "owned_by_other", settings)
    assert report.built is not None
    assert (report.generation, report.built.replaces) == (2, 1)
    assert "instead of other@1234" in report.built.because[0]
    [result] = searcher.search(["oil for pumps"], collection="owned_by_other", tenant="default", k=1)
    assert (result.generation, result.passages[0].document_id) == (2, "docs/b.md")
