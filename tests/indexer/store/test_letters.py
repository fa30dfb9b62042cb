from __future__ import annotations

from dataclasses import replace

from indexer.store.letters import DeadLetter
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
