from __future__ import annotations

import json
from dataclasses import replace

import pytest

from indexer.store import side_table
from indexer.store.letters import LETTERS, DeadLetter, letter_body
from indexer.store.milvus import MilvusStore

LETTER = DeadLetter(
    uri="file:///docs/a%20b.pdf", file="file:///docs/a%20b.pdf", source_id="docs/a b.pdf", stage="parse",
    reason="a \"quoted\" reason, in Größe", first="2026-01-01T00:00:00+00:00", last="2026-01-01T00:00:00+00:00",
    attempts=1,
)  # fmt: skip


def test_letters_are_read_replaced_and_deleted_for_one_tenant_of_one_collection(store: MilvusStore) -> None:
    assert store.read_letters("never", tenant="red") == []
    store.delete_letters("never", [LETTER.uri], tenant="red")
    others = [replace(LETTER, uri=f"file:///docs/{number}.pdf") for number in range(3)]
    store.write_letters("letters_a", [LETTER, *others], tenant="red")
    store.write_letters("letters_a", [LETTER], tenant="blue")
    store.write_letters("letters_b", [LETTER], tenant="red")
    again = replace(LETTER, attempts=2, reason="another")
    store.write_letters("letters_a", [again], tenant="red")
    assert store.read_letters("letters_a", tenant="red") == sorted([again, *others], key=lambda letter: letter.uri)
    store.delete_letters("letters_a", [LETTER.uri, others[0].uri, "file:///never"], tenant="red")
    assert store.read_letters("letters_a", tenant="red") == others[1:]
    assert store.read_letters("letters_a", tenant="blue") == [LETTER]
    assert store.read_letters("letters_b", tenant="red") == [LETTER]


def test_a_letter_of_the_greatest_length_is_kept(store: MilvusStore) -> None:
    uri = "file:///docs/" + "ü" * 1000
    longest = replace(LETTER, uri=uri, file=uri, source_id="docs/" + "ü" * 500, reason="ü" * 2000)
    store.write_letters("letters_long", [longest], tenant="red")
    assert store.read_letters("letters_long", tenant="red") == [longest]


def test_a_long_reason_gives_way_to_addresses_and_a_letter_without_room_costs_no_other(
    store: MilvusStore, caplog: pytest.LogCaptureFixture
) -> None:
    uri = "file:///docs/" + "%C3%BC" * 1000
    long = replace(LETTER, uri=uri, file=uri, source_id="docs/" + "\t" * 500, reason="ü\n" * 1000)
    body = letter_body(long)
    assert body is not None
    assert len(body.encode()) <= LETTERS.body_bytes
    kept = DeadLetter(**json.loads(body))
    assert (kept.uri, kept.file, kept.source_id) == (long.uri, long.file, long.source_id)
    assert len(kept.reason) > 500
    impossible = replace(LETTER, uri="file:///docs/" + "x" * LETTERS.body_bytes)
    assert letter_body(impossible) is None
    store.write_letters("letters_room", [long, impossible, LETTER], tenant="red")
    assert store.read_letters("letters_room", tenant="red") == [kept, LETTER]
    assert "no dead letter is kept of file:///docs/xxx" in caplog.text


def test_all_letters_are_kept_and_read_however_many_one_message_takes(
    store: MilvusStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(side_table, "MOST_ROWS", 100)
    monkeypatch.setattr(side_table, "_PAGE", 100)
    many = [replace(LETTER, uri=f"file:///docs/{number:04}.pdf") for number in range(450)]
    store.write_letters("letters_many", many, tenant="red")
    assert store.read_letters("letters_many", tenant="red") == many
