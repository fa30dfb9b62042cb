from __future__ import annotations

from pathlib import Path

import pytest

from indexer.bench.measure import measure, own_collection
from indexer.errors import InputError
from indexer.settings import IndexerSettings
from indexer.sources.discovery import discover
from indexer.store.letters import LETTERS
from indexer.store.milvus import MilvusStore


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.usefixtures("local_ray")
def test_all_runs_are_made_and_nothing_is_left(settings: IndexerSettings, store: MilvusStore, tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.md").write_text(f"# Field {number}\n\nField {number} lies fallow in year {number}.\n")
    (tmp_path / "bad.pdf").write_bytes(b"%PDF-1.7 and no more")
    told: list[str] = []
    measured = measure(discover([tmp_path]), settings=settings, documents=None, repeats=1, tell=told.append)
    assert (measured.full.documents, measured.full.failed, measured.full.chunks) == (5, 1, 5)
    assert (measured.full.span.chunks, measured.full.span.models) == (5, 1)
    assert measured.full.seconds > measured.full.span.load_s + measured.full.span.first_to_last_s
    [second], [changed] = measured.second, measured.changed
    assert (second.documents, second.embedded, second.models) == (0, 0, 0)
    assert (changed.documents, changed.embedded, changed.written, changed.models) == (1, 1, 1, 1)
    assert measured.ratios.end_to_end > 0
    assert measured.ratios.one_changed_s == changed.seconds
    assert len(told) == 5
    assert not [name for name in store.client().list_collections() if name.startswith("graftwork_bench")]
    assert not store.read_side(LETTERS, 'collection like "graftwork_bench%"')


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.usefixtures("local_ray")
def test_files_without_text_are_refused(settings: IndexerSettings, tmp_path: Path) -> None:
    (tmp_path / "bad.pdf").write_bytes(b"%PDF-1.7 and no more")
    with pytest.raises(InputError, match="The 1 files give no chunk to embed"):
        measure(discover([tmp_path]), settings=settings)


def test_a_collection_is_dropped_after_an_error(store: MilvusStore, settings: IndexerSettings) -> None:
    names: list[str] = []

    def fail() -> None:
        with own_collection(store, settings) as name:
            made = store.ensure_generation(name, embedder="e@1", dimension=4)
            store.point_alias(name, made.physical)
            names.append(name)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    [name] = names
    assert store.resolve(name) is None
    assert store.generations(name) == ()
