"""graftwork index."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from deploy.cli.context import cli_context, notes, print_json, quiet_stdout, results
from deploy.cli.lifecycle import JsonOption
from indexer.errors import InputError, PartialError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from deploy.settings import Settings
    from indexer.run.report import IndexProgress, IndexReport, NewGeneration
    from indexer.settings import IndexerSettings
    from indexer.sources.discovery import Discovery


@dataclass(frozen=True, slots=True)
class IndexOptions:
    """What `index` is told beside its sources."""

    collection: str
    tenant: str | None
    sync: bool
    allow_missing: bool
    new_generation: bool
    questions: Path | None


def register(app: typer.Typer) -> None:
    """Adds the verb."""
    app.command()(index)


def index(
    context: typer.Context,
    collection: Annotated[str, typer.Option(help="Alias of the collection; made when missing.")],
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SOURCE", help="Files, folders, 'docs/**/*.md'; s3://, gs:// and az:// URIs."),
    ] = None,
    from_list: Annotated[
        list[str] | None, typer.Option(metavar="FILE", help="More of them, one per line; - reads standard input.")
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Only these, as in a .gitignore, such as '*.md'.")
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option(metavar="PATTERN", help="Not these, such as 'drafts/'.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Whose documents these are [the setting default_tenant].")] = None,
    sync: Annotated[bool, typer.Option("--sync", help="Delete documents whose file is gone.")] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Let a new generation go without what cannot be read again.")
    ] = False,
    new_generation: Annotated[
        bool, typer.Option(help="Build a new generation where embedder, chunker or schema differ; else refuse.")
    ] = True,
    questions: Annotated[
        Path | None, typer.Option(help="JSON lines (question, gold) that a new generation must answer.")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Only what failed before (`documents failed`); takes no SOURCE.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Stay, and index again whenever the folders change.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Index documents into a collection; unchanged ones cost nothing. Exit code 3: some documents failed.

    Where embedder, chunker or schema differ from the live generation, the next one is built beside it with all of its
    documents, verified, and takes its place.
    """
    settings = cli_context(context).load().settings
    from indexer.run.retrying import check_retry
    from indexer.sources.discovery import discover

    def find() -> Discovery:
        return discover(sources or [], lists=from_list or [], include=include or [], exclude=exclude or [])

    options = IndexOptions(collection, tenant, sync, allow_missing, new_generation, questions)
    if retry_failed:
        check_retry(sources=bool(sources or from_list or include or exclude), watch=watch)
    if watch:
        _watch(find, given=sources or [], lists=from_list or [], settings=settings, options=options, json=json_output)
        return
    found = None
    if not retry_failed:
        with notes().status("looking for documents"):
            found = find()
    with quiet_stdout(json_output), _indexing(settings, options) as indexing:
        report = indexing.run(found or indexing.failed())
    if json_output:
        print_json(report.to_json())
    else:
        _print_report(report)
    _print_failures(report)
    if report.failures:
        raise PartialError(
            f"{report.documents.failed} of {report.documents.seen} documents failed and were left out of "
            f"{report.collection!r}; the others are indexed."
        )


def _watch(
    find: Callable[[], Discovery],
    *,
    given: Sequence[str],
    lists: Sequence[str],
    settings: Settings,
    options: IndexOptions,
    json: bool,
) -> None:
    from deploy.cli.watch import index_on_change, summary
    from deploy.local.interrupts import remembered_interrupt
    from indexer.sources.changes import following, watched_folders

    if lists:
        raise InputError("--watch and --from-list do not go together; give the folders themselves.")

    def tell(report: IndexReport, out: TextIO) -> None:
        if json:
            print_json(report.to_json(), out=out)
        elif _did_something(report):
            results().print(summary(report), markup=False)
        _print_failures(report)

    folders = watched_folders(given)
    find()
    with (
        quiet_stdout(json) as out,
        following(folders) as changes,
        _indexing(settings, options) as indexing,
        remembered_interrupt(changes.tell) as check,
    ):
        index_on_change(changes, run=lambda: indexing.run(find()), tell=lambda report: tell(report, out), check=check)


