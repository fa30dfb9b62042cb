"""Trained adapters that no registry has: in a run's folder, with what their manifest is to say of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from indexer.errors import NotFoundError
from train.registry.layout import ADAPTER_FILES
from train.registry.manifest import TrainingRecord

# Folder of a run in which an adapter lies that is not published, or not yet.
UNPUBLISHED = "unpublished"
_SCORES, _TRAINING = "scores.json", "training.json"
_NUMBERS: TypeAdapter[dict[str, float]] = TypeAdapter(dict[str, float])


@dataclass(frozen=True, slots=True)
class UnpublishedAdapter:
    """A trained adapter.

    Attributes:
        folder: Where its files lie.
        record: Facts of its run.
        scores: What it was measured to be, by the names in `train.scores`.
    """

    folder: Path
    record: TrainingRecord
    scores: Mapping[str, float]

    def kept(self, run: Path) -> UnpublishedAdapter:
        """Copy it into its run's folder, in place of one of an earlier try; return it as it lies there."""
        place = run / UNPUBLISHED
        if self.folder == place:
            return self
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.folder, place)
        (place / _SCORES).write_text(json.dumps(dict(self.scores), indent=2, sort_keys=True) + "\n")
        (place / _TRAINING).write_text(self.record.model_dump_json(indent=2) + "\n")
        return UnpublishedAdapter(place, self.record, self.scores)


def kept_adapter(run: Path) -> UnpublishedAdapter:
    """Read what `UnpublishedAdapter.kept` left in a run's folder.

    Raises:
        NotFoundError: Nothing is there, or not the whole of it.
    """
    place = run / UNPUBLISHED
    try:
        scores = _NUMBERS.validate_json((place / _SCORES).read_bytes())
        record = TrainingRecord.model_validate_json((place / _TRAINING).read_bytes())
    except (OSError, ValidationError) as error:
        raise NotFoundError(f"The run {run.name} has no whole adapter in {place}; train it again.") from error
    if missing := [name for name in ADAPTER_FILES if not (place / name).is_file()]:
        raise NotFoundError(f"The run {run.name} lacks {', '.join(missing)} in {place}; train it again.")
    return UnpublishedAdapter(place, record, scores)
