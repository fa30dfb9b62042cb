from __future__ import annotations

import json
from pathlib import Path

import pytest

from indexer.errors import InputError, NotFoundError, UnavailableError
from train.__main__ import load_settings, main


def test_a_section_and_single_settings_are_put_together(tmp_path: Path) -> None:
    file = tmp_path / "graftwork.yaml"
    file.write_text("serve: {port: 1}\ntrain:\n  rank: 8\n  workers: 1\n")
    settings = load_settings(file, ["rank=4", "target_modules=[q_proj, v_proj]", "max_steps=null"])
    assert (settings.rank, settings.workers, settings.target_modules) == (4, 1, ["q_proj", "v_proj"])
    file.write_text("rank: 8\n")
    assert load_settings(file, []).rank == 8


@pytest.mark.parametrize(
    ("content", "assignments", "says"),
    [
        ("train: {rnak: 8}", [], "rnak"),
        ("train: 3", [], "mapping"),
        ("- 1", [], "mapping"),
        ("train: {", [], "cannot be read"),
        ("train: {}", ["rank"], "KEY=VALUE"),
        ("train: {}", ["rank=many"], "rank"),
        ("train: {}", ["rank=65"], "rank 65 is above max_rank 64"),
    ],
)
def test_settings_that_cannot_be_used_are_named(
    tmp_path: Path, content: str, assignments: list[str], says: str
) -> None:
    file = tmp_path / "graftwork.yaml"
    file.write_text(content)
    with pytest.raises(InputError) as caught:
        load_settings(file, assignments)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("blocked", "code", "says"),
    [(False, NotFoundError.exit_code, "There is no dataset"), (True, UnavailableError.exit_code, "cannot be written")],
)
def test_an_error_is_the_last_line_and_the_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], blocked: bool, code: int, says: str
) -> None:
    registry = tmp_path / "registry"
    if blocked:
        registry.write_text("a file where a folder belongs")
    arguments = [str(tmp_path / "none.jsonl"), "--name", "a"]
    for key, value in (("registry", registry), ("storage_path", tmp_path / "runs"), ("models_dir", tmp_path / "m")):
        arguments += ["--set", f"{key}={value}"]
    assert main(arguments) == code
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["exit_code"] == code
    assert says in last["error"]
