"""One run of the indexer, from paths to a searchable collection."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import ray

from indexer.board import Board
from indexer.chunking.chunks import chunker_settings
from indexer.chunking.tokens import load_tokenizer
from indexer.embedding.files import EmbedderFiles, resolve_embedder
from indexer.errors import ConflictError, UnavailableError
from indexer.evaluation.questions import read_questions
from indexer.identity import pipeline_hash
from indexer.names import check_alias
from indexer.parsers import PARSER_VERSIONS
from indexer.progress import Counts, EmbeddedBatch, Reporter
from indexer.run.building import build_generation
from indexer.run.context import RunContext
from indexer.run.dead_letters import letters_in_any_case, settle_letters
from indexer.run.importing import check_imports
from indexer.run.report import IndexProgress, IndexReport, NewGeneration
from indexer.run.result import Share, report_of
from indexer.run.stages import Recipe
from indexer.run.target import Target, choose_target
from indexer.run.updating import update_live
from indexer.search import open_store
from indexer.settings import IndexerSettings
from indexer.sources.discovery import Discovery, discover
from indexer.store.expressions import check_tenant
from indexer.store.holding import holding
from indexer.store.milvus import MilvusStore
from indexer.store.schema import SCHEMA_VERSION
from indexer.store.upkeep import forget_rollback
from indexer.types import Identity


def run_index(
    sources: Sequence[str | Path] | Discovery,
    *,
    collection: str,
    tenant: str,
    settings: IndexerSettings,
    progress: Callable[[IndexProgress], None] | None = None,
    sync: bool = False,
    allow_missing: bool = False,
    allow_new_generation: bool = True,
    questions: Path | None = None,
    batches: Board[EmbeddedBatch] | None = None,
) -> IndexReport:
    """Index files and folders into a collection, in the initialised Ray.

    Documents that are stored already, unchanged, are neither parsed nor embedded. The new chunks of a changed document
    are written and flushed before its old ones are deleted. A run that was interrupted is taken up by running again.
    One bad document does not stop a run: it is in the report.

    Where the settings have another embedder, chunker or schema than the live generation, the next one is built beside
    it, with every document of the live one, and takes its place when it has passed.

    Args:
        sources: Paths, patterns and URIs, or what `discover` found with the user's lists and patterns.
        collection: Alias; made at the end of its first run.
        tenant: Whose documents these are.
        settings: Where and how.
        progress: Called now and then, from a thread of its own.
        sync: Delete documents of these folders whose file is gone; otherwise they are only reported.
        allow_missing: Let a new generation go without documents of the live one that cannot be read again.
        allow_new_generation: Otherwise other settings than those of the live generation are refused.
        questions: Golden questions that a new generation must answer, as in `indexer.evaluation.questions`.
        batches: Where the embedding actors tell of every call, for those who measure them.

    Raises:
        NotFoundError: A path, bucket or object does not exist.
        InputError: Nothing to index, an unreadable folder, a bad setting, or imports of a server that has none.
        ConflictError: Another process writes there; or a document's id is that of another file that is stored and still
            exists; or a new generation would lose documents, or did not pass, or is not allowed.
        UnavailableError: Ray is not initialised, or Milvus, the embedder or an object store cannot be reached.
        GraftworkError: Ray stopped the run.
    """
    check_alias(collection)
    check_tenant(tenant)
    reporter, began, seconds = Reporter(progress), time.perf_counter(), dict[str, float]()
    asked = [question for _, question in read_questions(questions)] if questions is not None else []
    reporter.tell("discover")
    discovery = sources if isinstance(sources, Discovery) else discover(sources)
    seconds["discover"] = discovery.seconds
    if not ray.is_initialized():
        raise UnavailableError("Ray is not initialised; call ray.init() or start it with `graftwork up`.")
    opened, files = open_store(settings), resolve_embedder(settings.embedder)
    check_imports(opened, settings)
    recipe = _recipe(settings, files, tenant=tenant)

    def choose(store: MilvusStore) -> Target:
        return _target(store, collection, recipe=recipe, files=files, allow_new=allow_new_generation)

    before = choose(opened)
    opened.close()
    store = opened.another(patient=True)  # it has answered: from here on the run outlasts its restart
    with holding(store, collection, tenant=tenant if before.in_place else "") as lease:
        target = choose(store)
        if (target.number, target.in_place) != (before.number, before.in_place):
            raise ConflictError(f"Collection {collection!r} was changed just as this run began; run it again.")
        if target.live is not None:
            forget_rollback(store, target.live)
        run = RunContext(
            collection=collection,
            settings=settings,
            store=store,
            embedder=files,
            recipe=recipe,
            lease=lease,
            reporter=reporter,
            batches=batches,
            seconds=seconds,
        )
        shares: Sequence[Share]
        built: NewGeneration | None = None
        with letters_in_any_case(run):
            if target.live is not None and target.in_place:
                made, shares = target.live, [update_live(run, discovery, made=target.live, sync=sync)]
            else:
                build = build_generation(
                    run, discovery, target=target, sync=sync, allow_missing=allow_missing, questions=asked
                )
                made, shares = build.made, build.shares
                built = NewGeneration(
                    replaces=target.live.number if target.live else None,
                    because=target.because,
                    verification=build.verification,
                )
        standing = settle_letters(run, discovery, shares)
    store.close()
    seconds["total"] = time.perf_counter() - began
    report = report_of(
        shares, made=made, built=built, seconds=seconds, skipped=discovery.skipped, dead_letters=standing
    )
    reporter.tell("done", counts=_whole(shares), failed=report.documents.failed)
    return report


def _target(store: MilvusStore, collection: str, *, recipe: Recipe, files: EmbedderFiles, allow_new: bool) -> Target:
    return choose_target(
        store.generations(collection),
        live=store.resolve(collection),
        alias=collection,
        wanted=Identity(
            embedder=files.identity,
            dimension=files.dimension or 0,
            chunker=recipe.chunker.identity,
            parsers=PARSER_VERSIONS,
            schema=SCHEMA_VERSION,
        ),
        allow_new=allow_new,
    )


def _recipe(settings: IndexerSettings, files: EmbedderFiles, *, tenant: str) -> Recipe:
    tokenizer = load_tokenizer(files.path)
    chunker = chunker_settings(
        settings,
        max_tokens=files.max_tokens,
        special_tokens=tokenizer.special_tokens,
        prompt_tokens=tokenizer.count_ahead(files.document_prompt),
        blank_line_tokens=tokenizer.blank_line_tokens,
    )
    return Recipe(
        tenant=tenant,
        pipeline=pipeline_hash(
            parsers=PARSER_VERSIONS, chunker=chunker.identity, embedder=files.identity.rpartition("@")[2]
        ),
        chunker=chunker,
        embedder=settings.embedder,
        tokenizer=files.path,
        max_document_bytes=settings.max_document_bytes,
        parse_timeout_s=settings.parse_timeout_s,
    )


def _whole(shares: Sequence[Share]) -> Counts:
    counts = Counts()
    for share in shares:
        counts = counts.plus(share.counts)
    return counts
