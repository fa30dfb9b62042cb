"""The picture shows what the demo printed."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from deploy.demo.ask import Answer, Source
from deploy.demo.budget import StageRecord
from deploy.demo.figures import ArmFigures, Figures
from deploy.demo.questions import Question
from deploy.demo.recipe import ARMS
from deploy.demo.report import DemoReport, TrainingFacts
from indexer.evaluation.bootstrap import Estimate

QUESTION = Question(
    id="q1", question="Which lamp burns colza?", answer="The red one.", kind="single", split="test",
    sources=("lamps",), must_include=("red",),
)  # fmt: skip


@pytest.fixture
def report() -> DemoReport:
    share = Estimate(0.5, 0.25, 0.75, 8)
    source = Source(n=1, document="lamps.md", title="Lamps", heading="Oil", uri="file:///lamps.md", cited=True)
    return DemoReport(
        started_at="2026-01-01T00:00:00+00:00", quick=True, home="/h", cpus=2, versions={},
        stages=(StageRecord("Index the corpus", 60.0, 44.0, ""),),
        index={},
        training=TrainingFacts("demo@1", 1, {}, 1, 1, 1.0, 1.0, 1.0, None, None, stopped_early=False),
        questions=(QUESTION,),
        answers=tuple(
            Answer("q1", arm.name, f"Words of {arm.name} [1]", 0.5, 1.0, 9, "usage", (source,), None, 0) for arm in ARMS
        ),
        figures=Figures(
            asked=8, answerable=8, unanswerable=0, dropped=(), comparisons=(),
            arms=tuple(
                ArmFigures(arm.name, arm.grafts, share, None, None, None, None, None, None, 0, None, None, None)
                for arm in ARMS
            ),
        ),
        statement=("What one must know.",), kept=False, url="http://127.0.0.1:1",
    )  # fmt: skip


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.docs.picture", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_the_picture_holds_answers_sources_scores_and_times(report: DemoReport, tmp_path: Path) -> None:
    report.write(tmp_path / "report.json")
    done = run(tmp_path / "report.json", tmp_path / "demo.svg")
    assert (done.returncode, done.stderr) == (0, "")
    root = ElementTree.parse(tmp_path / "demo.svg").getroot()
    text = " ".join("".join(part.itertext()) for part in root.iter()).replace("\xa0", " ")
    assert root.tag.endswith("svg")
    for shown in (
        "Words of demo-both [1]",
        "cited [1] Lamps > Oil",
        "0.50 [0.25, 0.75]",
        "0:44",
        "What one must know.",
    ):
        assert shown in text


def test_another_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("{}")
    done = run(tmp_path / "report.json", tmp_path / "demo.svg")
    assert done.returncode == 2
    assert f"{tmp_path / 'report.json'} is not a report" in done.stderr
    assert not (tmp_path / "demo.svg").exists()
