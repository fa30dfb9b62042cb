"""The main step of a run: read, parse, chunk, embed and write the documents that changed, on Ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from indexer.board import Board
from indexer.progress import Counts, LiveCounts
from indexer.run.context import RunContext
from indexer.run.datasink import MilvusDatasink, WriteOutcome
from indexer.run.loading import failed_before, load_early
from indexer.run.parquet_datasink import ParquetDatasink
from indexer.run.pool import embedder_pool
from indexer.run.ray_data import (
    WRITE_CPUS,
    ray_data_context,
    read_cpus,
    readers,
    source_dataset,
    translated_ray_errors,
)
from indexer.run.refused import refused_documents
from indexer.run.reuse import StoredVectors
from indexer.run.stages import EmbedChunks, prepare
from indexer.run.state import Plan
from indexer.store.import_files import ImportFolder
from indexer.types import Generation, SourceFile


def write_documents(
    run: RunContext,
    plan: Plan,
    files: Sequence[SourceFile],
    *,
    made: Generation,
    tenant: str,
    failed: int,
    folder: ImportFolder | None = None,
) -> WriteOutcome:
    """Run the pipeline over the documents that changed; does nothing, and loads no model, where none did.

    Args:
        run: The run.
        plan: What changed.
        files: Files that the plan may name.
        made: Where to write.
        tenant: Whose documents these are.
        failed: Documents that failed before, for the live count.
        folder: Where to write files for an import instead of rows.

    Raises:
        UnavailableError: Milvus does not answer.
        GraftworkError: Ray stopped the run, or a worker could not go on.
    """
    if not plan.sources:
        _add_busy(run, Counts())
        run.seconds.setdefault("index", 0.0)
        return WriteOutcome()
    settings = run.settings
    by_id = {file.source_id: file for file in files}
    letters = run.store.read_letters(run.collection, tenant=tenant)
    uris = {source_id: file.uri for source_id, file in by_id.items()}
    board: Board[Counts] = Board()
    live = LiveCounts(board)
    sink: MilvusDatasink | ParquetDatasink
    if folder is not None:
        sink = ParquetDatasink(folder=folder, identity=made.identity, tenant=tenant, board=board)
    else:
        sink = MilvusDatasink(
            store=run.store, physical=made.physical, tenant=tenant, batch_size=settings.write_batch_size, board=board
        )
    stored = StoredVectors(store=run.store, physical=made.physical, tenant=tenant, alike=plan.alike)
    prepare_arguments = {
        "recipe": replace(run.recipe, tenant=tenant),
        "board": board,
        "stored": stored if plan.alike else None,
        "renamed": dict(plan.renamed),
    }
    pool = embedder_pool(settings)
    embed_arguments = {
        "settings": pool.actor_settings(settings),
        "identity": run.embedder.identity,
        "board": board,
        "batches": run.batches,
        "per_node": pool.per_node,
        "load_early": load_early(plan, failed=failed_before(letters, files=uris)),
    }
    total = len(plan.new) + len(plan.changed)
    try:
        with (
            run.timed("index"),
            ray_data_context(),
            translated_ray_errors(),
            run.reporter.following(live, total=total, failed=failed),
        ):
            source_dataset([(by_id[source_id], skip) for source_id, skip in plan.sources.items()]).map_batches(
                prepare,
                batch_format="pyarrow",
                zero_copy_batch=True,
                fn_kwargs=prepare_arguments,
                compute=readers(len(plan.sources)),
                num_cpus=read_cpus(),
            ).map_batches(
                EmbedChunks,
                batch_format="pyarrow",
                batch_size=settings.embed_batch_size,
                compute=pool.strategy,
                fn_constructor_kwargs=embed_arguments,
                num_cpus=pool.cpus,
                num_gpus=pool.gpus or None,
            ).write_datasink(sink, ray_remote_args={"num_cpus": WRITE_CPUS})
        counts = live.update()
        if live.whole:
            _add_busy(run, counts)
        sink.outcome.failures.extend(refused_documents(sink.outcome.refused, files=files))
        return sink.outcome
    finally:
        board.close()


def _add_busy(run: RunContext, counts: Counts) -> None:
    busy = {"parse_busy": counts.parse_busy, "embed_busy": counts.embed_busy, "write_busy": counts.write_busy}
    for stage, seconds in busy.items():
        run.seconds[stage] = run.seconds.get(stage, 0.0) + seconds
