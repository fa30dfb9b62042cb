from __future__ import annotations

import pytest

from indexer.errors import InputError, NotFoundError
from train.registry import AdapterRegistry, remove_specialist, write_specialist


def test_specialists_are_stored_replaced_and_removed(registry: AdapterRegistry) -> None:
    write_specialist("agronomy", b'{"name": "agronomy"}', registry=registry)
    first = registry.revision()
    write_specialist("agronomy", b'{"name": "agronomy", "base": "base"}', registry=registry)
    assert registry.read_specialists() == {"agronomy": b'{"name": "agronomy", "base": "base"}'}
    assert registry.revision() > first
    with pytest.raises(NotFoundError, match="known: agronomy"):
        remove_specialist("other", registry=registry)
    with pytest.raises(NotFoundError, match=r"'other'.*known: agronomy"):
        registry.read_specialist("other")
    remove_specialist("agronomy", registry=registry)
    assert registry.specialists() == ()
    assert registry.read_specialists() == {}


def test_a_specialist_removed_while_all_are_read_is_left_out(registry: AdapterRegistry) -> None:
    for name in ("one", "two"):
        write_specialist(name, b"{}", registry=registry)

    class Removing(AdapterRegistry):
        def read_specialist(self, name: str) -> bytes:
            if name == "one":
                remove_specialist(name, registry=self)
            return super().read_specialist(name)

    assert Removing(registry.root).read_specialists() == {"two": b"{}"}


@pytest.mark.parametrize(("name", "document"), [("../x", b"{}"), ("a", b"{"), ("a", b"[]")])
def test_a_bad_specialist_is_refused(registry: AdapterRegistry, name: str, document: bytes) -> None:
    with pytest.raises(InputError):
        write_specialist(name, document, registry=registry)
    assert registry.read_specialists() == {}


def test_a_lost_index_is_noticed_where_there_are_specialists_alone(registry: AdapterRegistry) -> None:
    write_specialist("one", b"{}", registry=registry)
    (registry.root / "index.json").unlink()
    with pytest.raises(InputError, match=r"no index\.json"):
        write_specialist("two", b"{}", registry=registry)
