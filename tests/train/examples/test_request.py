"""What can be refused is refused before anything is asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from indexer.errors import ConflictError, InputError, NotFoundError
from tests.train.examples.making import request
from train.base_model import BaseModelFiles
from train.examples.request import Endpoint, Offline, Raft, check_request, parse_fields

ENDPOINT = Endpoint(url="https://host/v1", model="m", api_key="secret")
BASE = BaseModelFiles(name="m", path=Path("/m"), fingerprint="sha256:1", chat_template_hash="sha256:2")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"chunks": 0}, "--chunks is 0"),
        ({"questions_per_chunk": 21}, "--questions-per-chunk is 21"),
        ({"passages": 0}, "--passages is 0"),
        ({"grounded": 1.2}, "--grounded is 1.2"),
        ({"grounded": float("nan")}, "--grounded is nan"),
        ({"eval_share": 1.0}, "--eval-share is 1"),
        ({"closed_book": 0.0}, "--closed-book-f1 is 0"),
        ({"raft": Raft(-0.1)}, "--without-golden is -0.1"),
        ({"raft": Raft(), "passages": 1}, "--passages 2 or more"),
        ({"max_tokens": 0}, "--max-tokens is 0"),
    ],
)
def test_values_out_of_range(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    check_request(request(tmp_path), ENDPOINT)
    with pytest.raises(InputError, match=said):
        check_request(request(tmp_path, **changes), ENDPOINT)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"url": "host/v1"}, "--base-url is 'host/v1'"),
        ({"url": "http:///v1"}, "--base-url"),
        ({"url": "http://host:port/v1"}, "--base-url"),
        ({"model": " "}, "--model is blank"),
        ({"concurrency": 0}, "--concurrency is 0"),
        ({"retries": -1}, "--retries is -1"),
        ({"timeout_s": 0}, "--timeout is 0"),
        ({"give_up_after": 0}, "--give-up-after is 0"),
        ({"fields": {"messages": []}}, "--fields sets 'messages'"),
    ],
)
def test_endpoints_that_are_none(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        check_request(request(tmp_path), replace(ENDPOINT, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"engines": 0}, "--engines is 0"),
        ({"concurrency": 2000}, "--concurrency is 2000"),
        ({"give_up_after": 0}, "--give-up-after is 0"),
        ({"fields": {"n": 2}}, "--fields sets 'n'"),
        ({"fields": {"max_tokens": None}}, "max_tokens to None, and an engine needs a number; give --max-tokens"),
        ({"fields": {"max_tokens": "many"}}, "max_tokens to 'many', and an engine needs a number"),
        ({"engine": {"max_num_seqs": 8}}, "--engine sets 'max_num_seqs', which is set by --concurrency"),
        ({"base": replace(BASE, chat_template_hash=None)}, "m has no chat template; name an instruct model"),
    ],
)
def test_engines_that_cannot_be(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    offline = Offline(BASE, accelerator="cpu", engine={"dtype": "float32"}, fields={"seed": 1})
    check_request(request(tmp_path), offline)
    with pytest.raises(InputError, match=said):
        check_request(request(tmp_path), replace(offline, **changes))  # type: ignore[arg-type]


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        check_request(request(tmp_path, out=tmp_path), ENDPOINT)
    with pytest.raises(NotFoundError, match="no folder"):
        check_request(request(tmp_path, out=tmp_path / "absent" / "rows.jsonl"), ENDPOINT)
    asked = request(tmp_path)
    assert (asked.eval_out.name, asked.journal.name) == ("rows.eval.jsonl", "rows.jsonl.work")
    asked.eval_out.write_text("")
    with pytest.raises(ConflictError, match="exists, and not from a run"):
        check_request(asked, ENDPOINT)
    asked.journal.write_text("")
    check_request(asked, ENDPOINT)
    with pytest.raises(ConflictError, match="would be learned now"):
        check_request(request(tmp_path, eval_share=0.0), ENDPOINT)


@pytest.mark.parametrize("text", ["{", "[]", "1", '"a"'])
def test_fields_that_are_no_object(text: str) -> None:
    assert parse_fields('{"seed": 1}') == {"seed": 1}
    with pytest.raises(InputError, match="--fields"):
        parse_fields(text)


def test_a_key_is_not_shown() -> None:
    assert "secret" not in repr(ENDPOINT)
