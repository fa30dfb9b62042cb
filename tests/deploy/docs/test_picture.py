"""The pictures show what the demo printed."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.demo.ask import Answer, Source
from deploy.demo.budget import StageRecord
from deploy.demo.figures import ArmFigures, Figures
from deploy.demo.questions import Question
from deploy.demo.recipe import ARMS
from deploy.demo.report import DemoReport, TrainingFacts
from deploy.docs.picture import draw_scores
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


def texts(picture: Path) -> str:
    root = ElementTree.parse(picture).getroot()
    assert root.tag.endswith("svg")
    return " ".join("".join(part.itertext()) for part in root.iter()).replace("\xa0", " ")


def test_the_pictures_hold_answers_with_sources_and_scores_with_names(report: DemoReport, tmp_path: Path) -> None:
    report.write(tmp_path / "report.json")
    done = run(tmp_path / "report.json", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    answers, scores = texts(tmp_path / "demo-answers.svg"), texts(tmp_path / "demo-scores.svg")
    for arm in ARMS:
        assert f"Words of {arm.name} [1]" in answers
        assert f"{arm.name} ({arm.grafts})" in scores
    assert "cited [1] Lamps > Oil" in answers
    assert "required words" in scores
    assert "lower is better" in scores
    assert "over 8 questions" in scores


def test_an_interval_is_drawn_where_it_lies(report: DemoReport) -> None:
    wide = replace(report.figures.arms[0], must_include=Estimate(0.5, 0.0, 1.0, 8))
    drawn = draw_scores(report.figures)
    assert drawn == draw_scores(report.figures)
    assert drawn != draw_scores(replace(report.figures, arms=(wide, *report.figures.arms[1:])))


def test_another_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("{}")
    done = run(tmp_path / "report.json", tmp_path)
    assert done.returncode == 2
    assert f"{tmp_path / 'report.json'} is not a report" in done.stderr
    assert not list(tmp_path.glob("*.svg"))
