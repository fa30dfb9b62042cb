from __future__ import annotations

import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pymilvus.exceptions import MilvusException

from deploy.cli import main
from deploy.local.ray_environment import python_path
from tests.home import HEARING

COMMAND = [sys.executable, "-m", "deploy.cli.main"]
VERBS = ("up", "down", "status", "logs", "doctor", "settings", "index", "search", "train", "ask", "chat", "demo")
# Importing any of these costs from a tenth of a second to many.
HEAVY = ("ray", "torch", "vllm", "pymilvus", "openai", "pydantic", "httpx", "transformers", "numpy")


def environment(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GRAFTWORK_", "RAY_"))}
    return {**kept, "HOME": str(tmp_path), "PYTHONPATH": python_path(""), "COLUMNS": "200"}


def run(tmp_path: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd="/",
        env={**environment(tmp_path), **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def settings_file(tmp_path: Path, **sections: object) -> str:
    path = tmp_path / "graftwork.yaml"
    path.write_text(json.dumps({"home": str(tmp_path / "home"), **sections}))
    return str(path)


def test_help_is_quick_and_names_every_verb(tmp_path: Path) -> None:
    seconds: list[float] = []
    for _ in range(5):
        begun = time.perf_counter()
        done = run(tmp_path, "--help")
        seconds.append(time.perf_counter() - begun)
    assert done.returncode == 0
    assert [
        verb
        for verb in (*VERBS, "adapters", "specialists", "collections", "documents", "runs", "keys", "bench")
        if f"\n  {verb} " not in done.stdout
    ] == []
    assert min(seconds) < 0.5


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    code = f"import sys, deploy.cli.main; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(tmp_path), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "verb",
    [
        *VERBS,
        "adapters show",
        "adapters import",
        "adapters export",
        "adapters merge",
        "specialists apply",
        *(f"collections {verb}" for verb in ("list", "show", "diff", "rollback", "prune", "evaluate")),
        *(f"documents {verb}" for verb in ("list", "show", "delete")),
        *(f"runs {verb}" for verb in ("list", "show", "compare")),
        *(f"keys {verb}" for verb in ("create", "list", "revoke")),
        "bench index",
    ],
)
def test_every_verb_has_help(tmp_path: Path, verb: str) -> None:
    done = run(tmp_path, *verb.split(), "--help")
    assert done.returncode == 0
    assert "Usage:" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["adapters", "show", "absent@3"], 6, "There is no adapter 'absent'"),
        (["adapters", "import", "/absent", "--name", "a"], 6, "There is no adapter folder /absent"),
        (["adapters", "merge", "absent@3", "--into", "/tmp/graftwork-merged"], 6, "There is no adapter 'absent'"),
        (["adapters", "merge", "absent@3", "--into", "/absent/merged"], 6, "There is no folder /absent"),
        (["adapters", "merge", "absent@3", "--into", "/tmp"], 5, "/tmp is not an empty folder"),
        (["specialists", "apply", "/absent.json"], 6, "/absent.json cannot be read"),
        (["specialists", "remove", "absent"], 6, "There is no specialist 'absent'"),
        (["ask", "Why?", "--specialist", "s"], 4, "start it with `graftwork up`"),
        (
            ["ask", "Why?", "--specialist", "s", "--url", "http://127.0.0.1:9/v1"],
            4,
            "http://127.0.0.1:9/v1 cannot be reached",
        ),
        (["index", "/absent", "--collection", "c"], 6, "/absent"),
        (["collections", "diff", "c", "seven"], 2, "'seven' is no generation"),
        (["index", "--collection", "c"], 2, "No path to index"),
        (
            ["index", "--collection", "c", "--watch", "--retry-failed"],
            2,
            "--retry-failed and --watch do not go together",
        ),
        (["index", "/tmp", "--collection", "c", "--retry-failed"], 2, "takes no sources"),
        (["index", "--from-list", "/absent.txt", "--collection", "c"], 6, "The list /absent.txt does not exist"),
        (["index", "/tmp", "--exclude", "", "--collection", "c"], 2, "'' matches nothing"),
        (["index", "s3://user:hidden@b/docs", "--collection", "c"], 2, "credentials belong into the environment"),
        (
            ["index", "s3://b/docs?endpoint_override=127.0.0.1:9&scheme=http", "--collection", "c"],
            4,
            "s3://b?endpoint_override=127.0.0.1:9&scheme=http cannot be used",
        ),
        (["train", "/absent.jsonl", "--name", "a"], 6, "/absent.jsonl"),
        (["train", "/absent.jsonl", "--name", "../a"], 2, "'../a'"),
        (["logs", "nothing"], 2, "There is no component 'nothing'"),
        (["logs", "milvus", "-f", "--json"], 2, "--follow never ends and --json is one object"),
        (["--config", "/absent.yaml", "settings"], 6, "/absent.yaml named by --config does not exist"),
    ],
)
def test_an_error_is_one_line_and_its_code(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    done = run(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr
    assert done.stderr.startswith("graftwork: ")
    assert done.stderr.count("\n") == 1


def test_an_error_of_milvus_itself_is_one_line_and_its_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(**_: object) -> None:
        raise MilvusException(65535, "node not match\na trace")

    monkeypatch.setattr(main, "app", refuse)
    assert main._run() == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("graftwork: Milvus refuses what is asked of it")
    assert "node not match, code 65535" in line


@pytest.mark.parametrize(
    "arguments", [["bogus"], ["search"], ["up", "--bogus"], ["search", "q", "--collection", "c", "-k", "0"]]
)
def test_wrong_usage_is_two(tmp_path: Path, arguments: list[str]) -> None:
    done = run(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Error" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["up"], "The lock of the instance cannot be written at"),
        (["down"], "The lock of the instance cannot be written at"),
        (["demo", "--quick"], "The lock of the demo cannot be written at"),
        (["search", "q", "--collection", "c"], "Ray's token cannot be written at"),
        (["doctor", "--json"], "The embedded base model cannot be written at"),
        (["status"], "The system refuses"),
    ],
)
def test_a_home_that_cannot_be_used_is_one_line_with_path_and_cause(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    (tmp_path / "file").write_text("a file where a folder belongs")
    home = tmp_path / "file" / "home"
    done = run(tmp_path, "--home", str(home), *arguments)
    assert done.returncode == 4, done.stderr
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
    assert str(home) in done.stderr
    assert "Not a directory; " in done.stderr


def test_a_dry_run_for_a_home_that_cannot_be_used_still_has_a_plan(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file where a folder belongs")
    done = run(tmp_path, "--home", str(tmp_path / "file" / "home"), "up", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["base_model"] == "smollm2-135m-instruct"


def test_output_that_fits_on_no_disk_is_one_line_and_its_code(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        command = [*COMMAND, "settings", "--json"]
        done = subprocess.run(
            command, cwd="/", env=environment(tmp_path), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 4
    assert done.stderr.startswith("graftwork: The system refuses what is asked of it: No space left on device")
    assert done.stderr.count("\n") == 1


def test_a_settings_mistake_names_key_and_variable(tmp_path: Path) -> None:
    done = run(tmp_path, "status", GRAFTWORK_SERVE__PROT="1")
    assert done.returncode == 2
    assert "serve.prot is no setting (GRAFTWORK_SERVE__PROT); did you mean serve.port?" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["settings"], ["status"], ["down"], ["logs"], ["adapters", "list"], ["specialists", "list"]],
    ids=" ".join,
)
def test_json_is_one_object_and_nothing_else(tmp_path: Path, arguments: list[str]) -> None:
    done = run(tmp_path, "--home", str(tmp_path / "home"), *arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert isinstance(json.loads(done.stdout), dict)


def test_settings_say_where_values_come_from(tmp_path: Path) -> None:
    config = settings_file(tmp_path, serve={"port": 8123})
    done = run(tmp_path, "--config", config, "settings", "--json", GRAFTWORK_TRAIN__RANK="8")
    found = json.loads(done.stdout)
    assert found["file"] == config
    assert found["settings"]["serve.port"] == {"value": 8123, "origin": f"{config}:1"}
    assert found["settings"]["train.rank"] == {"value": 8, "origin": "GRAFTWORK_TRAIN__RANK"}
    assert "8123" in run(tmp_path, "--config", config, "settings").stdout


def test_nothing_that_only_looks_makes_a_home(tmp_path: Path) -> None:
    for verb in ("status", "settings", "logs"):
        assert run(tmp_path, verb).returncode == 0
    assert not (tmp_path / ".graftwork").exists()


def test_status_of_nothing_is_down_with_versions(tmp_path: Path) -> None:
    found = json.loads(run(tmp_path, "status", "--json").stdout)
    assert (found["health"], found["processes"]) == ("down", [])
    assert found["versions"]["ray"]
    assert found["versions"]["python"] == platform.python_version()


def test_a_taken_port_refuses_the_start_and_leaves_nothing(tmp_path: Path, tiny_base: Path) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        config = settings_file(
            tmp_path,
            serve={"port": port},
            train={"base_model": str(tiny_base)},
            deploy={"ports": {"dashboard": 0}, "start_milvus": False, "min_free_memory_mib": 0},
        )
        done = run(tmp_path, "--config", config, "up")
        assert done.returncode == 5
        assert f"Taken: port {port} (serve.port) by pid {os.getpid()} " in done.stderr
        doctor = run(tmp_path, "--config", config, "doctor", "--json")
        assert doctor.returncode == 5
        [ports] = [check for check in json.loads(doctor.stdout)["checks"] if check["name"] == "ports"]
        assert ports["status"] == "failed"
    assert not (tmp_path / "home" / "run" / "state.json").exists()


def test_too_little_memory_refuses_the_start(tmp_path: Path, tiny_base: Path) -> None:
    config = settings_file(
        tmp_path,
        train={"base_model": str(tiny_base)},
        deploy={"min_free_memory_mib": 10**9, "ports": {"dashboard": 0}},
    )
    done = run(tmp_path, "--config", config, "up")
    assert done.returncode == 4
    assert "MiB of memory are free and about 1000000000 MiB are needed" in done.stderr


def test_a_dry_run_prints_what_it_would_ask_for(tmp_path: Path, tiny_base: Path) -> None:
    config = settings_file(tmp_path, train={"base_model": str(tiny_base)}, serve={"engine": {"max_model_len": 99}})
    found = json.loads(run(tmp_path, "--config", config, "up", "--dry-run", "--json").stdout)
    assert found["replicas"] == {"engine": 1, "retriever": 1}
    assert found["engine"]["max_model_len"] == 99
    assert found["engine"]["max_lora_rank"] == 16
    assert found["memory_mib"] > 1000
    assert "max_model_len = 99" in run(tmp_path, "--config", config, "up", "--dry-run").stdout


def test_ctrl_c_is_130(tmp_path: Path) -> None:
    (tmp_path / ".graftwork" / "run").mkdir(parents=True)
    (tmp_path / ".graftwork" / "run" / "milvus.log").write_text("line\n")
    process = subprocess.Popen(
        [*HEARING, *COMMAND, "logs", "milvus", "-f"],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    assert process.stdout.readline() == "line\n"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in stderr
