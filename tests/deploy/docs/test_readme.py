"""Every command that a document shows exists, with the options it is shown with."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from deploy.cli.main import app
from deploy.docs.blocks import all_commands, read_blocks
from train.settings import TrainSettings
from train.sweep.spec import read_spec
from train.sweep.trials import make_trials, shown_value

ROOT = Path(__file__).parents[3]
DOCUMENTS = sorted(
    path for path in ROOT.rglob("*.md") if not {".venv", "corpus", ".git", "build"} & set(path.relative_to(ROOT).parts)
)
SHOWN = [
    (path.relative_to(ROOT).as_posix(), command) for path in DOCUMENTS for command in all_commands(path.read_text())
]


def test_the_readme_shows_the_two_commands_and_what_every_generated_block_prints() -> None:
    text = (ROOT / "README.md").read_text()
    blocks = {block.name: block for block in read_blocks(text)}
    assert {"make demo", "make test"} == {*blocks["demo"].commands, *blocks["test"].commands}
    for block in blocks.values():
        for command in block.commands:
            printed = rf"^\$ {re.escape(command)}\n(?!\$ |```|\n)"
            assert re.search(printed, text, re.MULTILINE), f"{command} prints nothing"


def test_the_readme_shows_three_perl_questions_with_their_sources() -> None:
    text = (ROOT / "README.md").read_text()
    asked = text[text.index("<!-- run: perl ask -->") :].split("````")[1]
    assert asked.count("$ graftwork ask") == 3
    assert asked.count("\nSources\n") == 3
    assert asked.count("perlfaq4") >= 3


def test_every_picture_that_a_document_shows_is_there() -> None:
    shown = [
        path.parent / target for path in DOCUMENTS for target in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", path.read_text())
    ]
    assert len(shown) >= 2
    assert [str(picture) for picture in shown if not picture.is_file()] == []


def test_each_folder_that_the_readme_names_says_what_flows_in_and_out() -> None:
    folders = re.findall(r"^    ([a-z0-9]+)/  ", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert {"indexer", "train", "serve", "deploy", "k8s", "tests"} == set(folders)
    for folder in folders:
        assert re.search(r"\b[Ii]n\b.*\b[Oo]ut\b", (ROOT / folder / "README.md").read_text(), re.DOTALL), folder


@pytest.mark.parametrize(("document", "command"), SHOWN, ids=lambda value: str(value)[:60])
def test_a_shown_command_exists_with_its_options(document: str, command: str) -> None:
    words = shlex.split(command, comments=True)
    if words[0] == "make":
        targets = re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert words[1] in targets, document
        return
    root = typer.main.get_command(app)
    arguments = words[1:]
    while arguments and arguments[0] in {"--config", "--home"}:
        arguments = arguments[2:]
    command_ = root
    while hasattr(command_, "commands"):
        assert arguments, f"{document}: {command} names no verb"
        assert arguments[0] in command_.commands, f"{document}: there is no {' '.join(words)}"
        command_ = command_.commands[arguments[0]]
        arguments = arguments[1:]
    command_.make_context(words[-1], arguments)


def test_the_readme_shows_a_sweep_with_a_row_for_each_of_its_trials_and_a_star_for_the_best() -> None:
    text, file = (ROOT / "README.md").read_text(), ROOT / "deploy" / "docs" / "sweep.yaml"
    assert f"```yaml\n{file.read_text()}```" in text
    trials = make_trials(read_spec(file), name="agronomy-sweep", base=TrainSettings())
    printed = text[text.index("<!-- run: sweep -->") :].split("```")[1].splitlines()
    header = printed[2].split()
    assert header == ["best", "rank", "learning_rate", "eval_loss", "loss", "steps", "seconds", "run"]
    rows = [line.lstrip("* ").split() for line in printed[3 : 3 + len(trials)]]
    assert {row[-1]: row[:2] for row in rows} == {
        trial.run: [shown_value(trial.values[field]) for field in header[1:3]] for trial in trials
    }
    losses = [float(row[2]) for row in rows]
    assert losses == sorted(losses)
    assert [line.startswith("*") for line in printed[3 : 3 + len(trials)]] == [True, False, False, False]
    assert f"published  agronomy@1, of the run {rows[0][-1]}" in printed
