"""Documents that Milvus did not take become failures of the run: plain functions without I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from indexer.parsers.document import document_uri
from indexer.run.datasink import Refusal
from indexer.types import FailedDocument, SourceFile


def refused_documents(refused: Mapping[str, Refusal], *, files: Iterable[SourceFile]) -> list[FailedDocument]:
    """Return the failures of refused documents, each under the address that any other failure of it has.

    Args:
        refused: By id.
        files: Files of the run.
    """
    by_uri = {file.uri: file for file in files}
    return [
        _failure(document_id, refusal, by_uri.get(refusal.file)) for document_id, refusal in sorted(refused.items())
    ]


def _failure(document_id: str, refusal: Refusal, source: SourceFile | None) -> FailedDocument:
    if source is None:
        return FailedDocument(uri=document_id, stage="write", reason=refusal.reason)
    inside = document_id.startswith(f"{source.source_id}#")
    return FailedDocument(
        uri=document_uri(source, document_id[len(source.source_id) + 1 :] if inside else None),
        stage="write",
        reason=refusal.reason,
        file=source.uri,
        source_id=source.source_id,
    )
