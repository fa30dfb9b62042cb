"""Draws from the demo's report what people would rather look at than read, as SVG.

    python -m deploy.docs.picture ~/.graftwork/demo/report.json deploy/docs

`demo-answers.svg` shows one question as the terminal did, `demo-scores.svg` the scores as a plot. Needs extra `dev`.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME

from deploy.demo.display import WIDTH, choose_shown, show_question
from deploy.demo.figures import ArmFigures, Figures
from deploy.demo.report import DemoReport
from indexer.evaluation.bootstrap import Estimate

ANSWERS, SCORES = "demo-answers.svg", "demo-scores.svg"
_PANELS: tuple[tuple[str, Callable[[ArmFigures], Estimate | None]], ...] = (
    ("required words", lambda arm: arm.must_include),
    ("word overlap F1", lambda arm: arm.token_f1),
    ("citation recall", lambda arm: arm.citation_recall),
    ("refused wrongly\n(lower is better)", lambda arm: arm.refused_wrongly),
)
_COLOURS = ("#6e7781", "#0969da", "#bf8700", "#1a7f37")  # one an arm; they stay apart on light and on dark ground


def main() -> int:
    """Write the pictures; exit code 2 where the report cannot be read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    try:
        report = TypeAdapter(DemoReport).validate_json(arguments.report.read_bytes())
    except (OSError, ValidationError) as error:
        print(f"{arguments.report} is not a report of `graftwork demo`: {error}", file=sys.stderr)
        return 2
    (arguments.folder / ANSWERS).write_text(draw_answers(report))
    (arguments.folder / SCORES).write_text(draw_scores(report.figures))
    return 0


def draw_answers(report: DemoReport) -> str:
    """The first question that the demo shows, and what each specialist said, in a terminal of `WIDTH` columns."""
    console = Console(width=WIDTH, record=True, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for question in choose_shown(report.questions, report.answers, limit=1):
        show_question(question, report.answers, console)
    return console.export_svg(title="make demo", theme=SVG_EXPORT_THEME, unique_id="demo-answers")


def draw_scores(figures: Figures) -> str:
    """A panel a figure: every specialist's value as a dot, its 95% interval as a line; none where it has no sample."""
    with mpl.rc_context({"svg.hashsalt": "demo", "svg.fonttype": "none", "font.size": 9}):
        drawing = Figure(figsize=(9, 2.2), layout="constrained")
        panels = drawing.subplots(1, len(_PANELS), sharey=True, sharex=True)
        names = [f"{arm.specialist} ({arm.grafts})" for arm in figures.arms]
        for axes, (title, get) in zip(panels, _PANELS, strict=True):
            for place, (arm, colour) in enumerate(zip(figures.arms, _COLOURS, strict=True)):
                if (value := get(arm)) is not None:
                    axes.plot([value.low, value.high], [place, place], color=colour, linewidth=2)
                    axes.plot(value.value, place, "o", color=colour)
            axes.set_title(title, fontsize=9)
            axes.set_xlim(-0.03, 1)
            axes.grid(axis="x", alpha=0.3)
        panels[0].set_yticks(range(len(names)), names)
        panels[0].invert_yaxis()
        drawing.supxlabel(f"share or score over {figures.asked} questions, with 95% bootstrap intervals", fontsize=8)
        written = io.StringIO()
        drawing.savefig(written, format="svg", metadata={"Date": None})
    return written.getvalue()


if __name__ == "__main__":
    sys.exit(main())
