"""Whether the embedding model is loaded before it is known that a text needs it: plain functions without I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

from indexer.identity import DOCUMENT_ID_MAX_BYTES, shorten
from indexer.run.state import Plan
from indexer.store.letters import DeadLetter


def load_early(plan: Plan, *, failed: Set[str]) -> bool:
    """Tell whether a plan names a document of which new vectors are to be expected.

    They are not of one that failed before and is likely to fail again, nor of a new one whose bytes are stored, as of
    one that was renamed. Where there are only such, the model waits for the first text that lacks a vector after all.

    Args:
        plan: What is to be read.
        failed: Ids of documents that failed before.
    """
    stored = plan.new & plan.alike.keys()
    return bool((plan.new | plan.changed) - stored - failed)


def failed_before(letters: Iterable[DeadLetter], *, files: Mapping[str, str]) -> set[str]:
    """Return the ids of the documents that stand in dead letters and are in the same file as then.

    Args:
        letters: Dead letters.
        files: URIs of the files of this run by source id.
    """
    return {
        shorten(letter.source_id + letter.uri.removeprefix(letter.file), DOCUMENT_ID_MAX_BYTES)
        for letter in letters
        if files.get(letter.source_id) == letter.file
    }
