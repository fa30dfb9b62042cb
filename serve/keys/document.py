"""The key file's document: JSON that holds every key but its secret."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from indexer.errors import InputError
from indexer.names import check_alias
from indexer.store.expressions import check_tenant
from serve.keys.secret import ID_PATTERN, without_secrets

MODEL_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._/@-]{0,127}$"


def _checked(check: Callable[[str], str]) -> AfterValidator:
    def validate(value: str) -> str:
        try:
            return check(value)
        except InputError as error:
            raise ValueError(str(error).rstrip(".")) from None

    return AfterValidator(validate)


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("a line of printable text is wanted")
    return text


ModelName = Annotated[str, Field(pattern=MODEL_PATTERN)]
CollectionName = Annotated[str, _checked(check_alias)]
Tenant = Annotated[str, _checked(check_tenant)]


class _Document(BaseModel):
    # A value that does not fit is never printed: somebody may have put the secret where its hash belongs.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class KeyLimits(_Document):
    """What the key may take; null is no limit."""

    requests_per_minute: int | None = Field(None, ge=1, description="Requests within any minute.")
    tokens_per_minute: int | None = Field(
        None, ge=1, description="Tokens within any minute, of prompts and answers together."
    )
    streams: int | None = Field(None, ge=1, description="Streams open at the same time.")


class KeyEntry(_Document):
    """One key."""

    id: str = Field(pattern=f"^{ID_PATTERN}$", description="Public name of the key, the middle part of its token.")
    tenant: Tenant = Field(description="Whose documents it may see.")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the token's secret part, in hex.")
    created_at: AwareDatetime = Field(description="When it was made, with a time zone.")
    expires_at: AwareDatetime | None = Field(
        None, description="When it stops being accepted, with a time zone; null is never."
    )
    note: Annotated[str, AfterValidator(_printable)] | None = Field(None, max_length=500, description="What it is for.")
    models: tuple[ModelName, ...] | None = Field(
        None, min_length=1, description="Model names it may call, as clients write them; null is all."
    )
    collections: tuple[CollectionName, ...] | None = Field(
        None, description="Collections that specialists may answer from; null is all, an empty list is none."
    )
    max_passages: int | None = Field(
        None,
        ge=0,
        exclude_if=lambda value: value is None,
        description="Passages that a request may ask for; 0 lets it change nothing of a retrieval, null is no limit.",
    )
    admin: bool = Field(
        False, exclude_if=lambda value: not value, description="Whether it may change what the registry serves."
    )
    limits: KeyLimits = Field(default_factory=KeyLimits, description="What it may take.")


class KeysDocument(_Document):
    """All keys."""

    api_version: Literal["graftwork.dev/v1"] = Field(alias="apiVersion", description="Version of this document's form.")
    keys: tuple[KeyEntry, ...] = Field(description="The keys; with none, every request is refused.")

    @field_validator("keys")
    @classmethod
    def _ids_are_distinct(cls, value: tuple[KeyEntry, ...]) -> tuple[KeyEntry, ...]:
        seen: set[str] = set()
        for entry in value:
            if entry.id in seen:
                raise ValueError(f"two keys have the id '{entry.id}'")
            seen.add(entry.id)
        return value


def document_of(*keys: KeyEntry) -> KeysDocument:
    """The document of some keys."""
    return KeysDocument(apiVersion="graftwork.dev/v1", keys=keys)


def parse_keys(document: bytes, *, source: str) -> KeysDocument:
    """Read a key document.

    Args:
        document: JSON text, UTF-8.
        source: Where it came from, for the message.

    Raises:
        InputError: It is not JSON, has an unknown or missing field, or a value that does not fit; says where, and
            repeats nothing that could be a secret.
    """
    try:
        return KeysDocument.model_validate_json(document)
    except ValidationError as error:
        problem = problem_of(error)
    # Outside the handler: a traceback would print the cause.
    raise InputError(f"{source} holds no keys that can be used: {problem}; mend it or put the former version back.")


def problem_of(error: ValidationError) -> str:
    """What the first error says and where, with everything masked that could be a secret."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"]) or "document"
    return without_secrets(f"{field}: {first['msg'].removeprefix('Value error, ')}")


def write_keys(document: KeysDocument) -> bytes:
    """The document as it is put into the file."""
    return document.model_dump_json(indent=2, by_alias=True, exclude_none=True).encode() + b"\n"
