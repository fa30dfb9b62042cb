from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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
    codes = {error.exit_code for error in (GraftworkError, *GraftworkError.__subclasses__())} | {0, INTERRUPTED}
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
