"""run.json: what a run is made of, how it stands, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import AwareDatetime, JsonValue, TypeAdapter, ValidationError

from indexer.errors import InputError, NotFoundError, system_cause
from train.registry.files import replace_file
from train.runs.driver import Driver

API_VERSION: Final = "graftwork.dev/v1"
RECORD_FILE, PROGRESS_FILE = "run.json", "progress.jsonl"
CURVE_FILE, PAGE_FILE = "loss.png", "page.html"
# What lies beside the runs, in a folder of its own, for a sweep over some of them.
SWEEP_FILE = "sweep.json"
WrittenState = Literal["running", "finished", "failed", "interrupted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What came of a finished run; see `TrainResult` for the meaning of the fields.

    Attributes:
        adapter: Reference of the version that was published, such as 'agronomy@3'; None: it was not.
        scores: What its manifest says of its quality, such as eval_loss.
    """

    adapter: str | None
    steps: int
    planned_steps: int
    seconds: float
    train_seconds: float
    first_loss: float | None
    final_loss: float | None
    eval_loss: float | None
    tokens: int
    tokens_per_s: float
    stopped_early: bool
    scores: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One run.

    Attributes:
        name: Its name.
        adapter: Name of the adapter that it trains.
        base: Name of the base model.
        base_fingerprint: Fingerprint of the base model's weights.
        datasets: What it learns from, as it was named.
        dataset_sha256: Hex digest of that, as in the manifest.
        rows: Rows of an epoch.
        eval_datasets: What its loss is measured on at the end.
        chat_template: Hex digest of the chat template.
        settings: Settings that shape the result, by name.
        started: When it was asked for first.
        resumed: When it was gone on with, at last; None: never.
        driver: The process that drives it, or drove it.
        state: How it stood when this was written; a driver that is killed leaves 'running'.
        reason: Why it failed.
        result: What came of it; None before its end.
        sweep: Name of the sweep that it is a trial of; None: of none.
    """

    name: str
    adapter: str
    base: str
    base_fingerprint: str
    datasets: tuple[str, ...]
    dataset_sha256: str
    rows: int
    eval_datasets: tuple[str, ...]
    chat_template: str
    settings: dict[str, JsonValue]
    started: AwareDatetime
    resumed: AwareDatetime | None
    driver: Driver
    state: WrittenState
    reason: str | None = None
    result: RunResult | None = None
    sweep: str | None = None
    api_version: Literal["graftwork.dev/v1"] = API_VERSION

    def to_json(self) -> dict[str, JsonValue]:
        """Return plain JSON values; a loss that is no number is null."""
        document: dict[str, JsonValue] = _DOCUMENT.validate_json(_ADAPTER.dump_json(self))
        return document


_ADAPTER: TypeAdapter[RunRecord] = TypeAdapter(RunRecord)
_DOCUMENT: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])


def write_record(folder: Path, record: RunRecord) -> None:
    """Put the record into the run's folder, in one step; OSError where that cannot be."""
    replace_file(folder / RECORD_FILE, _ADAPTER.dump_json(record, indent=2) + b"\n")


def read_record(folder: Path) -> RunRecord:
    """Read the record of a run's folder.

    Raises:
        NotFoundError: The folder holds none.
        InputError: It cannot be read, or is none.
    """
    path = folder / RECORD_FILE
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFoundError(
            f"{folder} holds no {RECORD_FILE}: it is no training run, or one from before runs were recorded."
        ) from error
    except OSError as error:
        raise InputError(f"The run's record {path} cannot be read: {system_cause(error)}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the document"
        raise InputError(
            f"{path} is not the record of a run: {place}: {first['msg']}; mend it, or take the file away."
        ) from error
