from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from indexer.errors import GraftworkError, InputError, NotFoundError
from tests.train.conftest import write_adapter, write_checkpoint
from train.base_model import describe_base
from train.registry import AdapterRegistry, Provenance, publish_adapter


@pytest.fixture
def invoke(tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.setenv("GRAFTWORK_TRAIN__BASE_MODEL", str(tiny_base))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> dict[str, object]:
        result = CliRunner().invoke(app, ["--home", str(tmp_path / "home"), "specialists", *arguments, "--json"])
        if result.exception is not None and isinstance(result.exception, GraftworkError):
            raise result.exception
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)
        assert isinstance(found, dict)
        return found

    return run


def write(tmp_path: Path, **document: object) -> str:
    path = tmp_path / "specialist.json"
    path.write_text(json.dumps(document))
    return str(path)


def test_apply_list_and_remove(invoke, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = write(tmp_path, name="quay", prompt="You keep the quay.")
    assert invoke("apply", path, "--dry-run")["action"] == "created"
    assert invoke("list")["specialists"] == []
    first = invoke("apply", path)
    assert first["action"] == "created"
    again = invoke("apply", path)
    assert (again["action"], again["revision"]) == ("unchanged", first["revision"])
    changed = invoke("apply", write(tmp_path, name="quay", prompt="Other."))
    assert changed["action"] == "replaced"
    assert [entry["prompt"] for entry in invoke("list")["specialists"]] == ["Other."]
    assert invoke("remove", "quay")["action"] == "removed"
    assert AdapterRegistry(tmp_path / "home" / "registry").read_specialists() == {}


@pytest.mark.parametrize(
    ("document", "error", "words"),
    [
        ({"name": "Quay"}, InputError, "name"),
        ({"name": "quay", "pormpt": "x"}, InputError, "pormpt"),
        ({"name": "quay", "base": "other"}, InputError, "'other', but 'base' is served"),
        ({"name": "base"}, InputError, "name of the base model"),
        ({"name": "quay", "adapter": "ropes@1"}, NotFoundError, "'ropes'"),
        ({"name": "quay", "retrieval": {"rerank": {"by": "model"}}}, InputError, "indexer.reranker names none"),
    ],
)
def test_what_cannot_be_served_is_refused(
    invoke,  # type: ignore[no-untyped-def]
    tmp_path: Path,
    document: dict[str, object],
    error: type[GraftworkError],
    words: str,
) -> None:
    with pytest.raises(error, match=words):
        invoke("apply", write(tmp_path, **document))
    assert AdapterRegistry(tmp_path / "home" / "registry").read_specialists() == {}


def test_an_unverified_adapter_is_refused_unless_it_is_allowed(
    invoke,  # type: ignore[no-untyped-def]
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_checkpoint(tmp_path / "base")
    monkeypatch.setenv("GRAFTWORK_TRAIN__BASE_MODEL", str(tmp_path / "base"))
    publish_adapter(
        write_adapter(tmp_path / "adapter"),
        registry=AdapterRegistry(tmp_path / "home" / "registry"),
        name="ropes",
        base=describe_base(tmp_path / "base", name="base"),
        provenance=Provenance(unverified=True),
    )
    document = write(tmp_path, name="quay", adapter="ropes@1")
    with pytest.raises(InputError, match="ropes@1 is unverified"):
        invoke("apply", document)
    monkeypatch.setenv("GRAFTWORK_SERVE__ALLOW_UNVERIFIED", "true")
    assert invoke("apply", document)["action"] == "created"


def test_an_unknown_collection_is_refused(invoke, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(NotFoundError, match="harbour"):
        invoke("apply", write(tmp_path, name="quay", collection="harbour"))
