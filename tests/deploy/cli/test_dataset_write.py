"""`graftwork dataset write`, as a user runs it, over a real collection and an endpoint without a model behind it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.embedding.embedder import Embedder
from indexer.embedding.files import EMBEDDED_NAME
from indexer.errors import ConflictError, InputError, NotFoundError, PartialError, UnavailableError
from indexer.store.milvus import MilvusStore
from tests.deploy.cli.test_main import COMMAND, environment, run, settings_file
from tests.home import wait_until
from tests.indexer.conftest import milvus_lite
from tests.indexer.making import chunk
from tests.stack import engine_cache
from tests.train.examples.making import SmallEndpoint, fact, lines, running_endpoint

DOCUMENTS = 8


@pytest.fixture(scope="module")
def milvus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A collection `harbour` of a few documents with two sections each, of tenant t."""
    with milvus_lite(tmp_path_factory.mktemp("milvus")) as uri:
        store, embedder = MilvusStore(uri), Embedder(EMBEDDED_NAME)
        made = store.ensure_generation("harbour", embedder=embedder.identity, dimension=embedder.dimension)
        texts = [(number, part, fact(number, part)) for number in range(DOCUMENTS) for part in (0, 1)]
        chunks = [
            chunk(
                text,
                document_id=f"docs/{number}.md",
                ordinal=part,
                title=f"Moorings {number}",
                heading_path=(f"Part {part}",),
                search_text=text,
                chunk_count=2,
            )
            for number, part, text in texts
        ]
        store.upsert(made.physical, chunks, embedder.encode_documents([text for *_, text in texts]), tenant="t")
        store.point_alias("harbour", made.physical)
        store.close()
        yield uri


@pytest.fixture
def endpoint() -> Iterator[SmallEndpoint]:
    with running_endpoint() as running:
        yield running


def write(tmp_path: Path, milvus: str, *arguments: str, **variables: str):  # type: ignore[no-untyped-def]
    config = settings_file(tmp_path, indexer={"milvus_uri": milvus}, deploy={"start_milvus": False})
    given = ("--out", str(tmp_path / "rows.jsonl"), "--model", "teacher", "--tenant", "t", *arguments)
    return run(tmp_path, "--config", config, "dataset", "write", "--collection", "harbour", *given, **variables)


def test_rows_are_written_checked_and_counted(tmp_path: Path, milvus: str, endpoint: SmallEndpoint) -> None:
    asked = ("--base-url", endpoint.url, "--api-key-env", "TEACHER_KEY", "--raft", "--eval-share", "0.3", "--json")
    done = write(tmp_path, milvus, *asked, TEACHER_KEY="sesame", GRAFTWORK_API_KEY="operator")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    rows = [*lines(tmp_path / "rows.jsonl"), *lines(tmp_path / "rows.eval.jsonl")]
    assert report["rows"] + report["eval_rows"] == len(rows) == 2 * DOCUMENTS
    assert report["kinds"].keys() <= {"golden", "absent"}
    assert report["costs"]["answer"]["prompt_tokens"] == 11 * 2 * DOCUMENTS
    assert set(endpoint.keys) == {"Bearer sesame"}
    system = rows[0]["messages"][0]["content"]  # type: ignore[index]
    assert "\n\n[1] Moorings " in system
    assert " > Part " in system
    checked = run(
        tmp_path,
        *("dataset", "check", str(tmp_path / "rows.jsonl"), "--eval", str(tmp_path / "rows.eval.jsonl"), "--json"),
    )
    assert json.loads(checked.stdout)["leaks"] == []
    assert json.loads(checked.stdout)["bad"] == []

    tries = endpoint.tries
    again = write(tmp_path, milvus, *asked[:-1], TEACHER_KEY="sesame")
    assert again.returncode == 0, again.stderr
    assert endpoint.tries == tries
    assert "answer: 0 answers, 0 tokens in and 0 out; 16 from the journal, 176 in and 112 out" in again.stdout
    assert "    16 points at its passage" in again.stdout


