"""What Ray Data runs on the workers: compare, prepare (read, parse, chunk) and embed."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import pyarrow as pa

from indexer.board import Board
from indexer.chunking.chunker import ChunkerSettings
from indexer.chunking.chunks import make_chunks
from indexer.chunking.tokens import TokenCounter, load_tokenizer
from indexer.embedding.embedder import Embedder, open_embedder
from indexer.embedding.files import same_weights, tokenizer_folder
from indexer.errors import GraftworkError, InputError
from indexer.identity import document_hash
from indexer.parsers import PARSERS
from indexer.parsers.base import ParseError, RawDocument, SplitFailure
from indexer.parsers.document import build_document, document_id, document_uri
from indexer.progress import Counts, EmbeddedBatch
from indexer.run.pool import threads_per_actor
from indexer.run.reuse import StoredVectors
from indexer.run.state import Fingerprint
from indexer.run.tables import (
    chunks_to_table,
    fingerprints_to_table,
    sources_from_table,
    texts_to_embed,
    with_vectors,
)
from indexer.run.time_limit import TimeIsUp, time_limit
from indexer.settings import IndexerSettings
from indexer.sources.provenance import FORMER_FIELD
from indexer.sources.stores import open_source
from indexer.text import clean
from indexer.types import Chunk, FailedDocument, SourceFile

_WHO = {"parse": "parser", "chunk": "chunker"}
_ROWS_PER_TABLE = 512  # bounds what one task holds of a file with very many documents


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that a worker needs to know about a run.

    Attributes:
        tenant: Whose documents these are.
        pipeline: Hash over parsers, chunker and embedder; part of every document hash.
        chunker: How documents are cut.
        embedder: Name of the embedder, whose tokenizer counts.
        tokenizer: Folder of that tokenizer where the driver runs; another node may have it elsewhere.
        max_document_bytes: Limit per document.
        parse_timeout_s: Seconds for parsing and cutting one.
    """

    tenant: str
    pipeline: str
    chunker: ChunkerSettings
    embedder: str
    tokenizer: Path
    max_document_bytes: int
    parse_timeout_s: float


def compare(table: pa.Table, *, recipe: Recipe) -> Iterator[pa.Table]:
    """Yield the hash of every document in a table of files; nothing is parsed."""
    found: list[Fingerprint | tuple[str, FailedDocument]] = []
    for source, _ in sources_from_table(table):
        with closing(_fingerprints(source, recipe)) as fingerprints:
            for fingerprint in fingerprints:
                found.append(fingerprint)
                if len(found) >= _ROWS_PER_TABLE:
                    yield fingerprints_to_table(found)
                    found = []
    yield fingerprints_to_table(found)


def _fingerprints(
    source: SourceFile, recipe: Recipe
) -> Generator[Fingerprint | tuple[str, FailedDocument], None, None]:
    try:
        for part in _split(source, recipe):
            if isinstance(part, SplitFailure):
                yield source.source_id, _failed(source, part.key, stage="read", reason=part.reason)
            else:
                yield Fingerprint(
                    source_id=source.source_id,
                    key=part.key,
                    document_id=document_id(source, part.key),
                    document_hash=document_hash(part.content, pipeline=recipe.pipeline),
                )
    except GraftworkError:
        raise
    except Exception as error:  # noqa: BLE001  as for parsing: one file never stops a run
        yield source.source_id, _failed(source, None, stage="read", reason=_reason(error))


def _split(source: SourceFile, recipe: Recipe) -> Iterator[RawDocument | SplitFailure]:
    with open_source(source.uri) as stream:
        yield from PARSERS[source.media_type].split(stream, max_bytes=recipe.max_document_bytes)


