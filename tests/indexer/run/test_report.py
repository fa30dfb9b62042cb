"""The JSON that `python -m indexer` and `graftwork index --json` print; programs read it, so its shape is kept."""

from __future__ import annotations

import json

from indexer.run.report import ChunkCounts, DocumentCounts, IndexReport, NewGeneration
from indexer.types import FailedDocument, Verification


def report(*, failed: int = 1, gone: int = 1) -> IndexReport:
    return IndexReport(
        documents=DocumentCounts(seen=9, new=4, changed=2, unchanged=2, deleted=3, failed=failed),
        chunks=ChunkCounts(written=40, deleted=5, embedded=30),
        seconds={"compare": 1.23456, "total": 9.0},
        collection="farm",
        generation=2,
        embedder="model@aaaa",
        failures=tuple(FailedDocument(f"file:///{number:03}.pdf", "parse", "damaged") for number in range(failed)),
        vanished=tuple(f"docs/{number:03}.md" for number in range(gone)),
        skipped={"hidden": 1},
        renamed={f"docs/new-{number:03}.md": f"docs/{number:03}.md" for number in range(gone)},
        built=NewGeneration(
            replaces=1, because=("schema",), verification=Verification(at="now", chunks=40, recall=1.0, sample=40)
        ),
        dead_letters=7,
    )


def test_the_shape_of_the_json() -> None:
    assert json.loads(json.dumps(report().to_json())) == {
        "documents": {"seen": 9, "new": 4, "changed": 2, "unchanged": 2, "deleted": 3, "failed": 1},
        "chunks": {"written": 40, "deleted": 5, "embedded": 30},
        "seconds": {"compare": 1.235, "total": 9.0},
        "collection": "farm",
        "generation": 2,
        "dead_letters": 7,
        "embedder": "model@aaaa",
        "failures": [{"uri": "file:///000.pdf", "stage": "parse", "reason": "damaged"}],
        "vanished": {"count": 1, "first": ["docs/000.md"]},
        "renamed": {"count": 1, "first": {"docs/new-000.md": "docs/000.md"}},
        "skipped": {"hidden": 1},
        "built": {
            "replaces": 1,
            "because": ["schema"],
            "verification": {
                "at": "now", "chunks": 40, "recall": 1.0, "sample": 40, "hits": None, "questions": 0
            },
        },
    }  # fmt: skip


def test_lists_are_bounded_and_their_counts_are_whole() -> None:
    printed = json.loads(json.dumps(report(failed=3000, gone=50).to_json()))
    assert [failure["uri"] for failure in printed["failures"]] == [f"file:///{number:03}.pdf" for number in range(100)]
    assert printed["documents"]["failed"] == 3000
    assert (len(printed["vanished"]["first"]), printed["vanished"]["count"]) == (20, 50)
    assert (len(printed["renamed"]["first"]), printed["renamed"]["count"]) == (20, 50)
    assert len(json.dumps(printed)) < 20_000
