"""What each stage of the demo does, with the packages' real entry points; what to show goes through the stage."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from openai import AsyncOpenAI

from deploy.demo import recipe
from deploy.demo.ask import REQUEST_TIMEOUT_S, Answer, ask_all
from deploy.demo.budget import Stage
from deploy.demo.questions import Question
from deploy.demo.report import TrainingFacts
from deploy.demo.rows import TrainingRow, build_rows, write_rows
from deploy.local.api import api_key
from deploy.local.ports import in_url
from indexer.errors import InputError, PartialError, UnavailableError
from indexer.settings import IndexerSettings

if TYPE_CHECKING:
    from deploy.local.instance import UpResult
    from deploy.settings import Settings
    from indexer.passages import Passage
    from indexer.run.report import IndexProgress, IndexReport
    from indexer.search import Searcher
    from train.run import TrainProgress

_SEARCH_BATCH = 32


@dataclass(frozen=True, slots=True)
class Dataset:
    """The training file, its number of rows, and how many answers of each kind stand in them."""

    path: Path
    rows: int
    answers: dict[str, int]


def index_corpus(stage: Stage, *, settings: IndexerSettings) -> IndexReport:
    """Index the demo's corpus; Ray is initialised and Milvus is there.

    Raises:
        PartialError: A document failed: the demo's own corpus must index whole.
    """
    from indexer.run.pipeline import run_index

    def show(progress: IndexProgress) -> None:
        of = f" of {progress.documents_total}" if progress.documents_total else ""
        stage.say(f"{progress.documents}{of} documents, {progress.chunks_written} chunks stored")

    report = run_index(
        [recipe.CORPUS],
        collection=recipe.COLLECTION,
        tenant=settings.default_tenant,
        settings=settings,
        progress=show,
        sync=True,
    )
    if report.failures:
        first = report.failures[0]
        raise PartialError(f"{len(report.failures)} documents were not indexed, first {first.uri}: {first.reason}.")
    stage.note = (
        f"{report.documents.seen} documents ({report.documents.new} new, {report.documents.unchanged} unchanged), "
        f"{report.chunks.written} chunks written."
    )
    return report


def write_training_rows(
    stage: Stage, *, settings: Settings, indexer: IndexerSettings, questions: Sequence[Question]
) -> Dataset:
    """Retrieve for every training question as the served app will, and write the rows."""
    from indexer.search import open_searcher
    from serve.tokens import token_counter
    from train.base_model import resolve_base

    stage.say("unpacking the base model, loading the embedder")
    base = resolve_base(settings.train.base_model, models_dir=settings.train.models_dir)
    count_tokens = token_counter(base.path)
    searcher = open_searcher(indexer, cross_encoder=False)
    training = [question for question in questions if question.split == "train"]
    if not training:
        raise InputError(f"{recipe.QUESTIONS} has no question with split 'train'.")
    found = retrieve(searcher, training, tenant=indexer.default_tenant, progress=stage.say)
    rows = build_rows(training, found, count_tokens=count_tokens, seed=recipe.SEED)
    path = settings.home / "train.jsonl"
    write_rows(rows, path)
    answers = count_kinds(rows)
    kinds = ", ".join(f"{count} {kind}" for kind, count in answers.items())
    stage.note = f"{len(rows)} rows in {path}, with {sum(answers.values())} answers: {kinds}."
    return Dataset(path, len(rows), answers)


def retrieve(
    searcher: Searcher, questions: Sequence[Question], *, tenant: str, progress: Callable[[str], None]
) -> dict[str, tuple[Passage, ...]]:
    """For each question's id the passages found, best first: `WIDE_K` of them, of which serving takes the first k."""
    found: dict[str, tuple[Passage, ...]] = {}
    for start in range(0, len(questions), _SEARCH_BATCH):
        batch = questions[start : start + _SEARCH_BATCH]
        results = searcher.search(
            [question.question for question in batch],
            collection=recipe.COLLECTION,
            tenant=tenant,
            k=recipe.WIDE_K,
            dense_weight=recipe.RETRIEVAL.dense_weight,
        )
        found.update({question.id: result.passages for question, result in zip(batch, results, strict=True)})
        progress(f"retrieved for {len(found)} of {len(questions)} questions")
    return found


