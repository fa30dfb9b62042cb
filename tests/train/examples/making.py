"""A small corpus, a layout and an OpenAI endpoint for tests of examples."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from indexer.passages import Passage
from indexer.types import ChunkPlace
from train.examples.asking import Asker
from train.examples.request import Endpoint, ExamplesRequest, request_fields
from train.examples.teacher import Books
from train.examples.types import Answered, Message, Question
from train.wording import words

ANSWER_TOKENS = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


def passage(
    number: int, text: str, *, document: str = "ropes.md", heading: tuple[str, ...] = (), chunk_id: str = ""
) -> Passage:
    return Passage(
        chunk_id=chunk_id or f"c{number}",
        document_id=document,
        title=document.removesuffix(".md"),
        heading_path=heading,
        uri=f"file:///{document}",
        page=None,
        ordinal=number,
        text=text,
        score=1 / (number + 1),
    )


def question(golden: Passage, text: str = "How long is the hawser?", number: int = 1) -> Question:
    return Question(text, number, golden, "training")


def answered(
    golden: Passage, answer: str, *, shown: Sequence[Passage] = (), found: Sequence[Passage] = (), cut: bool = False
) -> Answered:
    given = tuple(shown) or (golden,)
    return Answered(question(golden), tuple(found) or given, given, answer, cut)


def layout(asked: str, *, prompt: str | None, passages: Sequence[Passage]) -> tuple[Message, ...]:
    shown = "\n\n".join(f"[{number}] {each.text}" for number, each in enumerate(passages, start=1))
    system = "\n\n".join(part for part in (prompt, shown) if part)
    user: Message = {"role": "user", "content": asked}
    return ({"role": "system", "content": system}, user) if system else (user,)


@dataclass
class SmallCorpus:
    """Documents of two sections each, found by the words that they share with a question."""

    passages: tuple[Passage, ...]
    name: str = "harbour"
    generation: int = 3
    searched: list[str] = field(default_factory=list)

    def places(self) -> Iterable[ChunkPlace]:
        return [ChunkPlace(each.chunk_id, each.document_id, each.heading_path) for each in self.passages]

    def read(self, document_id: str) -> tuple[Passage, ...]:
        return tuple(each for each in self.passages if each.document_id == document_id)

    def search(self, queries: Sequence[str], *, k: int) -> list[tuple[Passage, ...]]:
        self.searched += queries
        return [
            tuple(sorted(self.passages, key=lambda each: -len({*words(each.text)} & {*words(query)}))[:k])
            for query in queries
        ]


def fact(number: int, part: int) -> str:
    name, length = f"mooring{chr(97 + number // 10)}{chr(97 + number % 10)}", 100 + 10 * number + part
    what = ("hawser", "anchor chain")[part]
    return (
        f"The {what} of {name} is {length} metres long. It was tarred in the autumn by the crew of the pilot boat, and "
        f"the harbour master keeps the record of it in the ledger of {name}."
    )


def small_corpus(documents: int = 12) -> SmallCorpus:
    return SmallCorpus(
        tuple(
            passage(
                part,
                fact(number, part),
                document=f"d{number}.md",
                heading=(f"Part {part}",),
                chunk_id=f"{number}-{part}",
            )
            for number in range(documents)
            for part in (0, 1)
        )
    )


def wise(messages: list[dict[str, str]]) -> str:
    """What a model that can read would say at each stage."""
    system, user = messages[0]["content"], messages[-1]["content"]
    if system.startswith("You write exam questions"):
        found = re.search(r"The (.+?) of (\w+) is", user)
        assert found is not None
        return f"1. How long is the {found[1]} of {found[2]}?\n2. What does the passage say of it?"
    for number, text in re.findall(r"^\[(\d+)\] (.*?)(?=^\[\d|\Z)", system, re.MULTILINE | re.DOTALL):
        found = re.search(r"The (.+?) of (\w+) is (\d+) metres", text)
        if found and f"{found[1]} of {found[2]}?" in user:
            return f"The {found[1]} of {found[2]} is {found[3]} metres long [{number}]."
    return "I do not know."


Answering = Callable[[list[dict[str, str]]], str]


class SmallEndpoint:
    """An OpenAI endpoint that answers as it is told, keeps what it was asked, and fails when it is told to.

    Attributes:
        asked: The bodies that it answered, in their order.
        tries: Requests in all.
        failures: For each request to come a status, or "malformed", "empty", "null" or "slow"; None answers.
    """

    def __init__(self) -> None:
        self.asked: list[dict[str, object]] = []
        self.keys: list[str | None] = []
        self.tries = 0
        self.under_way = self.most_under_way = 0
        self.failures: Iterator[int | str | None] = iter(())
        self.answering: Answering = wise
        self.finish = "stop"
        self.usage: dict[str, int] | None = ANSWER_TOKENS
        self.delay_s = 0.0
        self.lock = threading.Lock()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with endpoint.lock:
                    endpoint.tries += 1
                    endpoint.under_way += 1
                    endpoint.most_under_way = max(endpoint.most_under_way, endpoint.under_way)
                    failure = next(endpoint.failures, None)
                    endpoint.keys.append(self.headers.get("Authorization"))
                time.sleep(1.0 if failure == "slow" else endpoint.delay_s)
                status, payload = endpoint.answer(body, failure)
                with endpoint.lock:
                    endpoint.under_way -= 1
                try:
                    self.send_response(status)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("retry-after-ms", "1")
                    self.send_header("Content-Length", str(len(payload)))
                    self.end_headers()
                    self.wfile.write(payload)
                except BrokenPipeError:
                    return

            def log_message(self, format: str, *args: object) -> None:
                return

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"

    def answer(self, body: dict[str, object], failure: int | str | None) -> tuple[int, bytes]:
        if isinstance(failure, int):
            return failure, json.dumps({"error": {"message": f"Told to answer {failure}.", "code": failure}}).encode()
        if failure == "malformed":
            return 200, b'{"choices": ['
        document: dict[str, object] = {"id": "1", "object": "chat.completion", "created": 1, "model": body["model"]}
        if failure == "empty":
            return 200, json.dumps({**document, "choices": []}).encode()
        messages = body["messages"]
        assert isinstance(messages, list)
        content = None if failure == "null" else self.answering(messages)
        with self.lock:
            self.asked.append(body)
        choice = {"index": 0, "finish_reason": self.finish, "message": {"role": "assistant", "content": content}}
        return 200, json.dumps({**document, "choices": [choice], "usage": self.usage}).encode()

    def settings(self, **changes: object) -> Endpoint:
        fields: dict[str, object] = {"url": self.url, "model": "teacher", "api_key": "k", "retries": 0, "timeout_s": 20}
        return Endpoint(**{**fields, **changes})  # type: ignore[arg-type]

    def teacher(self, asked: ExamplesRequest, **changes: object) -> Callable[[Books], Asker]:
        settings = self.settings(**changes)
        fields = request_fields(settings.fields, max_tokens=asked.max_tokens)
        return lambda books: Asker(settings, books=books, fields=fields)


@contextmanager
def running_endpoint() -> Iterator[SmallEndpoint]:
    endpoint = SmallEndpoint()
    thread = threading.Thread(target=endpoint.http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield endpoint
    endpoint.http.shutdown()
    endpoint.http.server_close()


def request(tmp_path: Path, **changes: object) -> ExamplesRequest:
    fields: dict[str, object] = {
        "out": tmp_path / "rows.jsonl",
        "chunks": 24,
        "questions_per_chunk": 2,
        "eval_share": 0.3,
    }
    return ExamplesRequest(**{**fields, **changes})  # type: ignore[arg-type]


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
