"""Single stages, with the packages behind them replaced where they would start processes."""

from __future__ import annotations

import socket

import pytest

import deploy.local.instance
import indexer.run.pipeline
from deploy.demo import recipe, stages
from deploy.demo.questions import Question
from deploy.settings import load_settings
from indexer.errors import PartialError, UnavailableError
from indexer.passages import SearchResult
from indexer.run.report import ChunkCounts, DocumentCounts, IndexReport
from indexer.types import FailedDocument
from serve.specialist import parse_specialist
from train.registry.registry import AdapterRegistry


class Stage:
    def __init__(self):
        self.said, self.note = [], ""

    def say(self, detail):
        self.said.append(detail)


def question(number):
    return Question(
        id=f"q{number}",
        question=f"question {number}",
        answer="Now.",
        must_include=("now",),
        sources=("a.md",),
        kind="single",
        split="test",
    )


@pytest.fixture
def settings(tmp_path):
    user = load_settings(home=tmp_path / "home").settings
    return recipe.demo_settings(user, ports=recipe.DemoPorts(milvus=21001, serve=21002))


def index_report(*failures):
    counts = DocumentCounts(seen=48, new=48 - len(failures), changed=0, unchanged=0, deleted=0, failed=len(failures))
    return IndexReport(counts, ChunkCounts(200, 0, 200), {}, "demo", 1, "e", failures, (), {})


def test_the_whole_corpus_is_indexed_into_the_demos_collection(monkeypatch, settings):
    calls = []
    monkeypatch.setattr(
        indexer.run.pipeline, "run_index", lambda paths, **kw: calls.append((paths, kw)) or index_report()
    )
    stage = Stage()
    stages.index_corpus(stage, settings=settings.indexer)
    ((paths, keywords),) = calls
    assert paths == [recipe.CORPUS]
    assert (keywords["collection"], keywords["sync"]) == ("demo", True)
    assert stage.note.startswith("48 documents (48 new")


def test_a_document_that_fails_ends_the_demo_and_is_named(monkeypatch, settings):
    failed = FailedDocument(uri="file:///x.pdf", stage="parse", reason="the file is cut off")
    monkeypatch.setattr(indexer.run.pipeline, "run_index", lambda paths, **kw: index_report(failed))
    with pytest.raises(PartialError, match=r"1 documents .* file:///x.pdf: the file is cut off"):
        stages.index_corpus(Stage(), settings=settings.indexer)


def test_training_questions_are_asked_as_the_served_specialist_asks():
    class Searcher:
        def __init__(self):
            self.calls = []

        def search(self, queries, **keywords):
            self.calls.append((list(queries), keywords))
            return [SearchResult((), "demo", 1, 0.0, 0.0) for _ in queries]

    stage, searcher = Stage(), Searcher()
    found = stages.retrieve(searcher, [question(n) for n in range(70)], tenant="t", progress=stage.say)
    assert list(found) == [f"q{n}" for n in range(70)]
    assert [query for queries, _ in searcher.calls for query in queries] == [f"question {n}" for n in range(70)]
    asked = searcher.calls[0][1]
    assert asked == {
        "collection": "demo",
        "tenant": "t",
        "k": recipe.WIDE_K,
        "dense_weight": recipe.RETRIEVAL.dense_weight,
    }
    assert stage.said[-1] == "retrieved for 70 of 70 questions"


def test_the_four_specialists_are_written_before_the_app_starts(monkeypatch, settings):
    seen = {}

    def up(loaded, *, progress):
        assert loaded.settings is settings
        seen.update(AdapterRegistry(settings.train.registry).read_specialists())

    monkeypatch.setattr(deploy.local.instance, "up", up)
    stages.start_app(Stage(), settings=settings, adapter_ref="demo@4")
    documents = {name: parse_specialist(document, source=name) for name, document in seen.items()}
    assert {name: (d.adapter, d.collection) for name, d in documents.items()} == {
        "demo-base": (None, None),
        "demo-retrieval": (None, "demo"),
        "demo-adapter": ("demo@4", None),
        "demo-both": ("demo@4", "demo"),
    }


def test_when_nothing_answers_the_first_reason_is_said():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        with pytest.raises(UnavailableError, match="Connection error"):
            stages.ask_questions(Stage(), url=url, questions=[question(1)], warm_up=question(0), budget_s=5)
