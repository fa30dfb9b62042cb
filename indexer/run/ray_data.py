"""How the indexer uses Ray Data: partitions, CPU shares, a quiet terminal, and errors a user can read."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray.data import DataContext, Dataset, TaskPoolStrategy

from indexer.errors import GraftworkError
from indexer.run.tables import sources_to_rows
from indexer.types import SourceFile

WRITE_CPUS = 0.25  # writing waits for Milvus
_FILES_PER_BLOCK = 16  # a block leaves a task when the task ends; small ones keep the embedder fed from the start
_BLOCKS_PER_CPU = 4


def source_dataset(sources: list[tuple[SourceFile, tuple[str, ...]]]) -> Dataset:
    """Return the files, each with the keys inside it to pass over, in blocks that keep all of the cluster busy."""
    blocks = min(len(sources), max(int(_cluster_cpus()) * _BLOCKS_PER_CPU, -(-len(sources) // _FILES_PER_BLOCK)))
    return ray.data.from_items(sources_to_rows(sources), override_num_blocks=blocks)


def read_cpus() -> float:
    """Return the CPUs per reading task.

    Never what an embedding actor reserves: Ray Data would fuse the two and parse inside the actor.
    """
    return min(0.75, _cluster_cpus() / 5)


def readers(files: int) -> TaskPoolStrategy:
    """Return how many tasks read files at once: no more than cores, nor than there are files.

    Where one node is all there is, its declared CPUs may be more than its cores (`deploy.logical_cpus`); each further
    task would start a worker, which costs seconds of a core.
    """
    cores = len(os.sched_getaffinity(0)) if len(ray.nodes()) == 1 else int(_cluster_cpus())
    return TaskPoolStrategy(size=max(1, min(files, cores, int(_cluster_cpus()))))


def _cluster_cpus() -> float:
    return float(ray.cluster_resources().get("CPU", 1))


@contextmanager
def ray_data_context() -> Iterator[None]:
    """Keep Ray Data's own bars, plans and traces off the user's terminal, and our errors as we raised them."""
    context, ray_logger = DataContext.get_current(), logging.getLogger("ray.data")
    before = context.enable_progress_bars, context.raise_original_map_exception, ray_logger.level
    context.enable_progress_bars, context.raise_original_map_exception = False, True
    ray_logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        context.enable_progress_bars, context.raise_original_map_exception, level = before
        ray_logger.setLevel(level)


@contextmanager
def translated_ray_errors() -> Iterator[None]:
    """Turn what a worker raised back into our own error, and anything else of Ray's into one sentence."""
    try:
        yield
    except ray.exceptions.RayError as error:
        own = _own_cause(error)
        if own is not None:
            first_line = str(own).splitlines()[0]  # Ray adds advice of its own below
            raise type(own)(f"{first_line} What was written is kept; run the same command again to go on.") from error
        raise GraftworkError(
            f"Ray stopped the run ({_telling_line(error)}); "
            "what was written is kept, run the same command again to go on."
        ) from error


def _telling_line(error: BaseException) -> str:
    """Return the line of a Ray error that names the exception: the last that is not indented, as in any traceback."""
    lines = [
        line for line in str(error).splitlines() if line.strip() and not line.startswith((" ", "To ", "Failed to "))
    ]
    return lines[-1].strip()[:300] if lines else type(error).__name__


def _own_cause(error: BaseException) -> GraftworkError | None:
    seen: list[BaseException] = []
    pending: list[BaseException | None] = [error]
    while pending:
        current = pending.pop()
        if current is None or any(current is other for other in seen):
            continue
        if isinstance(current, GraftworkError) and not isinstance(current, ray.exceptions.RayError):
            return current
        seen.append(current)
        pending += [getattr(current, "cause", None), current.__cause__, current.__context__]
    return None
