from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from indexer.store.generation import verified_properties
from indexer.store.leases import LEASES
from indexer.store.letters import LETTERS
from indexer.store.milvus import MilvusStore
from indexer.store.schema import VERIFIED_PROPERTY
from indexer.store.side_table import SideTable
from indexer.types import Verification
from tests.indexer.store.test_lease import claim
from tests.indexer.store.test_letters import LETTER

CLAIM = claim()


@pytest.mark.parametrize(
    ("table", "key", "record"), [(LEASES, "a later claim", asdict(CLAIM)), (LETTERS, "a later letter", asdict(LETTER))]
)
def test_claims_and_letters_of_a_later_version_are_read(
    store: MilvusStore, table: SideTable, key: str, record: dict[str, object]
) -> None:
    body = json.dumps({**record, "of_a_later_version": 1})
    places = {name: {"collection": "later", "tenant": "t"}[name] for name in table.fields}
    store.write_side(table, [{table.key: key, **places, "body": body}])
    read = store.read_claims("later") if table is LEASES else store.read_letters("later", tenant="t")
    assert [asdict(found) for found in read] == [record]


def test_a_verification_of_a_later_version_is_read(store: MilvusStore) -> None:
    found = Verification(at="now", chunks=1, recall=None, sample=0)
    made = store.ensure_generation("later_verified", embedder="m@1", dimension=8)
    recorded = json.loads(verified_properties(found)[VERIFIED_PROPERTY])
    store.record(made.physical, {VERIFIED_PROPERTY: json.dumps({**recorded, "of_a_later_version": 1})})
    [again] = store.generations("later_verified")
    assert again.verified == found
