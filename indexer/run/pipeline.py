"""One run of the indexer, from paths to a searchable collection."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import ray
from ray.data import ActorPoolStrategy

from indexer.board import Board
from indexer.chunking.chunks import chunker_settings
from indexer.chunking.tokens import load_tokenizer
from indexer.embedding.embedder import Embedder
from indexer.embedding.files import EmbedderFiles, resolve_embedder
from indexer.errors import UnavailableError
from indexer.identity import pipeline_hash
from indexer.names import check_alias
from indexer.parsers import PARSER_VERSIONS
from indexer.progress import Counts, LiveCounts, Reporter
from indexer.run.datasink import MilvusDatasink, WriteOutcome
from indexer.run.ray_data import (
    WRITE_CPUS,
    embed_cpus,
    ray_data_context,
    read_cpus,
    source_dataset,
    translated_ray_errors,
)
from indexer.run.report import ChunkCounts, DocumentCounts, IndexProgress, IndexReport
from indexer.run.stages import EmbedChunks, Recipe, compare, prepare
from indexer.run.state import Fingerprint, KnownDocument, Plan, gather, make_plan, stale_rows
from indexer.run.tables import fingerprints_from_table
from indexer.search import open_store
from indexer.settings import IndexerSettings
from indexer.sources.discovery import Discovery, discover
from indexer.sources.provenance import check_owners, existing_files
from indexer.store.filters import check_tenant
from indexer.store.generation import check_embedder
from indexer.store.milvus import MilvusStore
from indexer.types import FailedDocument, Generation

_DELETE_BATCH = 200  # document ids per filter expression


def run_index(
    sources: Sequence[str | Path] | Discovery,
    *,
    collection: str,
    tenant: str,
    settings: IndexerSettings,
    progress: Callable[[IndexProgress], None] | None = None,
    sync: bool = False,
) -> IndexReport:
    """Index files and folders into a collection, in the initialised Ray.

    Documents that are stored already, unchanged, are neither parsed nor embedded. The new chunks of a changed document
    are written and flushed before its old ones are deleted. A run that was interrupted is taken up by running again.
    One bad document does not stop a run: it is in the report.

    Args:
        sources: Paths, patterns and URIs, or what `discover` found with the user's lists and patterns.
        collection: Alias; made at the end of its first run.
        tenant: Whose documents these are.
        settings: Where and how.
        progress: Called now and then, from a thread of its own.
        sync: Delete documents of these folders whose file is gone; otherwise they are only reported.

    Raises:
        NotFoundError: A path, bucket or object does not exist.
        InputError: Nothing to index, an unreadable folder, a bad setting, or a collection made by another embedder.
        ConflictError: A document's id is that of another file that is stored and still exists; nothing is written then.
        UnavailableError: Ray is not initialised, or Milvus, the embedder or an object store cannot be reached.
        GraftworkError: Ray stopped the run.
    """
    run = _Run(
        collection=check_alias(collection), tenant=check_tenant(tenant), settings=settings, reporter=Reporter(progress)
    )
    return run.go(sources, sync=sync)


class _Run:
    """The steps of a run, in order; each leaves the collection in a state that the next run can continue from."""

    def __init__(self, *, collection: str, tenant: str, settings: IndexerSettings, reporter: Reporter) -> None:
        self._collection = collection
        self._tenant = tenant
        self._settings = settings
        self._reporter = reporter
        self._seconds: dict[str, float] = {}

    def go(self, sources: Sequence[str | Path] | Discovery, *, sync: bool) -> IndexReport:
        began = time.perf_counter()
        self._reporter.tell("discover")
        discovery = sources if isinstance(sources, Discovery) else discover(sources)
        self._seconds["discover"] = discovery.seconds
        if not ray.is_initialized():
            raise UnavailableError("Ray is not initialised; call ray.init() or start it with `graftwork up`.")
        store = open_store(self._settings)
        files = resolve_embedder(self._settings.embedder)
        recipe = self._recipe(files)
        self._reporter.tell("compare")
        with self._timed("compare"), ray_data_context():
            made = self._existing(store, files)
            known = gather(store.scan(made.physical, tenant=self._tenant)) if made else {}
            plan, failures = self._compare(discovery, recipe, known)
        made = made or store.ensure_generation(
            self._collection, embedder=files.identity, dimension=_dimension(files, self._settings)
        )
        outcome = self._index(discovery, plan, recipe, made, files, store, failed=len(failures))
        failures.extend(outcome.failures)
        counts = Counts(documents=len(outcome.documents), chunks=outcome.rows, chunks_written=outcome.rows)
        self._reporter.tell("finish", counts=counts, failed=len(failures))
        deleted_chunks, deleted_documents = self._finish(store, made, plan, outcome, sync=sync)
        self._seconds["total"] = time.perf_counter() - began
        report = self._report(made, plan, outcome, discovery, failures, deleted_chunks, deleted_documents)
        self._reporter.tell("done", counts=counts, failed=len(failures))
        return report

    def _recipe(self, files: EmbedderFiles) -> Recipe:
        tokenizer = load_tokenizer(files.path)
        chunker = chunker_settings(self._settings, max_tokens=files.max_tokens, special_tokens=tokenizer.special_tokens)
        return Recipe(
            tenant=self._tenant,
            pipeline=pipeline_hash(
                parsers=PARSER_VERSIONS, chunker=chunker.identity, embedder=files.identity.rpartition("@")[2]
            ),
            chunker=chunker,
            tokenizer=files.path,
            max_document_bytes=self._settings.max_document_bytes,
        )

    def _existing(self, store: MilvusStore, files: EmbedderFiles) -> Generation | None:
        made = store.unfinished_or_current(self._collection)
        if made is not None:
            check_embedder(made, embedder=files.identity)
        return made

    def _compare(
        self, discovery: Discovery, recipe: Recipe, known: dict[str, KnownDocument]
    ) -> tuple[Plan, list[FailedDocument]]:
        found: list[Fingerprint] = []
        failures = list(discovery.failures)
        unreadable = list(discovery.unreadable)
        if discovery.files:
            dataset = source_dataset([(file, ()) for file in discovery.files]).map_batches(
                compare, batch_format="pyarrow", fn_kwargs={"recipe": recipe}, num_cpus=read_cpus()
            )
            with translated_ray_errors():
                for batch in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
                    for item in fingerprints_from_table(batch):
                        if isinstance(item, Fingerprint):
                            found.append(item)
                        else:
                            unreadable.append(item[0])
                            failures.append(item[1])
        plan = make_plan(
            found,
            known=known,
            folders=discovery.folders,
            unreadable=unreadable,
            files={file.source_id: file.uri for file in discovery.files},
            existing=partial(existing_files, listed=discovery.left_out),
        )
        check_owners(plan.moved, collection=self._collection)
        return plan, failures

    def _index(
        self,
        discovery: Discovery,
        plan: Plan,
        recipe: Recipe,
        made: Generation,
        files: EmbedderFiles,
        store: MilvusStore,
        *,
        failed: int,
    ) -> WriteOutcome:
        """Run the pipeline over the documents that changed; does nothing, and loads no model, where none did."""
        if not plan.sources:
            self._seconds |= {"index": 0.0, **_busy_seconds(Counts())}
            return WriteOutcome()
        settings = self._settings
        by_id = {file.source_id: file for file in discovery.files}
        board: Board[Counts] = Board()
        live = LiveCounts(board)
        sink = MilvusDatasink(
            store=store, physical=made.physical, tenant=self._tenant, batch_size=settings.write_batch_size, board=board
        )
        embed_arguments = {
            "name": settings.embedder,
            "device": settings.embed_device,
            "dtype": settings.embed_dtype,
            "threads": settings.embed_threads,
            "actors": settings.embed_actors,
            "identity": files.identity,
            "board": board,
        }
        total = len(plan.new) + len(plan.changed)
        try:
            with (
                self._timed("index"),
                ray_data_context(),
                translated_ray_errors(),
                self._reporter.following(live, total=total, failed=failed),
            ):
                source_dataset([(by_id[source_id], skip) for source_id, skip in plan.sources.items()]).map_batches(
                    prepare,
                    batch_format="pyarrow",
                    zero_copy_batch=True,
                    fn_kwargs={"recipe": recipe, "board": board},
                    num_cpus=read_cpus(),
                ).map_batches(
                    EmbedChunks,
                    batch_format="pyarrow",
                    batch_size=settings.embed_batch_size,
                    compute=ActorPoolStrategy(size=settings.embed_actors),
                    fn_constructor_kwargs=embed_arguments,
                    num_cpus=embed_cpus(settings),
                    num_gpus=settings.embed_gpus or None,
                ).write_datasink(sink, ray_remote_args={"num_cpus": WRITE_CPUS})
            counts = live.update()
            if live.whole:
                self._seconds |= _busy_seconds(counts)
            return sink.outcome
        finally:
            board.close()

    def _finish(
        self, store: MilvusStore, made: Generation, plan: Plan, outcome: WriteOutcome, *, sync: bool
    ) -> tuple[int, int]:
        """Flush, then delete what was replaced, then let readers in; returns deleted chunks and documents."""
        with self._timed("finish"):
            if outcome.documents:
                store.flush(made.physical)
            replaced = {
                document_id: written.document_hash
                for document_id, written in outcome.documents.items()
                if document_id in plan.changed and written.rows >= written.chunk_count
            }
            deleted = 0
            for ids in _batches(sorted(replaced)):
                rows = store.scan(made.physical, tenant=self._tenant, document_ids=ids)
                deleted += store.delete_chunks(made.physical, stale_rows(rows, current=replaced))
            vanished = plan.vanished if sync else ()
            for ids in _batches(vanished):
                rows = store.scan(made.physical, tenant=self._tenant, document_ids=ids)
                deleted += store.delete_chunks(made.physical, [row.chunk_id for row in rows])
            store.point_alias(self._collection, made.physical)
        return deleted, len(vanished)

    def _report(
        self,
        made: Generation,
        plan: Plan,
        outcome: WriteOutcome,
        discovery: Discovery,
        failures: list[FailedDocument],
        deleted_chunks: int,
        deleted_documents: int,
    ) -> IndexReport:
        written = outcome.documents.keys()
        new, changed = len(plan.new & written), len(plan.changed & written)
        return IndexReport(
            documents=DocumentCounts(
                seen=new + changed + len(plan.unchanged) + len(failures),
                new=new,
                changed=changed,
                unchanged=len(plan.unchanged),
                deleted=deleted_documents,
                failed=len(failures),
            ),
            chunks=ChunkCounts(written=outcome.rows, deleted=deleted_chunks, embedded=outcome.rows),
            seconds=dict(self._seconds),
            collection=self._collection,
            generation=made.number,
            embedder=made.embedder,
            failures=tuple(sorted(failures, key=lambda failure: failure.uri)),
            vanished=plan.vanished,
            skipped=discovery.skipped,
        )

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[stage] = time.perf_counter() - began


def _busy_seconds(counts: Counts) -> dict[str, float]:
    return {"parse_busy": counts.parse_busy, "embed_busy": counts.embed_busy, "write_busy": counts.write_busy}


def _dimension(files: EmbedderFiles, settings: IndexerSettings) -> int:
    return files.dimension or Embedder(settings.embedder, settings.embed_device).dimension


def _batches(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), _DELETE_BATCH):
        yield ids[start : start + _DELETE_BATCH]
