from __future__ import annotations

import json
from pathlib import Path
from typing import NoReturn

import pytest

from deploy.settings import load_settings as load_command_line_settings
from indexer.errors import InputError, NotFoundError, UnavailableError
from train.__main__ import load_settings, main
from train.types import TrainRequest


def test_a_section_and_single_settings_are_put_together(tmp_path: Path) -> None:
    file = tmp_path / "graftwork.yaml"
    file.write_text("serve: {port: 1}\ntrain:\n  rank: 8\n  workers: 1\n")
    settings = load_settings(file, ["rank=4", "target_modules=[q_proj, v_proj]", "max_steps=null"], environment={})
    assert (settings.rank, settings.workers, settings.target_modules) == (4, 1, ["q_proj", "v_proj"])
    file.write_text("rank: 8\n")
    assert load_settings(file, [], environment={}).rank == 8


def test_the_environment_wins_over_the_file_and_a_flag_over_both(tmp_path: Path) -> None:
    file = tmp_path / "graftwork.yaml"
    file.write_text("train: {rank: 8, workers: 3, epochs: 5}")
    environment = {"GRAFTWORK_TRAIN__RANK": "4", "GRAFTWORK_TRAIN__WORKERS": "1", "GRAFTWORK_INDEXER__EMBEDDER": "e"}
    settings = load_settings(file, ["rank=2"], environment=environment)
    assert (settings.rank, settings.workers, settings.epochs) == (2, 1, 5)


def test_folders_that_are_not_set_lie_below_the_home_of_the_environment() -> None:
    environment = {"GRAFTWORK_HOME": "/volume", "GRAFTWORK_TRAIN__REGISTRY": "/elsewhere"}
    settings = load_settings(None, [], environment=environment)
    assert settings.registry == Path("/elsewhere")
    assert (settings.models_dir, settings.storage_path) == (Path("/volume/models"), Path("/volume/runs"))


def test_a_variable_means_what_it_means_to_the_command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment = {
        "GRAFTWORK_HOME": str(tmp_path),
        "GRAFTWORK_TRAIN__TARGET_MODULES": '["q_proj", "v_proj"]',
        "GRAFTWORK_TRAIN__USE_RSLORA": "true",
        "GRAFTWORK_TRAIN__LEARNING_RATE": "1e-4",
        "GRAFTWORK_TRAIN__MAX_STEPS": "7",
        "GRAFTWORK_TRAIN__STORAGE_PATH": "/runs",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    assert load_settings(None, [], environment=environment) == load_command_line_settings().settings.train


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("RNAK", "8", "rnak '8', set by the environment, cannot be used"),
        ("RANK", "many", "rank 'many', set by the environment, cannot be used"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named_with_its_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(f"GRAFTWORK_TRAIN__{name}", value)
    assert main(["rows.jsonl", "--name", "a"]) == InputError.exit_code
    assert says in json.loads(capsys.readouterr().out)["error"]


@pytest.mark.parametrize(
    ("content", "assignments", "says"),
    [
        ("train: {rnak: 8}", [], "rnak"),
        ("train: 3", [], "mapping"),
        ("- 1", [], "mapping"),
        ("train: {", [], "cannot be read"),
        ("train: {}", ["rank"], "KEY=VALUE"),
        ("train: {}", ["rank=many"], "rank 'many', set by --set,"),
        ("train: {}", ["rank={"], "no YAML"),
        ("train: {}", ["rank=65"], "rank 65 is above max_rank 64"),
    ],
)
def test_settings_that_cannot_be_used_are_named(
    tmp_path: Path, content: str, assignments: list[str], says: str
) -> None:
    file = tmp_path / "graftwork.yaml"
    file.write_text(content)
    with pytest.raises(InputError) as caught:
        load_settings(file, assignments, environment={})
    assert says in str(caught.value)


@pytest.mark.parametrize(("more", "skipped"), [([], False), (["--skip-engine-check"], True)])
def test_the_engine_check_is_left_out_by_a_flag(
    monkeypatch: pytest.MonkeyPatch, more: list[str], skipped: bool
) -> None:
    def run(request: TrainRequest, **_: object) -> NoReturn:
        assert request.skip_engine_check is skipped
        raise InputError("heard")

    monkeypatch.setattr("train.__main__.run_training", run)
    assert main(["rows.jsonl", "--name", "a", *more]) == InputError.exit_code


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


def test_a_sweep_that_cannot_start_is_the_last_line_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows, places = tmp_path / "none.jsonl", ["--set", f"registry={tmp_path}/r", "--set", f"storage_path={tmp_path}/s"]
    assert main([str(rows), "--name", "a", "--sweep", str(tmp_path / "sweep.yaml")]) == NotFoundError.exit_code
    assert "There is no sweep file" in json.loads(capsys.readouterr().out)["error"]
    (tmp_path / "sweep.yaml").write_text("fields: {rank: [4, 65]}")
    assert main([str(rows), "--name", "a", "--sweep", str(tmp_path / "sweep.yaml"), *places]) == InputError.exit_code
    assert "The sweep's rank=65 cannot be used" in json.loads(capsys.readouterr().out)["error"]
    assert main([str(rows), "--name", "a", "--no-publish"]) == InputError.exit_code
    assert "--no-publish is for a sweep" in json.loads(capsys.readouterr().out)["error"]
