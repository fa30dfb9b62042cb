"""The first step of a run: the hash of every document, read on Ray, nothing parsed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from indexer.progress import Counts, Reporter
from indexer.run.ray_data import ray_data_context, read_cpus, readers, source_dataset, translated_ray_errors
from indexer.run.stages import Recipe, compare
from indexer.run.state import Fingerprint
from indexer.run.tables import fingerprints_from_table
from indexer.types import FailedDocument, SourceFile


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was found in files.

    Attributes:
        found: Documents that could be read.
        failures: Documents and files that could not.
        unreadable: Source ids of the failures.
    """

    found: tuple[Fingerprint, ...]
    failures: tuple[FailedDocument, ...]
    unreadable: tuple[str, ...]


def read_fingerprints(files: Sequence[SourceFile], *, recipe: Recipe, reporter: Reporter) -> Comparison:
    """Read files and return what is in them.

    Args:
        files: The files.
        recipe: How.
        reporter: Told after each table of files: of the documents in files that were read, and of the other files.

    Raises:
        GraftworkError: Ray stopped.
    """
    found: list[Fingerprint] = []
    failures: list[FailedDocument] = []
    unreadable: list[str] = []
    read: set[str] = set()
    if files:
        with ray_data_context(), translated_ray_errors():
            dataset = source_dataset([(file, ()) for file in files]).map_batches(
                compare,
                batch_format="pyarrow",
                fn_kwargs={"recipe": recipe},
                compute=readers(len(files)),
                num_cpus=read_cpus(),
            )
            for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
                for item in fingerprints_from_table(batch):
                    if isinstance(item, Fingerprint):
                        found.append(item)
                        read.add(item.source_id)
                    else:
                        unreadable.append(item[0])
                        read.add(item[0])
                        failures.append(item[1])
                reporter.tell(
                    "compare",
                    counts=Counts(documents=len(found)),
                    total=len(found) + len(failures) + len(files) - len(read),
                    failed=len(failures),
                )
    return Comparison(found=tuple(found), failures=tuple(failures), unreadable=tuple(unreadable))
