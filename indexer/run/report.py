"""What a run tells while it goes and when it is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Literal

from indexer.types import FailedDocument, Verification

Stage = Literal["discover", "compare", "index", "import", "finish", "verify", "done"]
LISTED = 20  # names per list in the JSON; the counts are always whole
LISTED_FAILURES = 100  # likewise; `documents.failed` counts all, and the dead letters keep all


@dataclass(frozen=True, slots=True)
class IndexProgress:
    """A moment of a run.

    Attributes:
        stage: `discover` files, `compare` with what is stored, `index` (parse, embed, write), `import`
            (by Milvus, of files that were written), `finish`, `verify` (a new generation), `done`.
        documents: Documents done so far: compared, parsed, finished (old rows deleted) or verified.
        documents_total: Documents to do; while files are compared those found at least, a file that was not read yet
            counting as one.
        chunks: Chunks cut so far; of the stage `verify` those that are stored.
        chunks_written: Chunks stored so far; of the stage `verify` those that were looked at.
        failed: Documents that failed so far.
        seconds: Since the run began.
        chunks_per_s: Chunks stored per second of the stage `index`; None until it has run for some seconds.
        seconds_left: Of the stage `index`, if the documents to come are cut into as many chunks as those before.
    """

    stage: Stage
    documents: int
    documents_total: int
    chunks: int
    chunks_written: int
    failed: int
    seconds: float
    chunks_per_s: float | None = None
    seconds_left: float | None = None

    @property
    def pace(self) -> str:
        """How fast it goes and how long it will take, to be put behind the counts; empty while that is not known."""
        rate = "" if self.chunks_per_s is None else f", {self.chunks_per_s:.0f} chunks/s"
        left = "" if self.seconds_left is None else f", {timedelta(seconds=round(self.seconds_left))} left"
        return rate + left


@dataclass(frozen=True, slots=True)
class DocumentCounts:
    """Documents of a run; seen = new + changed + unchanged + failed. A renamed one counts as changed."""

    seen: int
    new: int
    changed: int
    unchanged: int
    deleted: int
    failed: int


@dataclass(frozen=True, slots=True)
class ChunkCounts:
    """Chunks of a run; those written but not embedded had their vectors from an earlier run."""

    written: int
    deleted: int
    embedded: int


@dataclass(frozen=True, slots=True)
class NewGeneration:
    """A generation that a run built.

    Attributes:
        replaces: Number of the one that readers saw before; None for a first run.
        because: What differs between the two.
        verification: What it showed before readers were let in.
    """

    replaces: int | None
    because: tuple[str, ...]
    verification: Verification


@dataclass(frozen=True, slots=True)
class IndexReport:
    """The result of a run.

    Attributes:
        documents: Counts of documents.
        chunks: Counts of chunks.
        seconds: Per stage; `parse_busy`, `embed_busy` and `write_busy` are summed over parallel workers, and
            left out where some of them were lost.
        collection: The alias.
        generation: Number of the physical collection.
        embedder: Identity of the model.
        failures: Documents that were left out, each with its reason.
        vanished: Ids of stored documents whose source is gone; deleted only when asked for.
        renamed: Former ids of documents by the ids that they have now.
        skipped: Directory entries that were left out, by reason.
        built: The generation, where this run made it.
        dead_letters: Documents of the tenant that failed, now or earlier, and are neither mended nor gone.
    """

    documents: DocumentCounts
    chunks: ChunkCounts
    seconds: dict[str, float]
    collection: str
    generation: int
    embedder: str
    failures: tuple[FailedDocument, ...]
    vanished: tuple[str, ...]
    skipped: dict[str, int]
    renamed: Mapping[str, str] = field(default_factory=dict)
    built: NewGeneration | None = None
    dead_letters: int = 0

    def to_json(self) -> dict[str, object]:
        """Return the report as JSON values; of the failures the first 100, of other lists the first 20 and a count."""
        return {
            "documents": {
                "seen": self.documents.seen,
                "new": self.documents.new,
                "changed": self.documents.changed,
                "unchanged": self.documents.unchanged,
                "deleted": self.documents.deleted,
                "failed": self.documents.failed,
            },
            "chunks": {
                "written": self.chunks.written,
                "deleted": self.chunks.deleted,
                "embedded": self.chunks.embedded,
            },
            "seconds": {stage: round(seconds, 3) for stage, seconds in self.seconds.items()},
            "collection": self.collection,
            "generation": self.generation,
            "embedder": self.embedder,
            "failures": [
                {"uri": failure.uri, "stage": failure.stage, "reason": failure.reason}
                for failure in self.failures[:LISTED_FAILURES]
            ],
            "vanished": {"count": len(self.vanished), "first": list(self.vanished[:LISTED])},
            "renamed": {"count": len(self.renamed), "first": dict(sorted(self.renamed.items())[:LISTED])},
            "skipped": dict(self.skipped),
            "dead_letters": self.dead_letters,
            "built": None if self.built is None else asdict(self.built),
        }
