from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexer.errors import InputError
from train.registry.names import NAME_PATTERN, AdapterRef, check_name, parse_ref

NAMES = st.from_regex(NAME_PATTERN, fullmatch=True)


@given(NAMES, st.one_of(st.none(), st.integers(1, 999_999_999)))
def test_a_reference_reads_back_as_written(name: str, version: int | None) -> None:
    ref = AdapterRef(name, version)
    assert parse_ref(str(ref)) == ref


@given(NAMES)
def test_a_bare_name_means_stable(name: str) -> None:
    assert parse_ref(name) == AdapterRef(name, None)


@given(st.text())
def test_an_accepted_name_is_one_plain_path_component(text: str) -> None:
    with contextlib.suppress(InputError):
        name = check_name(text)
        assert name.isascii()
        assert not set(name) & set("/\\\n\0@ ")
        assert name not in {".", ".."}
        assert len(name) <= 63


@pytest.mark.parametrize("name", ["", "../a", "a/b", "A", ".hidden", "-x", "a\n", "a" * 64, "ä"])
def test_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(InputError):
        check_name(name)


@pytest.mark.parametrize("ref", ["a@", "a@0", "a@-1", "a@latest", "a@1.5", "a@1@2", "@1", "a@01", "a@٣"])
def test_a_bad_reference_is_refused(ref: str) -> None:
    with pytest.raises(InputError):
        parse_ref(ref)