def test_a_failed_request_is_told_and_another_key_is_not_sent(
    tmp_path: Path, milvus: str, endpoint: SmallEndpoint
) -> None:
    endpoint.failures = iter([500])
    done = write(tmp_path, milvus, "--base-url", endpoint.url, "--retries", "0", GRAFTWORK_API_KEY="operator")
    assert done.returncode == PartialError.exit_code
    assert "1 requests gave no answer, the last: HTTP 500, Told to answer 500; run it again" in done.stderr
    assert set(endpoint.keys) == {"Bearer none"}
    assert "questions: 15 answers, 165 tokens in and 105 out, 1 failed; 0 from the journal" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (("--without-golden", "0.3"), InputError, "give --raft, too"),
        (("--passages-in", "user"), InputError, "give --raft, too"),
        (("--chunks", "0"), InputError, "--chunks is 0"),
        (("--fields", "[]"), InputError, "--fields '[]' is no object"),
        (("--api-key-env", "ABSENT_KEY"), InputError, "'ABSENT_KEY' of --api-key-env is not set"),
        (("--out", "/absent/rows.jsonl"), NotFoundError, "no folder /absent"),
        (("--collection", "absent"), NotFoundError, "absent"),
        (("--tenant", "nobody"), InputError, "has no chunk of this tenant"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_asked(
    tmp_path: Path,
    milvus: str,
    endpoint: SmallEndpoint,
    arguments: tuple[str, ...],
    error: type[InputError],
    said: str,
) -> None:
    done = write(tmp_path, milvus, "--base-url", endpoint.url, *arguments)
    assert done.returncode == error.exit_code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert endpoint.tries == 0


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ((), InputError, "Nothing is named that writes the rows; give --model, or --offline."),
        (("--model", "m", "--engines", "1"), InputError, "--engines is for engines of our own; give --offline, too."),
        (("--offline", "m", "--model", "m"), InputError, "--model is of an endpoint; leave out that or --offline."),
        (("--offline", "m", "--api-key-env", "KEY"), InputError, "--api-key-env is of an endpoint"),
        (("--offline", "m", "--engine", "{"), InputError, "--engine '{' is not JSON"),
        (("--offline", "m", "--engine", '{"dtpye": "float32"}'), InputError, "did you mean dtype?"),
        (("--offline", "m", "--fields", '{"max_completion_tokens": 9}'), InputError, "is no sampling parameter"),
        (("--offline", "/absent/model"), NotFoundError, "There is no base model folder /absent/model"),
    ],
)
def test_the_two_ways_are_told_apart_before_anything_starts(
    tmp_path: Path, arguments: tuple[str, ...], error: type[InputError], said: str
) -> None:
    given = ("--collection", "harbour", "--out", str(tmp_path / "rows.jsonl"), *arguments)
    done = run(tmp_path, "--config", settings_file(tmp_path), "dataset", "write", *given)
    assert done.returncode == error.exit_code, done.stderr
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_rows_of_others_are_not_replaced_and_no_instance_is_told(tmp_path: Path, milvus: str) -> None:
    nobody = write(tmp_path, milvus)
    assert nobody.returncode == UnavailableError.exit_code
    assert "graftwork up" in nobody.stderr
    (tmp_path / "rows.jsonl").write_text("mine\n")
    done = write(tmp_path, milvus, "--base-url", "http://127.0.0.1:9/v1")
    assert done.returncode == ConflictError.exit_code
    assert (tmp_path / "rows.jsonl").read_text() == "mine\n"


@pytest.mark.slow
@pytest.mark.long
def test_engines_write_rows_and_a_killed_run_is_gone_on_with(tmp_path: Path, milvus: str, tiny_base: Path) -> None:
    config = settings_file(
        tmp_path, indexer={"milvus_uri": milvus}, deploy={"start_milvus": False, "object_store_mib": 100}
    )
    # What a model of random weights would never say.
    choice = ["Was the hawser tarred in the autumn?", "Does the harbour master keep the ledger of the anchor chain?"]
    given = (
        *("--config", config, "dataset", "write", "--collection", "harbour", "--out", str(tmp_path / "rows.jsonl")),
        *("--tenant", "t", "--offline", str(tiny_base), "--concurrency", "4", "--max-tokens", "80"),
        *("--eval-share", "0"),
        *("--fields", json.dumps({"structured_outputs": {"choice": choice}})),
    )
    journal = tmp_path / "rows.jsonl.work"
    variables = {**environment(tmp_path), **engine_cache()}
    with subprocess.Popen([*COMMAND, *given], cwd="/", env=variables) as killed:
        wait_until(lambda: journal.exists() and b"\n" in journal.read_bytes(), what="an answer")
        killed.kill()
    begun = lines(journal)
    assert 1 <= len(begun) < 2 * DOCUMENTS

    done = subprocess.run(
        [*COMMAND, *given], cwd="/", env=variables, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    journal_lines = lines(journal)
    assert journal_lines[: len(begun)] == begun
    questions = [line for line in journal_lines if line["stage"] == "questions"]
    assert len(questions) == len({line["request"] for line in questions}) == 2 * DOCUMENTS
    told = [line for line in done.stdout.splitlines() if line.startswith("questions: ")]
    assert told[0].startswith(f"questions: {2 * DOCUMENTS - len(begun)} answers, ")
    assert f"; {len(begun)} from the journal, " in told[0]
    assert done.stdout.count(" s of engines on CPU\n") == 2
    assert not list((tmp_path / "home" / "run").glob("transient/*"))

    again = run(tmp_path, *given, "--json")
    costs = json.loads(again.stdout)["costs"]
    assert (costs["questions"]["requests"], costs["answer"]["requests"]) == (0, 0)
    assert costs["answer"]["engine_seconds"] == 0
    assert lines(journal) == journal_lines
