from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pymilvus import MilvusClient
from pymilvus.exceptions import MilvusException

from indexer.command import EXIT_CODES, INTERRUPTED, main, settings_from
from indexer.errors import GraftworkError, InputError
from indexer.store.milvus import MilvusStore
from tests.indexer.conftest import free_port

ROOT = Path(__file__).parents[2]
README = ROOT / "indexer" / "README.md"


def test_flags_come_before_the_environment() -> None:
    environment = {
        "GRAFTWORK_INDEXER__MILVUS_URI": "http://env:1", "GRAFTWORK_INDEXER__CHUNK_TOKENS": "100", "OTHER": "x"
    }  # fmt: skip
    settings = settings_from(environment, milvus_uri=None, embedder=None)
    assert (settings.milvus_uri, settings.chunk_tokens) == ("http://env:1", 100)
    assert settings_from(environment, milvus_uri="http://flag:2", embedder="m").milvus_uri == "http://flag:2"


@pytest.mark.parametrize(("name", "value"), [("CHUNK_TOKENS", "many"), ("NO_SUCH_KEY", "1"), ("EMBED_ACTORS", "0")])
def test_a_bad_setting_is_named(name: str, value: str) -> None:
    with pytest.raises(InputError, match=f"indexer.{name.lower()}"):
        settings_from({f"GRAFTWORK_INDEXER__{name}": value}, milvus_uri=None, embedder=None)


def test_help_and_readme_name_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown, readme = (" ".join(text.split()) for text in (capsys.readouterr().out, README.read_text()))
    assert EXIT_CODES in shown
    assert EXIT_CODES in readme
    # Other packages have errors of their own, which this command does not raise.
    ours = [each for each in GraftworkError.__subclasses__() if each.__module__ == GraftworkError.__module__]
    codes = {error.exit_code for error in (GraftworkError, *ours)} | {0, INTERRUPTED}
    assert {int(code) for code in re.findall(r"\d+", EXIT_CODES)} == codes


def test_a_password_in_the_uri_is_refused_and_not_repeated() -> None:
    with pytest.raises(InputError, match="put them into milvus_token") as caught:
        settings_from({}, milvus_uri="http://user:hidden@far:19530", embedder=None)
    assert "hidden" not in str(caught.value)


def test_errors_are_one_line_and_an_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "missing"), "--collection", "c"]) == 6
    assert main([str(tmp_path), "--collection", "c"]) == 2
    (tmp_path / "a.md").write_text("# A")
    assert main([str(tmp_path), "--collection", "c", "--milvus-uri", f"http://127.0.0.1:{free_port()}"]) == 4
    assert main([str(tmp_path), "--collection", "c", "--milvus-uri", "local.db"]) == 2
    assert main(["--collection", "c"]) == 2
    assert main([str(tmp_path), "--include", "*.txt", "--collection", "c"]) == 2
    assert main([str(tmp_path / "*.md"), "--exclude", "a.*", "--collection", "c"]) == 2
    assert main(["--from-list", str(tmp_path / "missing.txt"), "--collection", "c"]) == 6
    assert main(["s3://b?endpoint_override=127.0.0.1:9&scheme=http", "--collection", "c"]) == 4
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 9
    assert all(line.startswith("error: ") for line in lines)


@pytest.mark.slow
def test_the_job_prints_progress_and_a_json_summary_and_tells_of_failures(tmp_path: Path, milvus_uri: str) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "good.md").write_text("# Good\n\nWords.")
    (docs / "bad.pdf").write_bytes(b"%PDF-1.7 cut off")
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0",
        "GRAFTWORK_INDEXER__MILVUS_URI": milvus_uri, "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    environment.pop("RAY_ADDRESS", None)
    done = subprocess.run(
        [sys.executable, "-m", "indexer", str(docs), "--collection", "job"],
        capture_output=True, text=True, check=False, env=environment, cwd=tmp_path, timeout=170,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["documents"] == {"seen": 2, "new": 1, "changed": 0, "unchanged": 0, "deleted": 0, "failed": 1}
    assert (summary["collection"], summary["generation"]) == ("job", 1)
    assert "index: " in done.stderr
    assert "failed (parse): file://" in done.stderr
    assert "error: 1 of 2 documents failed" in done.stderr
    assert "Traceback" not in done.stderr


def test_retrying_refuses_sources_and_what_has_not_failed(
    milvus_uri: str, store: MilvusStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--collection", "retried", "--milvus-uri", milvus_uri, "--retry-failed"]
    for given in ([str(tmp_path)], ["--from-list", "list.txt"], ["--include", "*.md"], ["--exclude", "*.md"]):
        assert main([*given, *where]) == 2
    assert main(where) == 6
    assert "Collection 'retried' does not exist" in capsys.readouterr().err
    assert store.generations("retried") == ()
    store.point_alias("retried", store.ensure_generation("retried", embedder="m@1", dimension=8).physical)
    assert main(where) == 6
    assert "No document of tenant 'default' in 'retried' has failed" in capsys.readouterr().err


def test_an_error_of_milvus_itself_is_one_line_too(
    milvus_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(client: MilvusClient, *arguments: object, **options: object) -> None:
        raise MilvusException(65535, "node not match\na trace")

    monkeypatch.setattr(MilvusClient, "has_collection", refuse)
    assert main(["--collection", "c", "--milvus-uri", milvus_uri, "--retry-failed"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: Milvus at {milvus_uri} refuses what is asked of it (find graftwork_dead_letters: ")


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_what_failed_is_tried_again_by_the_command(
    tmp_path: Path, milvus_uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "good.md").write_text("# Good\n\nWords.")
    (docs / "bad.jsonl").write_text('{"id": "1", "text": ""}\n')
    where = ["--collection", "tried_again", "--milvus-uri", milvus_uri]
    assert main([str(docs), *where]) == 3
    capsys.readouterr()
    (docs / "good.md").write_text("# Good\n\nOther words, which a retry does not read.")
    assert main([*where, "--retry-failed"]) == 3
    (docs / "bad.jsonl").write_text('{"id": "1", "text": "Mended."}\n')
    capsys.readouterr()
    assert main([*where, "--retry-failed"]) == 0
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert summary["documents"] == {"seen": 1, "new": 1, "changed": 0, "unchanged": 0, "deleted": 0, "failed": 0}
    assert summary["dead_letters"] == 0
    assert main([*where, "--retry-failed"]) == 6


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_questions_let_readers_into_a_build_or_not(
    tmp_path: Path, milvus_uri: str, store: MilvusStore, capsys: pytest.CaptureFixture[str]
) -> None:
    docs, questions = tmp_path / "docs", tmp_path / "questions.jsonl"
    docs.mkdir()
    (docs / "pump.md").write_text("# Pump\n\nThe pump needs oil.")
    asked = [str(docs), "--collection", "asked", "--milvus-uri", milvus_uri, "--questions", str(questions)]
    questions.write_text('{"question": "What needs oil?", "gold": ["docs/absent.md"]}\n')
    assert main(asked) == 5
    assert "0.000 of 1 golden questions find what they name" in capsys.readouterr().err
    assert store.resolve("asked") is None
    questions.write_text('{"question": "What needs oil?", "gold": [{"document": "docs/pump.md", "heading": "Pump"}]}\n')
    assert main(asked) == 0
    verification = json.loads(capsys.readouterr().out.splitlines()[-1])["built"]["verification"]
    assert (verification["hits"], verification["questions"]) == (1.0, 1)
    assert store.resolve("asked") == "asked__g1"
