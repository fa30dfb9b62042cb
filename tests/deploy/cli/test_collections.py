"""Collections and documents on the command line, against a real milvus-lite; no Ray."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from indexer.errors import ConflictError, GraftworkError, InputError, NotFoundError
from indexer.store.generation import verified_properties
from indexer.store.holding import holding
from indexer.store.milvus import MilvusStore
from tests.indexer.conftest import free_port, start_milvus, wait_until_listening
from tests.indexer.making import chunk, unit_vectors
from tests.indexer.run.test_target import PASSED

Invoke = Callable[..., dict[str, object]]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusStore]:
    """Collection `handbook` with two complete generations of two tenants; the second is live."""
    port = free_port()
    process = start_milvus(tmp_path_factory.mktemp("milvus"), port)
    opened = MilvusStore(f"http://127.0.0.1:{port}")
    try:
        wait_until_listening(opened.uri, timeout_s=30)
        for number, chunker in ((1, "v1 200/30/20"), (2, "v1 100/30/20")):
            made = opened.ensure_generation("handbook", embedder="m@1", dimension=8, chunker=chunker, number=number)
            opened.record(made.physical, verified_properties(PASSED))
            for tenant, count in (("default", 3), ("red", 1)):
                cut = [chunk(f"text {n}", tenant=tenant, ordinal=n, chunk_count=count) for n in range(count)]
                opened.upsert(made.physical, cut, unit_vectors(count), tenant=tenant)
            opened.point_alias("handbook", made.physical)
        yield opened
    finally:
        opened.close()
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture
def text(store: MilvusStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.setenv("GRAFTWORK_INDEXER__MILVUS_URI", store.uri)
    monkeypatch.setenv("GRAFTWORK_DEPLOY__START_MILVUS", "false")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["--home", str(tmp_path / "home"), *arguments])
        if isinstance(result.exception, GraftworkError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout

    return run


@pytest.fixture
def invoke(text: Callable[..., str]) -> Invoke:
    def run(*arguments: str) -> dict[str, object]:
        found = json.loads(text(*arguments, "--json").splitlines()[-1])
        assert isinstance(found, dict)
        return found

    return run


def test_list_and_show(invoke: Invoke, text: Callable[..., str], store: MilvusStore) -> None:
    [entry] = invoke("collections", "list")["collections"]  # type: ignore[misc]
    assert (entry["collection"], entry["live"]) == ("handbook", 2)
    assert "handbook: generation 2, 4 chunks, 1 other generations" in text("collections", "list")
    with holding(store, "handbook", tenant="red"):
        shown = invoke("collections", "show", "handbook")
        assert "is writing tenant 'red' of collection 'handbook'" in text("collections", "show", "handbook")
    assert [(made["generation"], made["live"], made["chunks"]) for made in shown["generations"]] == [  # type: ignore[attr-defined]
        (1, False, 4),
        (2, True, 4),
    ]
    assert shown["generations"][1]["chunker"] == "v1 100/30/20"  # type: ignore[index]
    assert shown["writers"][0]["tenant"] == "red"  # type: ignore[index]
    with pytest.raises(NotFoundError, match="'absent' does not exist"):
        invoke("collections", "show", "absent")


def test_diff(invoke: Invoke, text: Callable[..., str]) -> None:
    found = invoke("collections", "diff", "handbook")
    assert (found["left"], found["right"], found["same"]) == (1, 2, 2)
    assert found["identity"] == ["chunker v1 100/30/20 instead of v1 200/30/20"]
    assert found["changed"] == {"count": 0, "first": []}
    assert invoke("collections", "diff", "handbook", "g2", "g1")["left"] == 2
    assert "same        2 documents" in text("collections", "diff", "handbook")
    with pytest.raises(NotFoundError, match="no generation 7; there are 1, 2"):
        invoke("collections", "diff", "handbook", "g7")
    with pytest.raises(InputError, match="'seven' is no generation"):
        invoke("collections", "diff", "handbook", "seven")


def test_documents_are_listed_shown_and_deleted_for_one_tenant(
    invoke: Invoke, text: Callable[..., str], store: MilvusStore
) -> None:
    listed = invoke("documents", "list", "handbook", "--prefix", "docs/")
    assert listed["documents"] == [
        {
            "document_id": "docs/a.md",
            "hashes": ["h1"],
            "rows": 3,
            "chunk_count": 3,
            "uri": "file:///docs/a.md",
            "title": "A title",
            "complete": True,
        }
    ]
    assert "docs/a.md  3 chunks  h1  file:///docs/a.md" in text("documents", "list", "handbook")
    shown = invoke("documents", "show", "handbook", "docs/a.md")
    assert [(piece["ordinal"], piece["start"], piece["end"]) for piece in shown["chunks"]] == [  # type: ignore[attr-defined]
        (0, 0, 6),
        (1, 0, 6),
        (2, 0, 6),
    ]
    assert '[1] One > Two "quoted"  (0 to 6)' in text("documents", "show", "handbook", "docs/a.md")
    for verb in ("show", "delete"):
        with pytest.raises(NotFoundError, match=r"'nobody' has no document 'docs/a.md'"):
            invoke("documents", verb, "handbook", "docs/a.md", "--tenant", "nobody")
    deleted = invoke("documents", "delete", "handbook", "docs/a.md", "docs/a.md", "--tenant", "red")
    assert (deleted["deleted"], deleted["chunks"]) == (["docs/a.md"], 1)
    assert store.count("handbook__g2", tenant="red") == 0
    assert store.count("handbook__g2", tenant="default") == 3


def test_rollback_and_prune(invoke: Invoke, text: Callable[..., str], store: MilvusStore) -> None:
    with holding(store, "handbook"), pytest.raises(ConflictError, match="Another writer has the lease"):
        invoke("collections", "rollback", "handbook")
    back = invoke("collections", "rollback", "handbook")
    assert (back["before"], back["live"]) == (2, 1)
    assert "2  rolled back" in text("collections", "show", "handbook")
    assert "readers see generation 2, before 1" in text("collections", "rollback", "handbook", "--to", "2")
    assert invoke("collections", "prune", "handbook")["dropped"] == []
    assert invoke("collections", "prune", "handbook", "--keep", "0")["dropped"] == [1]
    assert [made.number for made in store.generations("handbook")] == [2]
