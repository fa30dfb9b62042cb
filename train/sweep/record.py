"""A sweep's folder: sweep.json says what the sweep is made of, results.json what came of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, JsonValue, TypeAdapter, ValidationError

from indexer.errors import ConflictError, InputError, system_cause, writing
from train.registry.files import replace_file
from train.runs.driver import Driver, is_gone, this_driver
from train.runs.record import API_VERSION, RECORD_FILE, SWEEP_FILE
from train.sweep.results import SweepResult

RESULTS_FILE = "results.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRecord:
    """One sweep.

    Attributes:
        name: Its name.
        adapter: Name of the adapter that its trials train.
        trials: By the name of a run, what it gives the settings that vary.
        measured_on: Hex digest of what its trials are measured on.
        started: When it was asked for first.
        driver: The process that drives it, or drove it at last.
    """

    name: str
    adapter: str
    trials: dict[str, dict[str, JsonValue]]
    measured_on: str
    started: AwareDatetime
    driver: Driver
    api_version: Literal["graftwork.dev/v1"] = API_VERSION


_ADAPTER: TypeAdapter[SweepRecord] = TypeAdapter(SweepRecord)


def check_sweep(folder: Path, wanted: SweepRecord) -> SweepRecord | None:
    """Return what a sweep's folder says, if that may be gone on with as it is wanted now; None where it is a new one.

    Raises:
        ConflictError: The name is a run's, or that of a sweep of other trials, or of one that runs at this moment.
        InputError: The record cannot be read.
    """
    if (folder / RECORD_FILE).exists():
        raise ConflictError(f"{wanted.name} is the name of a training run; give the sweep another one by --run-name.")
    path = folder / SWEEP_FILE
    try:
        found = _ADAPTER.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"The sweep's record {path} cannot be read: {system_cause(error)}.") from error
    except ValidationError as error:
        raise InputError(f"{path} is not the record of a sweep; mend it, or take the folder away.") from error
    if found.driver != this_driver() and is_gone(found.driver) is False:
        raise ConflictError(
            f"The sweep {wanted.name} is under way in process {found.driver.pid}; wait for it, or end that process."
        )
    changed = [
        what
        for what, before, now in (
            ("adapter", found.adapter, wanted.adapter),
            ("list of trials", found.trials, wanted.trials),
            ("evaluation", found.measured_on, wanted.measured_on),
        )
        if before != now
    ]
    if changed:
        raise ConflictError(
            f"The sweep {wanted.name} exists with another {', '.join(changed)}; give the same, or another --run-name."
        )
    return found


def write_sweep(folder: Path, record: SweepRecord) -> None:
    """Put the record into the sweep's folder.

    Raises:
        UnavailableError: It cannot be written.
    """
    with writing("The record of the sweep", folder, otherwise="choose another train.storage_path"):
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / SWEEP_FILE, _ADAPTER.dump_json(record, indent=2) + b"\n")


def write_results(folder: Path, result: SweepResult) -> None:
    """Put what came of a sweep into its folder.

    Raises:
        UnavailableError: It cannot be written.
    """
    with writing("The results of the sweep", folder, otherwise="choose another train.storage_path"):
        replace_file(folder / RESULTS_FILE, json.dumps(result.to_json(), indent=2, ensure_ascii=False).encode() + b"\n")
