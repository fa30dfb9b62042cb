"""Filters of searches: typed conditions on what a passage's document is, and nothing that Milvus parses as its own.

As JSON, a condition is {"field": "uri", "op": "starts with", "value": "file:///handbook/"}; several are put together by
{"and": [...]}, {"or": [...]} and {"not": {...}}. A condition on something that a document lacks is not met, and neither
is its opposite.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StrictInt,
    StrictStr,
    Tag,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from indexer.errors import InputError

MAX_CONDITIONS, MAX_DEPTH, MAX_VALUES, MAX_TEXT = 64, 8, 100, 1024
MAX_NUMBER = 2**31 - 1  # beyond any page; Milvus fails at what is no 64-bit integer, instead of refusing it

Op: TypeAlias = Literal["==", "!=", "<", "<=", ">", ">=", "in", "not in", "starts with", "contains"]
PAGE, UPDATED, HEADING, METADATA = "page", "updated_at", "heading", "metadata."
FIELD_PATTERN = r"^(document_id|title|uri|page|updated_at|heading|metadata\.[A-Za-z_][A-Za-z0-9_.-]{0,63})$"
_LISTS: tuple[Op, ...] = ("in", "not in")
_ORDER: tuple[Op, ...] = ("<", "<=", ">", ">=")
_OPS: Mapping[str, tuple[Op, ...]] = {
    **dict.fromkeys(("document_id", "title", "uri"), ("==", "!=", *_LISTS, "starts with")),
    METADATA: ("==", "!=", *_ORDER, *_LISTS, "starts with"),
    PAGE: ("==", "!=", *_ORDER, *_LISTS),
    UPDATED: _ORDER,
    HEADING: ("contains",),
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Condition(_Part):
    """One field held against a value."""

    field: str = Field(
        pattern=FIELD_PATTERN,
        description="document_id, title, uri, page, updated_at (a time as ISO 8601), heading (any of those above the "
        "passage) or metadata.NAME (text).",
    )
    op: Op = Field(description="How; text is in order by its characters.")
    value: StrictStr | StrictInt | tuple[StrictStr, ...] | tuple[StrictInt, ...] = Field(
        description="A value, for 'in' and 'not in' a list."
    )

    @field_validator("value", mode="after")
    @classmethod
    def _values_are_plain(cls, value: str | int | tuple[str, ...] | tuple[int, ...]) -> object:
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, str) and (len(each) > MAX_TEXT or not each.isprintable()):
                raise ValueError(f"{each[:40]!r} is no printable text of at most {MAX_TEXT} characters")
            if isinstance(each, int) and abs(each) > MAX_NUMBER:
                raise ValueError(f"{str(each)[:40]} is no number from -{MAX_NUMBER} to {MAX_NUMBER}")
        if isinstance(value, tuple) and not 1 <= len(value) <= MAX_VALUES:
            raise ValueError(f"{len(value)} values; give 1 to {MAX_VALUES}")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        allowed = _OPS[METADATA if self.field.startswith(METADATA) else self.field]
        if self.op not in allowed:
            raise ValueError(f"{self.field} has no {self.op!r}; it has {', '.join(allowed)}")
        if isinstance(self.value, tuple) != (self.op in _LISTS):
            raise ValueError(f"{self.op!r} takes {'a list' if self.op in _LISTS else 'one value'}")
        wanted = int if self.field == PAGE else str
        if not all(type(each) is wanted for each in self.values):
            raise ValueError(f"{self.field} is {'a number' if wanted is int else 'text'}")
        if self.field == UPDATED:
            _milliseconds(str(self.value))
        return self

    @property
    def values(self) -> tuple[str | int, ...]:
        """The value, or all of them."""
        return self.value if isinstance(self.value, tuple) else (self.value,)

    @property
    def milliseconds(self) -> int:
        """The value of a condition on `updated_at`, in milliseconds of Unix time."""
        return _milliseconds(str(self.value))


class And(_Part):
    """Every part is met."""

    parts: tuple[Filter, ...] = Field(alias="and", min_length=1)


class Or(_Part):
    """One part is met, or more."""

    parts: tuple[Filter, ...] = Field(alias="or", min_length=1)


class Not(_Part):
    """The opposite of a part is met."""

    part: Filter = Field(alias="not")


def _shape(given: object) -> str:
    keys = given.keys() if isinstance(given, dict) else ()
    for name, kind in (("and", And), ("or", Or), ("not", Not)):
        if name in keys or isinstance(given, kind):
            return name
    return "condition"


Filter: TypeAlias = Annotated[
    Annotated[Condition, Tag("condition")]
    | Annotated[And, Tag("and")]
    | Annotated[Or, Tag("or")]
    | Annotated[Not, Tag("not")],
    Discriminator(_shape),
]
for _model in (And, Or, Not):
    _model.model_rebuild()


def _check_size(given: Filter) -> Filter:
    depths = list(_depths(given, 1))
    if len(depths) > MAX_CONDITIONS or max(depths) > MAX_DEPTH:
        raise ValueError(
            f"{len(depths)} conditions, {max(depths)} deep; give at most {MAX_CONDITIONS}, {MAX_DEPTH} deep"
        )
    return given


BoundedFilter: TypeAlias = Annotated[Filter, AfterValidator(_check_size)]
_ADAPTER: TypeAdapter[Filter] = TypeAdapter(BoundedFilter)


def parse_filter(given: object) -> Filter:
    """Read a filter out of JSON values.

    Raises:
        InputError: It is none, or larger than the limits.
    """
    try:
        return _ADAPTER.validate_python(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "filter"
        raise InputError(f"The filter is none: {where}: {first['msg']}.") from error


def joined(*filters: Filter | None) -> Filter | None:
    """The filter that asks for all of those that are there; None where none is."""
    given = tuple(each for each in filters if each is not None)
    return And(parts=given) if len(given) > 1 else given[0] if given else None


def _depths(given: Filter, depth: int) -> Iterator[int]:
    if isinstance(given, Condition):
        yield depth
        return
    for part in (given.part,) if isinstance(given, Not) else given.parts:
        yield from _depths(part, depth + 1)


def _milliseconds(time: str) -> int:
    moment = datetime.fromisoformat(time)
    if moment.tzinfo is None:
        raise ValueError(f"{time!r} has no time zone; write 2026-01-31T00:00:00Z")
    return (moment - _EPOCH) // timedelta(milliseconds=1)