def train_adapter(stage: Stage, *, settings: Settings, dataset: Dataset, budget_s: float) -> TrainingFacts:
    """Fine-tune on two Ray Train workers and publish; training ends at its budget with what it has learnt."""
    from train.registry.registry import AdapterRegistry
    from train.run import TrainRequest, run_training

    def show(progress: TrainProgress) -> None:
        stage.say(f"step {progress.step} of {progress.total_steps}, loss {progress.loss:.2f}")

    shutil.rmtree(settings.train.storage_path, ignore_errors=True)  # Checkpoints of earlier demos.
    stage.say(f"starting {settings.train.workers} workers")
    result = run_training(
        TrainRequest(datasets=(str(dataset.path),), name=recipe.ADAPTER, time_budget_s=budget_s),
        settings=settings.train,
        registry=AdapterRegistry(settings.train.registry),
        progress=show,
    )
    record = result.manifest.training
    assert record is not None
    facts = TrainingFacts(
        adapter=result.manifest.ref,
        rows=dataset.rows,
        answers=dataset.answers,
        steps=result.steps,
        planned_steps=result.planned_steps,
        epochs=record.epochs,
        seconds=result.train_seconds,
        tokens_per_s=result.tokens_per_s,
        first_loss=result.first_loss,
        final_loss=result.final_loss,
        stopped_early=result.stopped_early,
    )
    early = " Stopped early, at its budget." if facts.stopped_early else ""
    stage.note = f"Published {facts.adapter} after {facts.steps} of {facts.planned_steps} steps.{early}"
    return facts


def start_app(stage: Stage, *, settings: Settings, adapter_ref: str) -> UpResult:
    """Write the four specialists and bring the app up; a token has come through each of them when this returns."""
    from deploy.local.instance import Progress, up
    from deploy.settings import LoadedSettings
    from train.registry.applying import write_specialist
    from train.registry.registry import AdapterRegistry

    def show(progress: Progress) -> None:
        stage.say(f"{progress.step}, {progress.detail}")

    registry = AdapterRegistry(settings.train.registry)
    for arm in recipe.ARMS:
        document = recipe.specialist(arm, adapter_ref=adapter_ref, base=settings.serve.base_name)
        written = document.model_dump_json(indent=2, by_alias=True).encode()
        write_specialist(document.name, written, registry=registry)
    result = up(LoadedSettings(settings, None, {}), progress=show)
    stage.note = f"{app_url(settings)} serves {', '.join(arm.name for arm in recipe.ARMS)}."
    return result


def app_url(settings: Settings) -> str:
    """The OpenAI endpoint of the demo's app."""
    return f"http://{in_url(settings.serve.host)}:{settings.serve.port}/v1"


def ask_questions(
    stage: Stage, *, url: str, questions: Sequence[Question], warm_up: Question, budget_s: float
) -> tuple[Answer, ...]:
    """Ask until the questions or the budget are at their end.

    Args:
        stage: The stage under way.
        url: The OpenAI endpoint.
        questions: What to ask, in this order.
        warm_up: Asked of all four first and not counted: the engine's first requests are slow, by adapter and by shape.
        budget_s: Seconds for all of it.

    Raises:
        UnavailableError: Not one question got an answer.
    """
    names = [arm.name for arm in recipe.ARMS]
    ends = time.monotonic() + budget_s

    async def run() -> tuple[Answer, ...]:
        async with AsyncOpenAI(base_url=url, api_key=api_key(), max_retries=0, timeout=REQUEST_TIMEOUT_S) as client:
            stage.say("warming up")
            for asked in ([warm_up], questions):
                answers = await ask_all(
                    client,
                    asked,
                    specialists=names,
                    concurrency=recipe.CONCURRENCY,
                    budget_s=max(0.0, ends - time.monotonic()),
                    progress=lambda done: stage.say(f"{done} of up to {len(questions) * len(names)} answers"),
                )
        return answers

    answers = asyncio.run(run())
    errors = [answer.error for answer in answers if answer.error is not None]
    if not answers:
        raise UnavailableError(f"The warm-up took the whole budget of {budget_s:g} s; this machine is too busy.")
    if len(errors) == len(answers):
        raise UnavailableError(f"No question got an answer; the first request failed with: {errors[0]}")
    asked_of = len({answer.question_id for answer in answers})
    cut = "" if asked_of == len(questions) else f" of {len(questions)}: the budget ended the asking"
    failed = f" {len(errors)} requests failed." if errors else ""
    stage.note = f"{asked_of} questions{cut}, {len(answers)} answers.{failed}"
    return answers


def count_kinds(rows: Sequence[TrainingRow]) -> dict[str, int]:
    """How many answers there are of each kind."""
    return dict(sorted(Counter[str](turn.kind for row in rows for turn in row.turns).items()))
