"""What is asked for when examples are written, and everything about it that can be refused before a request is made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast
from urllib.parse import urlsplit

from pydantic import JsonValue

from indexer.errors import ConflictError, InputError, NotFoundError
from train.base_model import BaseModelFiles

# What the pipeline itself decides of a request.
_OURS = ("model", "messages", "stream", "stream_options", "n")
# Arguments of vLLM that something else decides, and what.
_OWNED_ARGUMENTS = {
    "model": "--offline",
    "tokenizer": "--offline",
    "max_num_seqs": "--concurrency",
    "enable_log_requests": "the run itself: no request is logged",
    "runner": "the run itself",
    "task_type": "the run itself",
}
_MOST_QUESTIONS, _MOST_PASSAGES, _MOST_CONCURRENT = 20, 50, 1024


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where questions and answers come from.

    Attributes:
        url: OpenAI endpoint, such as `http://127.0.0.1:8000/v1`.
        model: Model name there.
        api_key: What it asks for.
        concurrency: Requests under way at once.
        retries: How often a request is made again after 429, 5xx, a time-out or a lost connection.
        timeout_s: Seconds that one try may take.
        give_up_after: Requests that fail in a row before all is given up.
        fields: More fields of every request; one that is null is left out, ours among them.
    """

    url: str
    model: str
    api_key: str = field(repr=False)
    concurrency: int = 4
    retries: int = 5
    timeout_s: float = 120.0
    give_up_after: int = 5
    fields: dict[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Offline:
    """The model that questions and answers come from, without a server.

    Attributes:
        base: Its checkpoint, at a path that all nodes with engines have.
        accelerator: Where its engines run.
        engines: How many; None takes one on the CPU, or one on each free GPU.
        concurrency: Requests that one engine works on at once.
        give_up_after: Requests that fail in a row before all is given up.
        fields: Sampling parameters of vLLM for every request; one that is null is left out, ours among them.
        engine: Arguments of vLLM.
        environment: Environment variables of the engine processes.
    """

    base: BaseModelFiles
    accelerator: Literal["cpu", "gpu"]
    engines: int | None = None
    concurrency: int = 32
    give_up_after: int = 5
    fields: dict[str, JsonValue] = field(default_factory=dict)
    engine: dict[str, JsonValue] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Raft:
    """Rows with distractors: share of those that do not show their golden chunk."""

    without_golden: float = 0.2


@dataclass(frozen=True, slots=True)
class ExamplesRequest:
    """What to write.

    Attributes:
        out: File of the training rows; evaluation rows and the journal lie beside it.
        chunks: How many chunks are asked about.
        questions_per_chunk: Questions about each of them, at most.
        passages: That an answer is given from, and that a RAFT row shows.
        prompt: Prompt of the specialist that will be taught; it stands in every row.
        eval_share: Share of documents whose rows are for evaluation.
        grounded: Share of an answer's content words that have to be in its passages.
        closed_book: Token F1 from which an answer without passages says the same; None asks for none.
        raft: Rows with distractors; None writes question and answer alone.
        seed: Of every draw.
        max_tokens: Longest answer, in tokens.
    """

    out: Path
    chunks: int = 100
    questions_per_chunk: int = 3
    passages: int = 4
    prompt: str | None = None
    eval_share: float = 0.1
    grounded: float = 0.8
    closed_book: float | None = None
    raft: Raft | None = None
    seed: int = 0
    max_tokens: int = 512

    @property
    def eval_out(self) -> Path:
        """File of the evaluation rows: `rows.jsonl` has `rows.eval.jsonl`."""
        return self.out.with_name(f"{self.out.stem}.eval{self.out.suffix}")

    @property
    def journal(self) -> Path:
        """File of what was asked."""
        return self.out.with_name(f"{self.out.name}.work")


def check_request(request: ExamplesRequest, teacher: Endpoint | Offline) -> None:
    """See that the work can be begun.

    Raises:
        InputError: A value is out of range, or the model has no chat template.
        NotFoundError: The output's folder is not there.
        ConflictError: The output is there and was not written from a journal beside it.
    """
    if isinstance(teacher, Endpoint):
        _check_endpoint(teacher)
    else:
        _check_offline(teacher)
    _within("--concurrency", teacher.concurrency, 1, _MOST_CONCURRENT)
    _within("--give-up-after", teacher.give_up_after, 1, 1_000_000)
    if taken := [name for name in _OURS if name in teacher.fields]:
        raise InputError(f"--fields sets {taken[0]!r}, which is not for it to set.")
    _within("--chunks", request.chunks, 1, 1_000_000)
    _within("--questions-per-chunk", request.questions_per_chunk, 1, _MOST_QUESTIONS)
    _within("--passages", request.passages, 1, _MOST_PASSAGES)
    _within("--max-tokens", request.max_tokens, 1, 1_000_000)
    _within("--grounded", request.grounded, 0, 1)
    if not 0 <= request.eval_share < 1:
        raise InputError(f"--eval-share is {request.eval_share:g}; give 0 to below 1.")
    if request.closed_book is not None and not 0 < request.closed_book <= 1:
        raise InputError(f"--closed-book-f1 is {request.closed_book:g}; give a number above 0, up to 1.")
    if request.raft is not None:
        _within("--without-golden", request.raft.without_golden, 0, 1)
        if request.passages < 2:
            raise InputError("--raft shows a golden chunk among others; give --passages 2 or more.")
    _check_out(request)


def _check_endpoint(endpoint: Endpoint) -> None:
    if not endpoint.model.strip():
        raise InputError("--model is blank; name a model of the endpoint.")
    try:
        parts = urlsplit(endpoint.url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid:
        raise InputError(f"--base-url is {endpoint.url!r}; give an address such as https://host/v1.")
    _within("--retries", endpoint.retries, 0, 100)
    _within("--timeout", endpoint.timeout_s, 0.1, 86_400)


def _check_offline(offline: Offline) -> None:
    if offline.base.chat_template_hash is None:
        raise InputError(f"{offline.base.name} has no chat template; name an instruct model with --offline.")
    if offline.engines is not None:
        _within("--engines", offline.engines, 1, _MOST_CONCURRENT)
    if owned := [name for name in offline.engine if name in _OWNED_ARGUMENTS]:
        raise InputError(f"--engine sets {owned[0]!r}, which is set by {_OWNED_ARGUMENTS[owned[0]]}.")
    limit = offline.fields.get("max_tokens", 1)
    if not isinstance(limit, int) or limit < 1:
        raise InputError(f"--fields sets max_tokens to {limit!r}, and an engine needs a number; give --max-tokens.")


def _within(option: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InputError(f"{option} is {value:g}; give {low:g} to {high:g}.")


def _check_out(request: ExamplesRequest) -> None:
    out = request.out
    if not out.name or out.is_dir():
        raise InputError(f"--out {out} is a folder; name a file, such as {out / 'rows.jsonl'}.")
    if not out.parent.is_dir():
        raise NotFoundError(f"There is no folder {out.parent} for --out; make it, or name another.")
    resumed = request.journal.exists()
    for path in (out, request.eval_out):
        if path.exists() and not resumed:
            raise ConflictError(f"{path} exists, and not from a run that can be gone on with; name another --out.")
    if request.eval_share == 0 and request.eval_out.exists():
        raise ConflictError(
            f"{request.eval_out} is of a run with an --eval-share above 0, and its documents would be learned now; "
            "delete it, or name another --out."
        )


def request_fields(given: Mapping[str, JsonValue], *, max_tokens: int) -> dict[str, JsonValue]:
    """Return the fields of every request besides model and messages; those set to null are left out."""
    fields: dict[str, JsonValue] = {"max_tokens": max_tokens, "temperature": 0.0, **given}
    return {name: value for name, value in fields.items() if value is not None}


def parse_fields(text: str, *, option: str = "--fields") -> dict[str, JsonValue]:
    """Read an option that is a JSON object.

    Raises:
        InputError: It is none.
    """
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{option} {text[:60]!r} is not JSON: {error}.") from error
    if not isinstance(given, dict):
        raise InputError(f"{option} {text[:60]!r} is no object; write it as '{{\"seed\": 1}}'.")
    return cast(dict[str, JsonValue], given)
