"""The demo, from documents to a table of scores.

    graftwork demo                 about a quarter of an hour on two cores
    graftwork demo --quick         two minutes of training, twelve questions
    graftwork demo --keep          leaves the four specialists up

It indexes a corpus about a place that no model knows, fine-tunes the embedded base model on questions about one part of
the documents, serves base, retrieval, adapter and both side by side, and asks all four the same questions about the
other part. Everything it makes lies under <home>/demo; the user's registry and collections are not touched.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from deploy.demo import recipe, stages
from deploy.demo.budget import FULL, QUICK, Budgets, StageLog
from deploy.demo.display import WIDTH, show
from deploy.demo.figures import all_figures
from deploy.demo.questions import Question, choose_test_questions, read_questions
from deploy.demo.report import DemoReport, TrainingFacts, statement
from deploy.local.checks import judge, refuse_failed
from deploy.local.interrupts import ending_signals_raise, uninterrupted
from deploy.local.ports import is_free, pick_free
from deploy.local.preflight import examine
from deploy.local.runtime import runtime
from deploy.local.shutdown import down
from deploy.local.state import ANOTHER_HOME
from deploy.local.versions import installed_versions
from indexer.errors import ConflictError, GraftworkError, PartialError, writing

if TYPE_CHECKING:
    from deploy.settings import Settings

REPORT = "report.json"
INTERRUPTED = 130
_STAGES = 6


@dataclass(frozen=True, slots=True)
class _Learnt:
    index: dict[str, object]
    training: TrainingFacts


def run_demo(settings: Settings, *, keep: bool, quick: bool, json_output: bool) -> int:
    """Run the demo and print what came of it; returns the exit code.

    Progress goes to stderr, the result to stdout. Whatever ends it, nothing is left running, but for `keep` after
    success.

    Args:
        settings: The user's settings; the demo makes its own from them, see `recipe.demo_settings`.
        keep: Leave the app up and say how to use and stop it.
        quick: Shorter training and fewer questions.
        json_output: Print the report as one JSON object on the last line of stdout.
    """
    os.environ.setdefault("TQDM_DISABLE", "1")  # Other packages' bars would break the stages' own.
    console = Console(stderr=True)
    try:
        with _only_demo(settings.home / recipe.HOME), ending_signals_raise():
            return _run(settings, console, keep=keep, quick=quick, json_output=json_output)
    except GraftworkError as error:
        console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        return int(getattr(error, "cause_exit_code", error.exit_code))
    except KeyboardInterrupt:
        console.print("Interrupted; everything that the demo started is stopped.", style="red")
        return INTERRUPTED


def _run(user: Settings, console: Console, *, keep: bool, quick: bool, json_output: bool) -> int:
    budgets = QUICK if quick else FULL
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    questions = read_questions(recipe.QUESTIONS)
    chosen = choose_test_questions(questions, limit=budgets.questions, seed=recipe.SEED)
    settings = recipe.demo_settings(user, ports=_free_ports(user))
    _stop_earlier(settings, console)
    _check_machine(settings, console)
    log = StageLog(console, total=_STAGES - 1 if keep else _STAGES)
    with _stopped_after(settings, log, keep=keep, budget_s=budgets.stop_s):
        learnt = _learn(settings, log, questions=questions, budgets=budgets)
        # The minutes since may have cost a free port; only what `up` is told matters.
        settings = recipe.demo_settings(user, ports=_free_ports(user))
        with log.stage("Start the app with four specialists", budget_s=budgets.start_s) as stage:
            stages.start_app(stage, settings=settings, adapter_ref=learnt.training.adapter)
        url = stages.app_url(settings)
        with log.stage("Ask all four the same questions", budget_s=budgets.ask_s) as stage:
            answers = stages.ask_questions(
                stage, url=url, questions=chosen, warm_up=_warm_up(questions), budget_s=budgets.ask_s
            )
    begun = {answer.question_id for answer in answers}
    asked = tuple(question for question in chosen if question.id in begun)
    figures = all_figures(asked, answers)
    report = DemoReport(
        started_at=started_at,
        quick=quick,
        home=str(settings.home),
        cpus=os.cpu_count() or 1,
        versions=installed_versions(),
        stages=tuple(log.records),
        index=learnt.index,
        training=learnt.training,
        questions=asked,
        answers=answers,
        figures=figures,
        statement=statement(learnt.training, figures, budget_s=budgets.train_s),
        kept=keep,
        url=url,
    )
    return _finish(report, json_output=json_output)


def _warm_up(questions: Sequence[Question]) -> Question:
    return next(question for question in questions if question.split == "train")


def _learn(settings: Settings, log: StageLog, *, questions: Sequence[Question], budgets: Budgets) -> _Learnt:
    """Index, write the training rows and train. Ray and Milvus are transient: the engine will need their memory."""
    with ExitStack() as transient:
        with log.stage("Index the corpus", budget_s=budgets.index_s) as stage:
            stage.say("starting Ray and Milvus")
            indexer = transient.enter_context(runtime(settings)).indexer
            index = stages.index_corpus(stage, settings=indexer)
        with log.stage("Write the training rows", budget_s=budgets.rows_s) as stage:
            dataset = stages.write_training_rows(stage, settings=settings, indexer=indexer, questions=questions)
        with log.stage("Fine-tune an adapter", budget_s=budgets.train_s) as stage:
            training = stages.train_adapter(stage, settings=settings, dataset=dataset, budget_s=budgets.train_s)
            stage.say("stopping Ray and Milvus")
            transient.close()
    return _Learnt(index.to_json(), training)


def _finish(report: DemoReport, *, json_output: bool) -> int:
    path = Path(report.home) / REPORT
    report.write(path)
    # With --json, stdout is for the machine.
    width = None if sys.stdout.isatty() else WIDTH
    console = Console(file=sys.stderr if json_output else sys.stdout, width=width, highlight=False)
    show(report, console)
    lines = [f"Everything is in {path}."]
    if report.kept:
        command = f"graftwork --home {report.home}"
        question = shlex.quote(report.questions[0].question)
        lines += [
            f"It is up at {report.url}. To ask it:",
            f"    {command} ask {question} --specialist {recipe.WITH_BOTH.name}",
            "To stop it:",
            f"    {command} down",
        ]
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
    if json_output:
        print(json.dumps(report.to_json(), ensure_ascii=False), flush=True)
    failed = sum(answer.error is not None for answer in report.answers)
    if failed:
        raise PartialError(f"{failed} of {len(report.answers)} requests failed; {path} says why.")
    return 0


@contextmanager
def _stopped_after(settings: Settings, log: StageLog, *, keep: bool, budget_s: float) -> Iterator[None]:
    """Stops the app at the end, after success as a stage of its own; after a failure even where it was to be kept."""
    try:
        yield
        if not keep:
            with uninterrupted(), log.stage("Stop everything", budget_s=budget_s) as stage:
                result = down(settings, progress=stage.say)
                stage.note = f"{result.processes} processes ended, none left."
    except BaseException:
        with uninterrupted():
            down(settings, progress=lambda _: None)
        raise


def _stop_earlier(settings: Settings, console: Console) -> None:
    """Stops a demo that was kept up, or what is left of one that was killed."""
    with console.status("Looking for an earlier demo"):
        result = down(settings, progress=lambda _: None)
    if result.processes:
        console.print(f"Stopped an earlier demo that was still up ({result.processes} processes).", highlight=False)


def _check_machine(settings: Settings, console: Console) -> None:
    """What `up` checks, before minutes go into training.

    The four specialists that an earlier demo left are not judged: this one writes them anew.

    Raises:
        GraftworkError: As `up`: no engine or two, too little memory, a wrong version.
    """
    with console.status("Checking this machine and the base model, which is unpacked at the first start"):
        given = examine(settings, own_instance_up=False)
    ours = {arm.name for arm in recipe.ARMS}
    unserved = {name: reason for name, reason in given.facts.unserved.items() if name not in ours}
    refuse_failed(judge(replace(given, facts=replace(given.facts, unserved=unserved))))


def _free_ports(user: Settings) -> recipe.DemoPorts:
    """The user's own HTTP port where it is free, so that the address is the usual one; any free port for Milvus."""
    milvus, serve = pick_free(2, taken=[user.serve.port])
    is_usual = is_free(user.serve.port, host=user.serve.host)
    return recipe.DemoPorts(milvus=milvus, serve=user.serve.port if is_usual else serve)


@contextmanager
def _only_demo(home: Path) -> Iterator[None]:
    """Holds the demo's home for this process.

    Raises:
        ConflictError: Another demo runs there.
        UnavailableError: Nothing can be written there.
    """
    lock = home / "demo.lock"
    with writing("The lock of the demo", lock, otherwise=ANOTHER_HOME):
        home.mkdir(parents=True, exist_ok=True)
        file = lock.open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(f"Another demo runs in {home}; wait until it ends.") from error
        yield
