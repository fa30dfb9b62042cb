"""The client of the measurement: so many streams at once against a server of this machine, cheap on its CPUs."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

import aiohttp

from indexer.errors import InputError, UnavailableError
from serve.bench.figures import Answered, Run, run_of
from serve.bench.prompts import Prompts
from serve.bench.stream import StreamTimes

_OK = 200
_LONGEST_ERROR = 200
# What an ingress answers while it has not heard of its replicas.
_NOT_YET = (404, 500, 502, 503)
_POLL_S = 0.5
# One request may take this long; a server that hangs ends the measurement, not the evening.
_REQUEST_LIMIT_S = 300.0
_FEWEST, _PER_PLACE, _MOST = 30, 5, 480


@dataclass(frozen=True, slots=True)
class Target:
    """A server that is asked.

    Attributes:
        url: Its root, on a loopback address.
        key: The key that is sent.
        models: Model name by kind of traffic.
    """

    url: str
    key: str
    models: dict[str, str]

    def __post_init__(self) -> None:
        """Refuse every address but the loopback's: nobody else's server is to be loaded."""
        host = urlsplit(self.url).hostname or ""
        if not (host == "localhost" or (host.replace(".", "").isdigit() and ip_address(host).is_loopback)):
            raise InputError(f"Only servers of this machine are loaded, and {self.url} is none; give 127.0.0.1.")


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent to each server.

    Attributes:
        concurrency: Requests that are under way at once, a run for each.
        input_tokens: Tokens of a prompt.
        output_tokens: Tokens of an answer, all of which are generated.
        repeats: Runs of each kind.
        seed: Of the prompts.
    """

    concurrency: tuple[int, ...]
    input_tokens: int
    output_tokens: int
    repeats: int
    seed: int = 0


def requests_of(concurrency: int) -> int:
    """Requests of one run: enough for a median, and several turns of every place."""
    return min(_MOST, max(_FEWEST, _PER_PLACE * concurrency))


async def measure(
    target: Target, load: Load, *, count_tokens: Callable[[str], int], tell: Callable[[str], None]
) -> tuple[Run, ...]:
    """Warm a server up and run all of the load against it.

    Args:
        target: The server.
        load: What is sent.
        count_tokens: Counts a text's tokens by the model's tokenizer.
        tell: Takes what is being done.
    """
    prompts = Prompts(seed=load.seed, tokens=load.input_tokens, count_tokens=count_tokens)
    runs: list[Run] = []
    async with _session(target) as session:
        for traffic, model in target.models.items():
            for concurrency in load.concurrency:
                tell(f"{traffic} traffic, {concurrency} at once: warming up")
                ask = _Asker(session, model=model, output_tokens=load.output_tokens)
                await _run(ask, prompts.take(max(4, 2 * concurrency)), concurrency)
                repeats: list[list[Answered]] = []
                cpu_s, seconds = 0.0, 0.0
                for repeat in range(load.repeats):
                    tell(f"{traffic} traffic, {concurrency} at once: run {repeat + 1} of {load.repeats}")
                    given = prompts.take(requests_of(concurrency))
                    cpu, began = time.process_time(), time.perf_counter()
                    repeats.append(await _run(ask, given, concurrency))
                    cpu_s += time.process_time() - cpu
                    seconds += time.perf_counter() - began
                runs.append(
                    run_of(repeats, traffic=traffic, concurrency=concurrency, client_cpu_s=cpu_s, seconds=seconds)
                )
    return tuple(runs)


async def wait_until_answering(
    target: Target, *, limit_s: float, problem: Callable[[], str | None] = lambda: None
) -> None:
    """Return once each model gave a token.

    Args:
        target: The server.
        limit_s: Seconds to wait at most.
        problem: Says why it will never answer, where it is known.

    Raises:
        UnavailableError: It did not answer in time, refused, or `problem` said why.
    """
    deadline = time.monotonic() + limit_s
    async with _session(target) as session:
        for model in target.models.values():
            ask = _Asker(session, model=model, output_tokens=1)
            while (answer := await ask("Say one word.")).error is not None:
                known = problem()
                if known is not None:
                    raise UnavailableError(known)
                if time.monotonic() >= deadline or not ask.may_come:
                    raise UnavailableError(f"No token came from {model!r} at {target.url}: {answer.error}")
                await asyncio.sleep(_POLL_S)


class _Asker:
    """Sends one prompt and reads its stream."""

    def __init__(self, session: aiohttp.ClientSession, *, model: str, output_tokens: int) -> None:
        self._session = session
        self._fixed = {
            "model": model,
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": output_tokens,
            "temperature": 0,
            "ignore_eos": True,
        }
        self.may_come = True

    async def __call__(self, prompt: str) -> Answered:
        body = json.dumps({**self._fixed, "messages": [{"role": "user", "content": prompt}]}).encode()
        times, clock = StreamTimes(), time.perf_counter
        sent = clock()
        try:
            async with self._session.post("/v1/chat/completions", data=body) as response:
                if response.status != _OK:
                    self.may_come = response.status in _NOT_YET
                    text = (await response.text())[:_LONGEST_ERROR]
                    return Answered(sent, clock(), error=f"HTTP {response.status}: {' '.join(text.split())}")
                async for data in response.content.iter_any():
                    times.feed(data, at=clock())
        except (aiohttp.ClientError, TimeoutError) as error:
            return Answered(sent, clock(), error=f"{type(error).__name__}: {error}"[:_LONGEST_ERROR])
        ended = clock()
        problem = times.error or (None if times.done else "the stream ended without [DONE]")
        return Answered(sent, ended, tuple(times.tokens_at), *times.usage(), problem)


async def _run(ask: _Asker, prompts: Sequence[str], concurrency: int) -> list[Answered]:
    """Send all prompts, so many under way at once."""
    waiting: Iterator[str] = iter(prompts)
    answers: list[Answered] = []

    async def place(mine: Iterable[str]) -> None:
        for prompt in mine:  # all places take from one iterator
            answers.append(await ask(prompt))

    await asyncio.gather(*(place(waiting) for _ in range(concurrency)))
    return answers


def _session(target: Target) -> aiohttp.ClientSession:
    headers = {
        "authorization": f"Bearer {target.key}",
        "content-type": "application/json",
        "accept-encoding": "identity",
    }
    return aiohttp.ClientSession(
        target.url,
        headers=headers,
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=_REQUEST_LIMIT_S),
        trust_env=False,
    )
