"""What came of writing examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from pydantic import JsonValue

from train.examples.costs import StageCost
from train.examples.types import Rejection, Row, Stage


@dataclass(frozen=True, slots=True)
class ExamplesReport:
    """What was written, what was left out, and what it cost.

    Attributes:
        collection: Alias of the collection.
        generation: Number of its generation.
        chunks: Chunks that were asked about.
        documents: Documents that they are of.
        training: Rows for training.
        evaluation: Rows for evaluation.
        rejected: What was left out, and why.
        costs: By stage.
        last_failure: What the last request said that failed; empty where none did.
        out: File of the training rows.
        eval_out: File of the evaluation rows; None where none were to be kept apart.
    """

    collection: str
    generation: int
    chunks: int
    documents: int
    training: tuple[Row, ...]
    evaluation: tuple[Row, ...]
    rejected: tuple[Rejection, ...]
    costs: Mapping[Stage, StageCost]
    last_failure: str
    out: str
    eval_out: str | None

    @property
    def failures(self) -> int:
        """Requests that gave no answer."""
        return sum(cost.failed for cost in self.costs.values())

    @property
    def reasons(self) -> dict[str, int]:
        """How much was left out for each reason, the most frequent first."""
        return dict(Counter[str](rejection.reason for rejection in self.rejected).most_common())

    @property
    def kinds(self) -> dict[str, int]:
        """Rows of each kind, of both files."""
        return dict(sorted(Counter[str](row.kind for row in (*self.training, *self.evaluation)).items()))

    def to_json(self) -> dict[str, JsonValue]:
        """Return plain JSON values."""
        return {
            "collection": self.collection,
            "generation": self.generation,
            "chunks": self.chunks,
            "documents": self.documents,
            "out": self.out,
            "eval_out": self.eval_out,
            "rows": len(self.training),
            "eval_rows": len(self.evaluation),
            "kinds": dict(self.kinds),
            "left_out": dict(self.reasons),
            "rejected": [asdict(rejection) for rejection in self.rejected],
            "costs": {stage: asdict(cost) for stage, cost in self.costs.items()},
            "failed_requests": self.failures,
            "last_failure": self.last_failure or None,
        }
