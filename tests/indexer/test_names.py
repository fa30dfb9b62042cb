from __future__ import annotations

import pytest

from indexer.errors import InputError
from indexer.names import check_alias, physical_name, split_physical


def test_physical_names_come_apart_again() -> None:
    assert split_physical(physical_name("hand__book", 12)) == ("hand__book", 12)
    assert split_physical("handbook") is None
    assert split_physical("handbook__g0") is None


@pytest.mark.parametrize("name", ["handbook", "_x", "A1", "a" * 200])
def test_good_names(name: str) -> None:
    assert check_alias(name) == name


@pytest.mark.parametrize("name", ["", "1a", "a-b", "a b", "é", "a" * 201, "a\n", "handbook__g1"])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="Collection name"):
        check_alias(name)
