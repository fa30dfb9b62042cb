"""Engines of a model of two layers. It cannot answer, so vLLM is told what it may choose from (`structured_outputs`):
what it chose is in the journal, and makes rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from indexer.errors import UnavailableError
from tests.models import build_tiny_llama
from tests.stack import build_tiny_adapter
from tests.train.examples.making import layout, lines, request, small_corpus
from train.base_model import BaseModelFiles, describe_base
from train.examples.costs import Costs
from train.examples.journal import open_journal
from train.examples.offline import OfflineAsker
from train.examples.pipeline import Progress, write_examples
from train.examples.report import ExamplesReport
from train.examples.request import ExamplesRequest, Offline, request_fields
from train.examples.teacher import Ask, Books, Teacher
from train.registry import AdapterRegistry, Provenance, publish_adapter
from train.registry.merging import merge_adapter

# Each can be asked about any chunk of `small_corpus`, and each is, as an answer, made of a chunk's words.
SENTENCES = [
    "In which autumn was the anchor chain tarred?",
    "Does the harbour master keep the record of the hawser?",
    "How many metres long is it, the pilot boat?",
]


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> BaseModelFiles:
    """A model with an adapter in it, as `adapters merge` writes it."""
    folder = tmp_path_factory.mktemp("merged")
    base = describe_base(build_tiny_llama(folder / "tiny"), name="tiny")
    registry = AdapterRegistry(folder / "registry")
    adapter = build_tiny_adapter(base.path, folder / "adapter", seed=1)
    publish_adapter(adapter, registry=registry, name="ropes", base=base, provenance=Provenance())
    merge_adapter("ropes", folder / "ropes-1", registry=registry, find_base=lambda: base)
    return describe_base(folder / "ropes-1", name="ropes-1")


def offline(base: BaseModelFiles, **changes: object) -> Offline:
    fields: dict[str, object] = {
        "accelerator": "cpu",
        "concurrency": 4,
        "fields": {"structured_outputs": {"choice": SENTENCES}},
        "engine": {"kv_cache_memory_bytes": 2**28},
    }
    return Offline(base, **{**fields, **changes})  # type: ignore[arg-type]


def teacher(model: Offline, asked: ExamplesRequest) -> Callable[[Books], Teacher]:
    fields = request_fields(model.fields, max_tokens=asked.max_tokens)
    return lambda books: OfflineAsker(model, books=books, fields=fields)


@pytest.mark.long
@pytest.mark.slow
def test_rows_come_from_engines_and_an_interrupted_run_asks_nothing_twice(
    tmp_path: Path, merged: BaseModelFiles, local_ray: None
) -> None:
    asked = request(tmp_path, chunks=8, questions_per_chunk=1, max_tokens=64)

    def write(progress: Callable[[Progress], None]) -> ExamplesReport:
        return write_examples(
            asked,
            corpus=small_corpus(documents=4),
            teacher=teacher(offline(merged), asked),
            layout=layout,
            progress=progress,
        )

    def interrupt(progress: Progress) -> None:
        if progress.stage == "questions" and progress.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(interrupt)
    begun = lines(asked.journal)
    assert len(begun) == 3
    assert {line["text"] for line in begun} <= set(SENTENCES)

    report = write(print)
    journal = lines(asked.journal)
    assert journal[:3] == begun
    keys = [(line["stage"], line["chunk"], line["question"], line["request"]) for line in journal]
    assert len(keys) == len(set(keys))
    questions, answers = report.costs["questions"], report.costs["answer"]
    assert (questions.requests, questions.remembered) == (5, 3)
    assert answers.requests == len(journal) - 8 >= 1
    assert questions.engine_seconds > 0 < answers.engine_seconds
    assert (questions.gpu_seconds, questions.failed, answers.failed) == (0, 0, 0)
    for stage, cost in (("questions", questions), ("answer", answers)):
        of_stage = [line for line in journal if line["stage"] == stage]
        assert cost.completion_tokens + cost.remembered_completion_tokens == sum(
            int(str(line["completion_tokens"])) for line in of_stage
        )
        assert all(0 < int(str(line["completion_tokens"])) <= 64 for line in of_stage)
        assert all(int(str(line["prompt_tokens"])) > 50 for line in of_stage)
    rows = [*lines(asked.out), *lines(asked.eval_out)]
    assert len(rows) == len(report.training) + len(report.evaluation) >= 1
    assert all(row["messages"][-1]["content"] in SENTENCES for row in rows)  # type: ignore[index]
    assert all(row["golden"] and row["documents"] and row["generation"] == 3 for row in rows)
    json.dumps(report.to_json())


@pytest.mark.slow
@pytest.mark.long
def test_an_engine_that_does_not_start_says_why(tmp_path: Path, merged: BaseModelFiles, local_ray: None) -> None:
    model = offline(merged, engine={"kv_cache_memory_bytes": 4096})
    with open_journal(tmp_path / "work") as journal:
        asker = OfflineAsker(model, books=Books(journal, Costs()), fields=request_fields({}, max_tokens=8))
        ask = Ask("c", 0, ({"role": "user", "content": "How long is the hawser?"},))
        with pytest.raises(UnavailableError, match=r"of ropes-1 does not start or has died: ValueError: .*cache"):
            asker.ask_all("questions", [ask], progress=print)


@pytest.mark.slow
@pytest.mark.long
def test_requests_that_an_engine_refuses_are_told(tmp_path: Path, merged: BaseModelFiles, local_ray: None) -> None:
    costs = Costs()
    with open_journal(tmp_path / "work") as journal:
        fields = request_fields({"temperature": -1}, max_tokens=8)
        asker = OfflineAsker(offline(merged), books=Books(journal, costs), fields=fields)
        asks = [Ask(f"c{number}", 0, ({"role": "user", "content": "How long?"},)) for number in range(3)]
        assert asker.ask_all("questions", asks, progress=print) == [None] * 3
    assert "temperature must be non-negative" in asker.last_failure
    assert costs.stages["questions"].failed == 3
