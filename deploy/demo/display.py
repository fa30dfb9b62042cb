"""The demo's result on stdout: answers side by side, a table of scores, what stands beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.demo import recipe
from deploy.demo.ask import Answer
from deploy.demo.budget import clock
from deploy.demo.figures import ArmFigures, Figures
from deploy.demo.questions import Question
from deploy.demo.report import DemoReport
from indexer.evaluation.bootstrap import Estimate

SHOWN_QUESTIONS = 4
WIDTH = 118  # of a stdout that is no terminal

_SHARE = "{:.2f} [{:.2f}, {:.2f}]"
_PLAIN = "{:.1f} [{:.1f}, {:.1f}]"
_ROWS: tuple[tuple[str, Callable[[ArmFigures], Estimate | None], str], ...] = (
    ("required words", lambda arm: arm.must_include, _SHARE),
    ("word overlap F1", lambda arm: arm.token_f1, _SHARE),
    ("refused rightly", lambda arm: arm.refused_rightly, _SHARE),
    ("refused wrongly", lambda arm: arm.refused_wrongly, _SHARE),
    ("sources retrieved", lambda arm: arm.found, _SHARE),
    ("citation precision", lambda arm: arm.citation_precision, _SHARE),
    ("citation recall", lambda arm: arm.citation_recall, _SHARE),
    ("s to first token", lambda arm: arm.ttft_s, _SHARE),
    ("tokens/s after it", lambda arm: arm.tokens_per_s, _PLAIN),
    ("tokens per answer", lambda arm: arm.completion_tokens, _PLAIN),
)
_LEGEND = (
    "required words: share of answerable questions whose answer holds every required phrase; refused rightly: share of "
    "the unanswerable ones; refused wrongly: share of the answerable ones; sources retrieved: all gold documents among "
    "the passages; citations are counted by document, precision over answers that cite; seconds, tokens/s and "
    "tokens are medians."
)


def show(report: DemoReport, console: Console) -> None:
    """Print everything a reader of the demo wants to see."""
    for question in choose_shown(report.questions, report.answers, limit=SHOWN_QUESTIONS):
        show_question(question, report.answers, console)
    console.print(score_table(report.figures))
    console.print(_stage_table(report))
    for sentence in report.statement:
        console.print(Text(f"* {sentence}"))
    if report.figures.dropped:
        console.print(Text(f"* Left out, because a request failed: {', '.join(report.figures.dropped)}."))
    console.print(Text(""))


def choose_shown(questions: Sequence[Question], answers: Sequence[Answer], *, limit: int) -> tuple[Question, ...]:
    """The first question of each kind that all four answered, in the order asked; never chosen by how they did."""
    good = {(answer.question_id, answer.specialist) for answer in answers if answer.error is None}
    shown: dict[str, Question] = {}
    for question in questions:
        if question.kind not in shown and all((question.id, arm.name) in good for arm in recipe.ARMS):
            shown[question.kind] = question
    return tuple(shown.values())[:limit]


def score_table(figures: Figures) -> Table:
    """A row per figure, a column per specialist; a dash where a figure has no sample."""
    table = Table(
        title=f"Scores over {figures.asked} held-out questions, with 95% intervals",
        box=box.SIMPLE_HEAD,
        title_justify="left",
        pad_edge=False,
        caption=_LEGEND,
        caption_justify="left",
    )
    table.add_column("", no_wrap=True)
    table.add_column("n", no_wrap=True)
    for arm in figures.arms:
        table.add_column(f"{arm.specialist}\n({arm.grafts})", no_wrap=True)
    for name, get, form in _ROWS:
        row = [get(arm) for arm in figures.arms]
        sizes = {figure.n for figure in row if figure is not None}
        n = str(sizes.pop()) if len(sizes) == 1 else ""
        table.add_row(name, n, *(_cell(figure, form, with_n=not n) for figure in row))
    table.add_row("invalid markers", str(figures.asked), *(str(arm.invalid_markers) for arm in figures.arms))
    return table


def _cell(figure: Estimate | None, form: str, *, with_n: bool) -> str:
    if figure is None:
        return "-"
    text = form.format(figure.value, figure.low, figure.high)
    return f"{text} n={figure.n}" if with_n else text


def _stage_table(report: DemoReport) -> Table:
    table = Table(title="Time", box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for heading in ("stage", "took", "budget", ""):
        table.add_column(heading)
    for record in report.stages:
        table.add_row(record.name, clock(record.seconds), clock(record.budget_s), "over" if record.over_budget else "")
    table.add_row("total", clock(sum(record.seconds for record in report.stages)), "", "")
    return table


def show_question(question: Question, answers: Sequence[Answer], console: Console) -> None:
    """What each specialist answered, with its speed and sources, below the question and the written answer."""
    grid = Table(box=box.SIMPLE_HEAD, show_lines=False, pad_edge=False, expand=True)
    grid.add_column(Text(f"{question.question}\n(written answer: {question.answer})", style="bold"), ratio=1)
    ours = {answer.specialist: answer for answer in answers if answer.question_id == question.id}
    for arm in recipe.ARMS:
        answer = ours[arm.name]
        speed = f"{answer.ttft_s:.1f} s to the first token" if answer.ttft_s is not None else "no token"
        if answer.tokens_per_s is not None:
            speed += f", {answer.tokens_per_s:.1f} tokens/s"
        grid.add_row(Text.assemble((arm.name, "cyan"), f"  ({speed})\n", *_answer_lines(answer)))
    console.print(grid)


def _answer_lines(answer: Answer) -> list[str]:
    lines = [f"    {' '.join(answer.text.split()) or '(empty)'}"]
    for source in answer.sources:
        place = " > ".join(part for part in (source.title, source.heading) if part)
        lines.append(f"\n      {'cited' if source.cited else 'given'} [{source.n}] {place} ({source.document})")
    return lines