def prepare(
    table: pa.Table,
    *,
    recipe: Recipe,
    board: Board[Counts],
    stored: StoredVectors | None = None,
    renamed: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[pa.Table]:
    """Yield the chunks of the documents in a table of files; a document that fails becomes a row that says why.

    Args:
        table: Files, and what to pass over in them.
        recipe: How.
        board: Where to count.
        stored: Gives chunks that did not change the vectors they have; None where nothing is stored.
        renamed: Former ids of documents by their new ones; rows keep them, so that an interrupted run is taken up.

    Raises:
        UnavailableError: Milvus did not answer when it was asked for them; or the embedder is not on this node.
    """
    tokens = load_tokenizer(tokenizer_folder(recipe.embedder, near=recipe.tokenizer))
    rows: list[Chunk | FailedDocument] = []
    for source, skip in sources_from_table(table):
        with closing(_documents(source, recipe, skip)) as documents:
            for raw in documents:
                began = time.perf_counter()
                made = raw if isinstance(raw, FailedDocument) else _prepare_one(raw, source, recipe, tokens)
                failed = isinstance(made, FailedDocument)
                rows.extend([made] if isinstance(made, FailedDocument) else _with_formers(made, renamed))
                board.tell(
                    Counts(
                        documents=0 if failed else 1,
                        failed=1 if failed else 0,
                        chunks=0 if isinstance(made, FailedDocument) else len(made),
                        parse_busy=time.perf_counter() - began,
                    )
                )
                if len(rows) >= _ROWS_PER_TABLE:
                    yield _chunk_table(rows, stored)
                    rows = []
    yield _chunk_table(rows, stored)
    if stored is not None:
        stored.close()


def _with_formers(chunks: Sequence[Chunk], renamed: Mapping[str, str]) -> Iterator[Chunk]:
    for chunk in chunks:
        former = renamed.get(chunk.document_id)
        marks = () if former is None else ((FORMER_FIELD, former),)
        yield replace(chunk, metadata=(*chunk.metadata, *marks))


def _chunk_table(rows: Sequence[Chunk | FailedDocument], stored: StoredVectors | None) -> pa.Table:
    if stored is None:
        return chunks_to_table(rows)
    return chunks_to_table(rows, stored=stored.find([row for row in rows if isinstance(row, Chunk)]))


def _documents(
    source: SourceFile, recipe: Recipe, skip: frozenset[str]
) -> Generator[RawDocument | FailedDocument, None, None]:
    """Yield what is to be parsed; parts that are no documents were reported by `compare`."""
    try:
        for part in _split(source, recipe):
            if isinstance(part, RawDocument) and part.key not in skip:
                yield part
    except GraftworkError:
        raise
    except Exception as error:  # noqa: BLE001  as for parsing: one file never stops a run
        yield _failed(source, None, stage="read", reason=_reason(error))


def _prepare_one(
    raw: RawDocument, source: SourceFile, recipe: Recipe, tokens: TokenCounter
) -> list[Chunk] | FailedDocument:
    stage = "parse"
    try:
        with time_limit(recipe.parse_timeout_s):
            parsed = PARSERS[source.media_type].parse(raw)
            document = build_document(parsed, source=source, key=raw.key)
            stage = "chunk"
            return make_chunks(
                document,
                tenant=recipe.tenant,
                document_hash=document_hash(raw.content, pipeline=recipe.pipeline),
                tokens=tokens,
                settings=recipe.chunker,
            )
    except TimeIsUp:
        reason = f"the {_WHO[stage]} took longer than {recipe.parse_timeout_s:g} s (indexer.parse_timeout_s)"
        return _failed(source, raw.key, stage=stage, reason=reason)
    except ParseError as error:
        return _failed(source, raw.key, stage=stage, reason=str(error))
    except Exception as error:  # noqa: BLE001  any other failure is recorded too: one document never stops a run
        reason = f"the {_WHO[stage]} failed with {type(error).__name__}: {error}"
        return _failed(source, raw.key, stage=stage, reason=reason)


def _failed(source: SourceFile, key: str | None, *, stage: str, reason: str) -> FailedDocument:
    return FailedDocument(
        uri=document_uri(source, key),
        stage=stage,
        reason=clean(reason),
        file=source.uri,
        source_id=source.source_id,
    )


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"the file cannot be read: {error.strerror or error}"
    return str(error) if isinstance(error, ParseError) else f"the reader failed with {type(error).__name__}: {error}"


class EmbedChunks:
    """An embedding actor; it loads the model while the first documents are still read, or at the first text for it.

    One thread loads and encodes: how many threads torch uses belongs to the thread that says it.
    """

    def __init__(
        self,
        *,
        settings: IndexerSettings,
        identity: str,
        board: Board[Counts],
        batches: Board[EmbeddedBatch] | None = None,
        per_node: int = 1,
        load_early: bool = True,
    ) -> None:
        """Begin to load the model, unless that is to wait.

        Args:
            settings: Which embedder, and how it computes.
            identity: Weights that the driver found; another file under the same name on this node is refused.
            board: Where to count.
            batches: Where to tell of every call, or None.
            per_node: How many actors share the cores of a node, where `embed_threads` does not say what each gets.
            load_early: Whether the model is loaded at once; else at the first text that lacks a vector.
        """
        self._settings = settings
        self._identity = identity
        self._board = board
        self._batches = batches
        self._per_node = per_node
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._loading: Future[tuple[Embedder, float]] | None = None
        self._told = False
        if load_early:
            self._begin_to_load()

    @property
    def load_began(self) -> bool:
        """Whether the model is loaded, or about to be."""
        return self._loading is not None

    def __call__(self, table: pa.Table) -> pa.Table:
        """Return the table with the vectors that it lacks."""
        texts = texts_to_embed(table)
        if not texts:
            return table
        called = time.time()
        embedder, load_s = self._begin_to_load().result()
        began = time.time()
        vectors = self._thread.submit(embedder.encode_documents, texts).result()
        ended = time.time()
        self._board.tell(Counts(embed_busy=ended - called))
        if self._batches is not None:
            self._batches.tell(
                EmbeddedBatch(texts=tuple(texts), began=began, load_s=0.0 if self._told else load_s, ended=ended)
            )
            self._told = True
        return with_vectors(table, vectors)

    def _begin_to_load(self) -> Future[tuple[Embedder, float]]:
        if self._loading is None:
            self._loading = self._thread.submit(self._load)
        return self._loading

    def _load(self) -> tuple[Embedder, float]:
        began = time.perf_counter()
        threads = threads_per_actor(self._settings, per_node=self._per_node)
        embedder = open_embedder(self._settings, threads=threads)
        if not same_weights(embedder.identity, self._identity):
            raise InputError(
                f"Node {os.uname().nodename} has embedder {embedder.identity}, the run needs {self._identity}; "
                "give every node the same files."
            )
        return embedder, time.perf_counter() - began