@contextmanager
def _indexing(settings: Settings, options: IndexOptions) -> Iterator[_Indexing]:
    """Yield what indexes, in a Ray and a Milvus that are there for the length of the block."""
    from deploy.local.runtime import runtime

    with ExitStack() as stack:
        with notes().status("connecting to Ray and Milvus; starting them for this command if no instance is up"):
            found = stack.enter_context(runtime(settings))
        yield _Indexing(found.indexer, options)


@dataclass(frozen=True, slots=True)
class _Indexing:
    """A Ray and a Milvus that are there, and what `index` was told."""

    settings: IndexerSettings
    options: IndexOptions

    @property
    def tenant(self) -> str:
        return self.options.tenant or self.settings.default_tenant

    def run(self, sources: Discovery) -> IndexReport:
        from indexer.run.pipeline import run_index

        with _progress_bar(notes()) as bar:
            task = bar.add_task("looking for documents", total=None, note="")
            return run_index(
                sources,
                collection=self.options.collection,
                tenant=self.tenant,
                settings=self.settings,
                progress=lambda progress: _show(progress, bar=bar, task=task),
                sync=self.options.sync,
                allow_missing=self.options.allow_missing,
                allow_new_generation=self.options.new_generation,
                questions=self.options.questions,
            )

    def failed(self) -> Discovery:
        """The files whose documents failed before.

        Raises:
            NotFoundError: None did, or there is no such collection.
        """
        from indexer.run.retrying import retried_sources
        from indexer.search import open_store

        return retried_sources(open_store(self.settings), self.options.collection, tenant=self.tenant)


def _did_something(report: IndexReport) -> bool:
    documents = report.documents
    return bool(documents.new or documents.changed or documents.deleted or report.built or report.failures)


def _print_failures(report: IndexReport) -> None:
    for failure in report.failures:
        notes().print(f"failed ({failure.stage}): {failure.uri}: {failure.reason}", markup=False)


def _progress_bar(console: Console) -> Progress:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )


def _show(progress: IndexProgress, *, bar: Progress, task: TaskID) -> None:
    failed = f", {progress.failed} failed" if progress.failed else ""
    bar.update(
        task,
        description=progress.stage,
        completed=progress.documents,
        total=progress.documents_total or None,
        note=f"{progress.documents}/{progress.documents_total} documents, "
        f"{progress.chunks_written} chunks{progress.pace}{failed}",
    )


def _print_report(report: IndexReport) -> None:
    output, documents = results(), report.documents
    renamed = f" ({len(report.renamed)} renamed)" if report.renamed else ""
    output.print(f"collection  {report.collection}, generation {report.generation}")
    if report.built is not None:
        _print_built(report.built, output=output)
    output.print(
        f"documents   {documents.seen} seen: {documents.new} new, {documents.changed} changed{renamed}, "
        f"{documents.unchanged} unchanged, {documents.failed} failed; {documents.deleted} deleted"
    )
    chunks = report.chunks
    output.print(f"chunks      {chunks.written} written, {chunks.deleted} deleted, {chunks.embedded} embedded")
    output.print(f"seconds     {', '.join(f'{stage} {seconds:.1f}' for stage, seconds in report.seconds.items())}")
    if report.vanished:
        output.print(f"gone        {len(report.vanished)} documents have no file any more; --sync deletes them")
    if report.dead_letters:
        output.print(f"failed      {report.dead_letters} documents wait to be mended; see `graftwork documents failed`")
    for reason, count in report.skipped.items():
        output.print(f"skipped     {count}: {reason}", markup=False)


def _print_built(built: NewGeneration, *, output: Console) -> None:
    verified = built.verification
    if built.replaces is not None:
        output.print(f"new         replaces generation {built.replaces}: {'; '.join(built.because)}", markup=False)
    recall = "" if verified.recall is None else f", index recall {verified.recall:.3f} on {verified.sample} searches"
    hits = "" if verified.hits is None else f", {verified.hits:.3f} of {verified.questions} golden questions"
    output.print(f"verified    {verified.chunks} chunks counted{recall}{hits}", markup=False)
