"""All that can be said of a dataset before anything is trained: bad lines, duplicates, leaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from pydantic import JsonValue

from indexer.errors import InputError
from train.data.duplicates import exact_groups, near_groups, spoken
from train.data.leakage import Leak, find_leaks
from train.data.reading import SourceRows, read_source
from train.data.row import BadRow, Example, Origin
from train.data.sources import Source

Group = tuple[Origin, ...]


@dataclass(frozen=True, slots=True)
class SourceCount:
    """One source: its place, its weight, its rows, and its lines that are none."""

    place: str
    weight: float
    rows: int
    bad: int


@dataclass(frozen=True, slots=True)
class DatasetReport:
    """What was found.

    Attributes:
        sources: Training sources, then those of the evaluation.
        bad: Lines that are no rows.
        equal: Training rows that say the same.
        nearly_equal: Training rows that nearly do.
        leaks: Evaluation rows that training knows.
    """

    sources: tuple[SourceCount, ...]
    bad: tuple[BadRow, ...]
    equal: tuple[Group, ...]
    nearly_equal: tuple[Group, ...]
    leaks: tuple[Leak, ...]

    def refuse(self, *, strict: bool) -> None:
        """See that a run could go on with it.

        Args:
            strict: Whether duplicates and leaks are wrong, too.

        Raises:
            InputError: Something is wrong.
        """
        rows = sum(each.rows for each in self.sources)
        if self.bad:
            raise InputError(f"{len(self.bad)} of {rows + len(self.bad)} rows cannot be trained on; see above.")
        if not rows:
            raise InputError("The datasets hold no rows; give one JSON object with `messages` a line.")
        found = {
            "groups of equal rows": len(self.equal),
            "groups of nearly equal rows": len(self.nearly_equal),
            "evaluation rows that training knows": len(self.leaks),
        }
        if strict and any(found.values()):
            told = ", ".join(f"{count} {what}" for what, count in found.items() if count)
            raise InputError(f"The datasets have {told}; remove them, or leave --strict out.")

    def to_json(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        return {
            "sources": [asdict(each) for each in self.sources],
            "bad": [{"source": row.origin.source, "line": row.origin.line, "reason": row.reason} for row in self.bad],
            "equal": [[str(origin) for origin in group] for group in self.equal],
            "nearly_equal": [[str(origin) for origin in group] for group in self.nearly_equal],
            "leaks": [
                {
                    "row": str(leak.origin),
                    "shared": leak.shared,
                    "training_row": str(leak.training),
                    "document": leak.document,
                }
                for leak in self.leaks
            ],
        }


def examine_dataset(
    training: Sequence[Source], *, evaluation: Sequence[Source] = (), near: bool = True
) -> DatasetReport:
    """Read all sources and look at their rows.

    Args:
        training: Sources of the training data.
        evaluation: Sources of the evaluation data.
        near: Whether to look for nearly equal rows, which takes about a millisecond a row.

    Raises:
        NotFoundError: A file is not there.
        InputError: A file cannot be read.
        UnavailableError: A store cannot be reached.
    """
    learned, measured = [read_source(each) for each in training], [read_source(each) for each in evaluation]
    examples, held_out = _examples(learned), _examples(measured)
    texts = [spoken(example) for example in examples]
    return DatasetReport(
        sources=tuple(_count(each) for each in (*learned, *measured)),
        bad=tuple(row for each in (*learned, *measured) for row in each.bad),
        equal=_groups(exact_groups(texts), examples),
        nearly_equal=_groups(near_groups(texts), examples) if near else (),
        leaks=tuple(find_leaks(examples, held_out)),
    )


def _examples(read: Sequence[SourceRows]) -> list[Example]:
    return [example for each in read for example in each.examples]


def _count(read: SourceRows) -> SourceCount:
    return SourceCount(read.source.place, read.source.weight, len(read.examples), len(read.bad))


def _groups(places: Sequence[Sequence[int]], examples: Sequence[Example]) -> tuple[Group, ...]:
    return tuple(tuple(examples[place].origin for place in group) for group in places)
