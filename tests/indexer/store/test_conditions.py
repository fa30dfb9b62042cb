"""Filters on a real milvus-lite, against what they mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexer.filters import And, Condition, Filter, Not, Op, Or, parse_filter
from indexer.store.conditions import expression, tenant_and_filter
from indexer.store.milvus import MilvusStore
from indexer.types import Chunk
from tests.indexer.making import chunk, unit_vectors

OURS, THEIRS = "ours", "theirs"
# Whatever might end a literal, a list or an expression early.
TEXTS = [
    "",
    "a",
    "ab",
    "b%",
    "_",
    'x" or tenant != "',
    "\\",
    'y\\"',
    "é",
    "\U0001f600",
    "a'b",
    "1",
    "or",
    "$meta",
    "{x}",
]
HEADINGS = [("One",), ("One", 'Two "x"'), (), ("é",)]
COMPARED: dict[Op, Callable[[str | int, str | int], bool]] = {
    "==": lambda one, other: one == other,
    "!=": lambda one, other: one != other,
    "<": lambda one, other: one < other,  # type: ignore[operator]
    "<=": lambda one, other: one <= other,  # type: ignore[operator]
    ">": lambda one, other: one > other,  # type: ignore[operator]
    ">=": lambda one, other: one >= other,  # type: ignore[operator]
}


def documents(tenant: str) -> list[Chunk]:
    return [
        chunk(
            f"text {number}",
            tenant=tenant,
            document_id=f"{number}-{text}",
            title=text or "untitled",
            uri=f"file:///{text}",
            page=None if number % 3 == 0 else number % 4 + 1,
            heading_path=HEADINGS[number % len(HEADINGS)],
            metadata=(("kind", text),) if number % 2 else (("other", "x"),),
        )
        for number, text in enumerate(TEXTS)
    ]


@pytest.fixture(scope="module")
def filled(milvus_uri: str) -> Iterator[tuple[MilvusStore, str]]:
    store = MilvusStore(milvus_uri)
    made = store.ensure_generation("conditions", embedder="model@aaaa", dimension=8)
    for tenant in (OURS, THEIRS):
        rows = documents(tenant)
        store.upsert(made.physical, rows, unit_vectors(len(rows)), tenant=tenant)
    store.point_alias("conditions", made.physical)
    yield store, made.physical
    store.close()


def value_of(row: Chunk, field: str) -> str | int | None:
    if field.startswith("metadata."):
        return dict(row.metadata).get(field.removeprefix("metadata."))
    found: str | int | None = getattr(row, field)
    return found


def means(only: Filter, row: Chunk, *, opposite: bool = False) -> bool:
    """Whether a filter, or its opposite, lets a row through, by the words of the README."""
    if isinstance(only, Not):
        return means(only.part, row, opposite=not opposite)
    if isinstance(only, And | Or):
        every = isinstance(only, And) != opposite
        return (all if every else any)(means(part, row, opposite=opposite) for part in only.parts)
    assert isinstance(only, Condition)
    if only.op == "contains":
        return (only.value in row.heading_path) != opposite
    found = value_of(row, only.field)
    if found is None:
        return False
    if only.op in ("in", "not in"):
        met = (found in only.values) == (only.op == "in")
    elif only.op == "starts with":
        met = str(found).startswith(str(only.value))
    else:
        met = COMPARED[only.op](found, only.value)  # type: ignore[arg-type]
    return met != opposite


texts = st.sampled_from(TEXTS) | st.text(st.characters(exclude_categories=["C", "Z"]), max_size=4)


def conditions() -> st.SearchStrategy[Filter]:
    equal = st.sampled_from(["==", "!=", "starts with"])
    listed = st.lists(texts, min_size=1, max_size=3)
    pages = st.integers(-1, 5)
    fields = st.sampled_from(["document_id", "title", "uri", "metadata.kind", "metadata.missing"])
    each = st.one_of(
        st.builds(lambda f, o, v: {"field": f, "op": o, "value": v}, fields, equal, texts),
        st.builds(lambda f, o, v: {"field": f, "op": o, "value": v}, fields, st.sampled_from(["in", "not in"]), listed),
        st.builds(
            lambda o, v: {"field": "metadata.kind", "op": o, "value": v}, st.sampled_from(["<", "<=", ">", ">="]), texts
        ),
        st.builds(lambda o, v: {"field": "page", "op": o, "value": v}, st.sampled_from([*COMPARED]), pages),
        st.builds(lambda v: {"field": "page", "op": "not in", "value": v}, st.lists(pages, min_size=1, max_size=3)),
        st.builds(
            lambda v: {"field": "heading", "op": "contains", "value": v}, st.sampled_from(["One", "é", 'Two "x"'])
        ),
    )
    tree = st.recursive(
        each,
        lambda parts: (
            st.builds(lambda p: {"and": p}, st.lists(parts, min_size=1, max_size=3))
            | st.builds(lambda p: {"or": p}, st.lists(parts, min_size=1, max_size=3))
            | st.builds(lambda p: {"not": p}, parts)
        ),
        max_leaves=6,
    )
    return tree.map(parse_filter)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(only=conditions())
def test_a_filter_lets_through_what_it_means_and_nothing_of_another_tenant(
    filled: tuple[MilvusStore, str], only: Filter
) -> None:
    store, physical = filled
    expected = {row.chunk_id for row in documents(OURS) if means(only, row)}
    found = store.client().query(physical, filter=tenant_and_filter(OURS, only), output_fields=["chunk_id", "tenant"])
    assert {str(row["chunk_id"]) for row in found} == expected
    assert {row["tenant"] for row in found} <= {OURS}


def test_a_search_finds_what_its_filter_lets_through(filled: tuple[MilvusStore, str]) -> None:
    store, physical = filled
    only = parse_filter(
        {"or": [{"field": "title", "op": "==", "value": "é"}, {"field": "uri", "op": "==", "value": "file:///or"}]}
    )
    for found in (
        store.search_dense(physical, unit_vectors(1), tenant=OURS, k=9, only=only)[0],
        store.search_text(physical, ["text"], tenant=OURS, k=9, only=only)[0],
    ):
        assert {passage.title for passage in found} == {"é", "or"}


@pytest.mark.parametrize(("op", "some"), [(">=", True), ("<", False)])
def test_times(filled: tuple[MilvusStore, str], op: str, some: bool) -> None:
    store, physical = filled
    only = parse_filter({"field": "updated_at", "op": op, "value": datetime(2026, 1, 1, tzinfo=UTC).isoformat()})
    found = store.search_dense(physical, unit_vectors(1), tenant=OURS, k=9, only=only)[0]
    assert bool(found) == some


def test_opposites_are_carried_down() -> None:
    given = {
        "not": {
            "and": [{"field": "page", "op": "<", "value": 3}, {"field": "title", "op": "starts with", "value": "a"}]
        }
    }
    assert expression(parse_filter(given)) == (
        '((page > 0 and (page >= 3)) or (title < "a" or title >= "a\U0010ffff"))'
    )
