from __future__ import annotations

import json
import traceback

import pytest

from indexer.errors import InputError
from serve.keys.document import KeyLimits, document_of, parse_keys, write_keys
from serve.keys.secret import new_token
from tests.serve.keys.conftest import NOW, made

ENTRY = {"id": "abc", "tenant": "farm", "sha256": "0" * 64, "created_at": "2026-11-24T12:00:00Z"}


def document(*entries: dict[str, object], **fields: object) -> bytes:
    return json.dumps({"apiVersion": "graftwork.dev/v1", "keys": entries, **fields}).encode()


def test_what_is_written_is_read_back() -> None:
    _, plain = made()
    _, full = made(
        expires_at=NOW,
        note="for the barn",
        models=("agronomy", "ropes@3", "org/base"),
        collections=(),
        limits=KeyLimits(requests_per_minute=1, tokens_per_minute=2, streams=3),
    )
    written = document_of(plain, full)
    assert parse_keys(write_keys(written), source="x") == written


def test_what_is_left_out_is_no_restriction() -> None:
    (entry,) = parse_keys(document(ENTRY), source="x").keys
    assert (entry.models, entry.collections, entry.expires_at, entry.limits) == (None, None, None, KeyLimits())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tenant": ""}, r"keys\.0\.tenant: Tenant '' cannot be used"),
        ({"tenant": "é" * 65}, "1 to 128 bytes"),
        ({"tenant": "a\nb"}, "printable"),
        ({"id": "ABC"}, r"keys\.0\.id"),
        ({"id": ""}, r"keys\.0\.id"),
        ({"sha256": "0" * 63}, r"keys\.0\.sha256"),
        ({"sha256": "A" * 64}, r"keys\.0\.sha256"),
        ({"created_at": "2026-11-24T12:00:00"}, r"keys\.0\.created_at"),
        ({"expires_at": 1795521600}, r"keys\.0\.expires_at"),
        ({"expires_at": "2026-11-24T12:00:00"}, r"keys\.0\.expires_at: .*timezone"),
        ({"models": []}, r"keys\.0\.models"),
        ({"models": "agronomy"}, r"keys\.0\.models"),
        ({"models": ["a b"]}, r"keys\.0\.models\.0"),
        ({"collections": ["a-b"]}, r"keys\.0\.collections\.0: Collection name 'a-b' cannot be used"),
        ({"collections": ["handbook__g3"]}, "physical collection"),
        ({"limits": {"streams": 0}}, r"keys\.0\.limits\.streams"),
        ({"limits": {"streams": "3"}}, r"keys\.0\.limits\.streams"),
        ({"limits": {"stream": 3}}, r"keys\.0\.limits\.stream: "),
        ({"note": "a\x1b[2J"}, r"keys\.0\.note: a line of printable text"),
        ({"modles": ["a"]}, r"keys\.0\.modles"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_its_place(fields: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=rf"^The file holds no keys that can be used: .*{words}"):
        parse_keys(document({**ENTRY, **fields}), source="The file")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "Invalid JSON"),
        (b"{", "Invalid JSON"),
        (b"\xff\xfe", "Invalid JSON"),
        (b"[" * 10_000, "Invalid JSON"),
        (b"{}", "apiVersion"),
        (b'{"keys": []}', "apiVersion: Field required"),
        (b'{"apiVersion": "graftwork.dev/v2", "keys": []}', "apiVersion: Input should be 'graftwork.dev/v1'"),
        (b'{"apiVersion": "graftwork.dev/v1"}', "keys: Field required"),
        (document(ENTRY, {**ENTRY, "tenant": "other"}), "two keys have the id 'abc'"),
        (document(ENTRY, more=1), "more"),
    ],
)
def test_a_document_of_another_form_is_refused(text: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_keys(text, source="The file")


def test_no_error_repeats_a_secret_wherever_somebody_put_it() -> None:
    token = new_token()
    places: list[dict[str, object]] = [
        {field: value} for field in (*ENTRY, "note", "limits") for value in (token.text + "\n", [token.secret])
    ]
    places += [
        {token.text: 1},
        {"limits": {token.secret: 1}},
        {"collections": [token.text]},
        {"models": [f"-{token.text}"]},
    ]
    for place in places:
        with pytest.raises(InputError) as caught:
            parse_keys(document({**ENTRY, **place}), source="The file")
        assert token.secret not in "".join(traceback.format_exception(caught.value)), place
    with pytest.raises(InputError) as caught:
        parse_keys(token.text.encode(), source="The file")
    assert token.secret not in "".join(traceback.format_exception(caught.value))
