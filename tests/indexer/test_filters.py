from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from indexer.errors import InputError
from indexer.filters import MAX_CONDITIONS, MAX_DEPTH, And, Condition, joined, parse_filter

WHERE = {"field": "uri", "op": "starts with", "value": "file:///handbook/"}


def test_a_filter_is_read_from_json() -> None:
    found = parse_filter({"and": [WHERE, {"not": {"field": "page", "op": "in", "value": [1, 2]}}]})
    assert isinstance(found, And)
    assert found.model_dump(by_alias=True, mode="json")["and"][0] == WHERE
    assert parse_filter(found.model_dump(by_alias=True)) == found
    assert len({found, parse_filter(found.model_dump(by_alias=True))}) == 1


def test_the_filters_of_the_readme_are_some() -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text()
    lines = re.findall(r"^(?:newer|german) = (.+)$", text, re.MULTILINE)
    assert [type(parse_filter(ast.literal_eval(line))) for line in lines] == [Condition, Condition]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({**WHERE, "field": "tenant"}, "field: String should match"),
        ({**WHERE, "field": "metadata.a b"}, "field: String should match"),
        ({**WHERE, "field": 'metadata.x"]'}, "field: String should match"),
        ({**WHERE, "op": "like"}, "op: Input should be"),
        ({**WHERE, "op": "<"}, "uri has no '<'; it has ==, !=, in, not in, starts with"),
        ({**WHERE, "value": ["a"]}, "'starts with' takes one value"),
        ({**WHERE, "op": "in"}, "'in' takes a list"),
        ({**WHERE, "op": "in", "value": []}, "0 values; give 1 to 100"),
        ({**WHERE, "value": 3}, "uri is text"),
        ({**WHERE, "value": "a\nb"}, "no printable text"),
        ({**WHERE, "value": "a" * 1025}, "no printable text"),
        ({"field": "page", "op": "==", "value": "3"}, "page is a number"),
        ({"field": "page", "op": "==", "value": True}, "value"),
        ({"field": "page", "op": "==", "value": 2.5}, "value"),
        ({"field": "page", "op": ">", "value": 2**31}, "2147483648 is no number from -2147483647 to 2147483647"),
        ({"field": "page", "op": "in", "value": [1, -(10**4000)]}, "is no number from"),
        ({"field": "updated_at", "op": ">=", "value": "yesterday"}, "Invalid isoformat"),
        ({"field": "updated_at", "op": ">=", "value": "2026-01-31"}, "has no time zone"),
        ({"and": []}, "at least 1 item"),
        ({"and": [WHERE], "or": [WHERE]}, "Extra inputs"),
        ({"and": [WHERE] * (MAX_CONDITIONS + 1)}, f"65 conditions, 2 deep; give at most {MAX_CONDITIONS}"),
        ("tenant == 'a'", "dictionary"),
        (None, "dictionary"),
    ],
)
def test_what_is_none_is_refused_with_its_place(given: object, said: str) -> None:
    with pytest.raises(InputError, match="The filter is none: ") as caught:
        parse_filter(given)
    assert said in str(caught.value)


@pytest.mark.parametrize("depth", [MAX_DEPTH, 5_000])
def test_a_filter_that_nests_too_deep_is_refused(depth: int) -> None:
    given: object = WHERE
    for _ in range(depth):
        given = {"not": given}
    with pytest.raises(InputError, match="The filter is none"):
        parse_filter(given)


def test_filters_are_joined() -> None:
    one, other = parse_filter(WHERE), parse_filter({**WHERE, "field": "title"})
    assert joined(None, None) is None
    assert joined(None, one) is one
    both = joined(one, other)
    assert isinstance(both, And)
    assert all(isinstance(part, Condition) for part in both.parts)


@pytest.mark.parametrize(
    ("time", "milliseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2004-06-16T01:35:58.718+01:00", 1_087_346_158_718),
        ("1969-12-31T23:59:59.999Z", -1),
        ("0001-01-01T00:00:00+23:59", -62_135_683_140_000),
    ],
)
def test_times_are_whole_milliseconds(time: str, milliseconds: int) -> None:
    found = parse_filter({"field": "updated_at", "op": ">=", "value": time})
    assert isinstance(found, Condition)
    assert found.milliseconds == milliseconds
