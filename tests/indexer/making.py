"""Documents, chunks and files for tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from indexer.embedding.files import EMBEDDED_NAME, resolve_embedder
from indexer.identity import chunk_id
from indexer.parsers.base import ParsedBlock, ParsedDocument
from indexer.parsers.document import build_document
from indexer.progress import Reporter
from indexer.run.context import RunContext
from indexer.run.datasink import DocumentWritten, WriteOutcome
from indexer.run.pipeline import _recipe
from indexer.run.state import Plan
from indexer.settings import IndexerSettings
from indexer.store.holding import holding
from indexer.store.milvus import MilvusStore
from indexer.types import BlockKind, Chunk, Document, SourceFile


def source(path: str = "/docs/guide.md", media_type: str = "text/markdown") -> SourceFile:
    place = Path(path)
    return SourceFile(
        uri=place.as_uri(),
        media_type=media_type,
        bytes=1,
        source_id=f"{place.parent.name}/{place.name}",
    )


def document(*blocks: tuple[BlockKind, str] | tuple[BlockKind, str, tuple[str, ...]]) -> Document:
    parsed = [
        ParsedBlock(kind=block[0], text=block[1], heading_path=block[2] if len(block) > 2 else ()) for block in blocks
    ]
    return build_document(ParsedDocument(title="Guide", blocks=tuple(parsed)), source=source(), key=None)


def chunk(
    text: str, *, document_id: str = "docs/a.md", ordinal: int = 0, tenant: str = "t", **changes: object
) -> Chunk:
    fields: dict[str, object] = {
        "chunk_id": chunk_id(tenant=tenant, document_id=document_id, ordinal=ordinal, text=text),
        "document_id": document_id,
        "document_hash": "h1",
        "title": "A title",
        "heading_path": ("One", 'Two "quoted"'),
        "uri": "file:///docs/a.md",
        "page": None,
        "ordinal": ordinal,
        "chunk_count": 1,
        "text": text,
        "search_text": f"A title\n\n{text}",
        "start": 0,
        "end": len(text),
        "metadata": (("author", "Ada"),),
    }
    return Chunk(**{**fields, **changes})  # type: ignore[arg-type]


def unit_vectors(count: int, dimension: int = 8, seed: int = 0) -> NDArray[np.float32]:
    drawn = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


@contextmanager
def running(store: MilvusStore, collection: str, *, tenant: str = "t") -> Iterator[RunContext]:
    """A run that holds the lease on a collection, without Ray."""
    settings, files = IndexerSettings(milvus_uri=store.uri), resolve_embedder(EMBEDDED_NAME)
    with holding(store, collection) as lease:
        yield RunContext(
            collection=collection,
            settings=settings,
            store=store,
            embedder=files,
            recipe=_recipe(settings, files, tenant=tenant),
            lease=lease,
            reporter=Reporter(None),
        )


def plan(
    *, new: Sequence[str] = (), changed: Sequence[str] = (), unchanged: Sequence[str] = (), **rest: object
) -> Plan:
    fields = {"new": frozenset(new), "changed": frozenset(changed), "unchanged": frozenset(unchanged)}
    return Plan(**{**fields, "sources": {}, "vanished": (), **rest})  # type: ignore[arg-type]


def written(*document_ids: str, document_hash: str = "h1") -> WriteOutcome:
    return WriteOutcome({name: DocumentWritten(document_hash, chunk_count=1, rows=1) for name in document_ids})
