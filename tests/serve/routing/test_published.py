from __future__ import annotations

from serve.catalog import Catalog
from serve.routing.published import names_of
from serve.specialist import Specialist
from tests.serve.layers.conftest import manifest
from train.registry.index import AdapterEntry


def test_the_names_that_resident_adapters_answer_for() -> None:
    first, second = manifest("ropes", 1, 1), manifest("ropes", 2, 2)
    documents = [
        {"name": "plain"},
        {"name": "stable", "adapter": "ropes@stable"},
        {"name": "fixed", "adapter": "ropes@2"},
        {"name": "canary", "adapter": [{"ref": "ropes@2", "weight": 1}, {"ref": "ropes@1", "weight": 9}]},
    ]
    specialists = [Specialist.model_validate(document) for document in documents]
    catalog = Catalog(
        revision=1,
        base_name="base",
        specialists={specialist.name: specialist for specialist in specialists},
        adapters={"ropes@1": first, "ropes@2": second},
        entries={"ropes": AdapterEntry(versions=(1, 2), stable=1)},
    )
    models, plain = names_of(catalog, ["ropes@1"])
    assert models == {"ropes", "ropes@1", "ropes@stable", "stable", "canary"}
    assert plain == {"base", "plain"}
    assert names_of(catalog, [])[0] == frozenset()
