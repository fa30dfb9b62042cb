"""`python -m indexer SOURCE... --collection C`, the form that a Ray job runs.

Settings come from the environment, `GRAFTWORK_INDEXER__MILVUS_URI` and so on, and from the flags here. Ray is the
cluster at RAY_ADDRESS, or a local one for this run. Progress goes to standard error; the last line of standard output
is the summary in JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import ray
from pydantic import ValidationError
from pymilvus.exceptions import MilvusException

from indexer.environment import section_values
from indexer.errors import GraftworkError, InputError, PartialError, UnavailableError, from_system
from indexer.run.pipeline import run_index
from indexer.run.report import IndexProgress, IndexReport
from indexer.run.retrying import check_retry, retried_sources
from indexer.search import open_store
from indexer.settings import IndexerSettings
from indexer.sources.discovery import Discovery, discover
from indexer.store.connection import probe, refusal_of

INTERRUPTED = 130
EXIT_CODES = (
    "Exit codes: 0 done, 1 failed, 2 bad input, 3 done but some documents failed, 4 something is not reachable, "
    "5 conflict, 6 not found, 130 interrupted."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Index and return the exit code."""
    parsed = _parser().parse_args(arguments)
    try:
        settings = settings_from(os.environ, milvus_uri=parsed.milvus_uri, embedder=parsed.embedder)
        if parsed.retry_failed:
            check_retry(sources=bool(parsed.sources or parsed.from_list or parsed.include or parsed.exclude))
        found = None if parsed.retry_failed else _discovered(parsed)
        probe(settings.milvus_uri)
        tenant = parsed.tenant or settings.default_tenant
        if found is None:
            found = retried_sources(open_store(settings), parsed.collection, tenant=tenant)
        _connect_ray()
        report = run_index(
            found,
            collection=parsed.collection,
            tenant=tenant,
            settings=settings,
            progress=_Lines().show,
            sync=parsed.sync,
            allow_missing=parsed.allow_missing,
            allow_new_generation=not parsed.no_new_generation,
            questions=Path(parsed.questions) if parsed.questions else None,
        )
        print(json.dumps(report.to_json(), ensure_ascii=False), flush=True)
        _raise_partial(report)
    except (GraftworkError, OSError, MilvusException) as caught:
        error = _ours(caught)
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; what was written is kept, run the same command again to continue", file=sys.stderr)
        return INTERRUPTED
    return 0


def _ours(error: GraftworkError | OSError | MilvusException) -> GraftworkError:
    if isinstance(error, OSError):
        return from_system(error)
    return refusal_of(error) if isinstance(error, MilvusException) else error


def _discovered(parsed: argparse.Namespace) -> Discovery:
    return discover(parsed.sources, lists=parsed.from_list, include=parsed.include, exclude=parsed.exclude)


def settings_from(environment: Mapping[str, str], *, milvus_uri: str | None, embedder: str | None) -> IndexerSettings:
    """Return the settings: flags before environment before defaults.

    Raises:
        InputError: An unknown or impossible value; the sentence names it.
    """
    values = section_values(environment, "indexer")
    values |= {name: flag for name, flag in (("milvus_uri", milvus_uri), ("embedder", embedder)) if flag is not None}
    try:
        return IndexerSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"Setting indexer{'.' if where else ''}{where}: {first['msg']}.") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m indexer", description="Index documents into a Milvus collection.", epilog=EXIT_CODES
    )
    parser.add_argument(
        "sources", nargs="*", metavar="SOURCE",
        help="files, folders, patterns ('docs/**/*.md') and s3://, gs:// or az:// URIs, readable by every Ray node",
    )  # fmt: skip
    parser.add_argument(
        "--from-list", action="append", default=[], metavar="FILE", help="more of them, one per line; - reads them here"
    )
    parser.add_argument(
        "--include", action="append", default=[], metavar="PATTERN", help="only these, as in a .gitignore, such as *.md"
    )
    parser.add_argument(
        "--exclude", action="append", default=[], metavar="PATTERN", help="not these, such as drafts/ or *.min.html"
    )
    parser.add_argument("--collection", required=True, help="alias of the collection; made when missing")
    parser.add_argument("--tenant", help="whose documents these are (default: the setting default_tenant)")
    parser.add_argument("--milvus-uri", help="Milvus server, such as http://milvus:19530")
    parser.add_argument("--embedder", help="sentence-transformers model, a name or a folder")
    parser.add_argument("--retry-failed", action="store_true", help="only what failed before; takes no SOURCE")
    parser.add_argument("--sync", action="store_true", help="delete documents whose file is gone")
    parser.add_argument(
        "--allow-missing", action="store_true", help="let a new generation go without what cannot be read again"
    )
    parser.add_argument(
        "--no-new-generation", action="store_true", help="refuse where embedder, chunker or schema differ"
    )
    parser.add_argument("--questions", help="JSON lines (question, gold) that a new generation must answer")
    return parser


def _connect_ray() -> None:
    if ray.is_initialized():
        return
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ray.exceptions.RayError) as error:
        address = os.environ.get("RAY_ADDRESS", "local")
        raise UnavailableError(f"Ray at {address} cannot be reached ({_first_line(error)}); start it first.") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _raise_partial(report: IndexReport) -> None:
    if not report.failures:
        return
    for failure in report.failures:
        print(f"failed ({failure.stage}): {failure.uri}: {failure.reason}", file=sys.stderr)
    raise PartialError(
        f"{report.documents.failed} of {report.documents.seen} documents failed and were left out of "
        f"{report.collection!r}; the others are indexed."
    )


class _Lines:
    """Progress as lines, at most one every two seconds per stage, so that a job's log stays readable."""

    _EVERY_S = 2.0

    def __init__(self) -> None:
        self._stage = ""
        self._at = 0.0

    def show(self, progress: IndexProgress) -> None:
        if progress.stage == self._stage and progress.seconds - self._at < self._EVERY_S:
            return
        self._stage, self._at = progress.stage, progress.seconds
        print(
            f"[{progress.seconds:7.1f}s] {progress.stage}: {progress.documents}/{progress.documents_total} documents, "
            f"{progress.chunks_written}/{progress.chunks} chunks{progress.pace}, {progress.failed} failed",
            file=sys.stderr,
            flush=True,
        )
