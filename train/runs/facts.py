"""A run in words, for the command line and the page."""

from __future__ import annotations

import json

from pydantic import JsonValue

from train.runs.stored import Run

Facts = tuple[tuple[str, str], ...]


def facts(run: Run) -> Facts:
    """Return what is to be told of a run: labels and texts, without its settings."""
    record, result = run.record, run.record.result
    found = [
        ("state", shown_state(run)),
        ("adapter", shown_adapter(run)),
        ("base", record.base),
        ("datasets", f"{' '.join(record.datasets)}, {record.rows} rows an epoch"),
    ]
    if record.eval_datasets:
        found.append(("evaluation", " ".join(record.eval_datasets)))
    if record.sweep is not None:
        found.append(("sweep", record.sweep))
    found.append(("started", f"{record.started:%Y-%m-%d %H:%M:%S %Z}"))
    if record.resumed is not None:
        found.append(("resumed", f"{record.resumed:%Y-%m-%d %H:%M:%S %Z}"))
    found.append(("steps", shown_steps(run)))
    if run.first_loss is not None and run.last_loss is not None:
        found.append(("loss", f"{run.first_loss:.3f} -> {run.last_loss:.3f}"))
    if result is not None:
        if result.eval_loss is not None:
            found.append(("eval loss", f"{result.eval_loss:.3f}"))
        found += [(name, f"{score:g}") for name, score in sorted(result.scores.items()) if name != "eval_loss"]
        found.append(("tokens", f"{result.tokens} at {result.tokens_per_s:.0f} per second"))
        found.append(("time", f"{result.seconds:.0f} s, {result.train_seconds:.0f} s of them in steps"))
    return tuple(found)


def shown_adapter(run: Run) -> str:
    """Return the version that was published, or the name alone."""
    result = run.record.result
    return run.record.adapter if result is None or result.adapter is None else result.adapter


def shown_state(run: Run) -> str:
    """Return the state with its reason."""
    if run.state == "unknown":
        return f"unknown: last seen running on {run.record.driver.host}"
    return run.state if run.record.reason is None else f"{run.state}: {run.record.reason}"


def shown_steps(run: Run) -> str:
    """Return how many steps were taken of how many."""
    if run.planned_steps is None:
        return "none yet"
    early = " (stopped early)" if run.record.result and run.record.result.stopped_early else ""
    return f"{run.steps} of {run.planned_steps}{early}"


def shown_value(value: JsonValue) -> str:
    """Return a setting's value as text: words as they are, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
