"""What the live app tells of its requests, and what it never does."""

from __future__ import annotations

import json
import os
import select
import socket
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from deploy.local.traffic import Sample, parse
from tests.stack import Stack

pytestmark = pytest.mark.stack

# Ray's workers hand their metrics to the node's agent every 10 s.
REPORTED_S = 45
CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello, what lies at the quay, and how long is it? " * 4}]


def metrics_of(stack: Stack, *wanted: Callable[[Sample], bool]) -> tuple[Sample, ...]:
    """The samples under the scrape URL, once each kind that is wanted is among them with a value."""
    urls = stack.run("status", "--json").json["urls"]
    assert isinstance(urls, dict)
    deadline = time.monotonic() + REPORTED_S
    while True:
        found = parse(httpx.get(urls["metrics"], trust_env=False).text, at=0.0).samples
        missing = [number for number, kind in enumerate(wanted) if not any(s.value > 0 and kind(s) for s in found)]
        if not missing:
            return found
        assert time.monotonic() < deadline, f"no sample of the kinds {missing}"
        time.sleep(1)


def sample(name: str, **labels: str) -> Callable[[Sample], bool]:
    return lambda found: found.name == name and labels.items() <= found.labels.items()


def logs_of(stack: Stack) -> list[Path]:
    """All that the instance has logged by now."""
    time.sleep(2)
    status = stack.run("status", "--json").json
    folders = [Path(str(status["temp_dir"])), Path(str(status["state_file"])).parent]
    logs = [
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and (path.suffix in (".log", ".out", ".err", ".jsonl") or "logs" in path.parts)
    ]
    assert any("replica" in path.name for path in logs)
    return logs


def check_hidden(logs: list[Path], *secrets: str) -> None:
    for path in logs:
        content = path.read_bytes()
        for secret in secrets:
            assert secret.encode() not in content, (secret, path)


def test_a_request_is_seen_under_the_scrape_url(stack: Stack) -> None:
    for _ in range(2):
        stack.http.post(CHAT, json={"model": "plain", "messages": HELLO, "max_tokens": 4})
        stack.http.post(CHAT, json={"model": "both", "messages": HELLO, "stream": True, "max_tokens": 4})
    stack.http.post(CHAT, json={"model": "plain", "messages": HELLO, "top_p": 7})
    long = {"model": "plain", "messages": HELLO, "stream": True, "max_tokens": 800, "ignore_eos": True}
    with stack.http as client, client.stream("POST", CHAT, json=long) as answer:
        next(answer.iter_lines())
    whose = {"model": "both", "adapter": "ropes@2"}
    stages = ("resolve", "admission", "adapter", "retrieval", "embed", "search", "assembly", "prefill", "decode")
    metrics_of(
        stack,
        sample("requests_total", model="plain", status="200"),
        sample("errors_total", model="plain", code="invalid_request"),
        sample("cancelled_total", model="plain", route="chat"),
        sample("cached_tokens_total", **whose),
        sample("completion_tokens_total", **whose),
        sample("time_to_first_token_seconds_count", **whose),
        sample("inter_token_seconds_count", **whose),
        sample("stage_seconds_count", stage="generate", model="plain", adapter="none"),
        *(sample("stage_seconds_count", stage=stage, **whose) for stage in stages),
        sample("event_loop_lag_seconds_count"),
    )
    found = stack.run("top", "--once", "--interval", "0.1").stdout
    assert {"plain", "both"} <= {line.split()[0] for line in found.splitlines() if line.strip()}


def test_no_log_has_a_prompt_an_answer_a_document_or_a_key(stack: Stack, tmp_path: Path) -> None:
    prompt, document, key, answer = (
        f"canary{kind}{uuid.uuid4().hex}" for kind in ("prompt", "document", "key", "answer")
    )
    (tmp_path / "secret.md").write_text(f"# Hawser\n\nThe hawser is called {document}.\n")
    collection = f"canaries{uuid.uuid4().hex[:8]}"
    stack.run("index", str(tmp_path), "--collection", collection)
    stack.run("search", f"hawser {prompt}", "--collection", collection)
    headers = {"authorization": f"Bearer {key}"}
    text = f"{prompt} hawser {document}"
    messages = [{"role": "user", "content": text}]
    said = {"structured_outputs": {"choice": [answer]}, "max_tokens": 120}
    # One body for each way in: what is answered, whole and streamed, and what is refused by a layer and by vLLM.
    asked = [
        *((CHAT, {"model": model, "messages": messages}) for model in ("retrieval", "base")),
        *((CHAT, {"model": model, "messages": prompt}) for model in ("retrieval", "base")),
        *((CHAT, {"model": model, "messages": messages, "temperature": prompt}) for model in ("retrieval", "base")),
        (CHAT, {"model": "both", "messages": messages, "stream": True}),
        (CHAT, {"model": "plain", "messages": messages, **said}),
        (CHAT, {"model": "plain", "messages": messages, "stream": True, **said}),
        (CHAT, {"model": "base", "messages": [{"role": "user", "content": f"{text} " * 200}]}),
        (CHAT, {"model": "base", "messages": messages, "structured_outputs": {"regex": f"({prompt}"}}),
        (CHAT, {"model": "base", "messages": messages, "tools": [{"type": "function", "function": {"name": prompt}}]}),
        ("/v1/completions", {"model": "adapter", "prompt": text, "max_tokens": 2, "echo": True}),
        ("/v1/completions", {"model": "base", "prompt": [text, {"no": prompt}], "max_tokens": 2}),
        ("/v1/completions", {"model": "base", "prompt": text, "max_tokens": 2, "stream": True, "suffix": prompt}),
        ("/v1/responses", {"model": "plain", "input": text, "instructions": prompt, "max_output_tokens": 2}),
        ("/v1/responses", {"model": "base", "input": text, "max_output_tokens": 2, "stream": True}),
        ("/v1/responses", {"model": "base", "input": [{"role": prompt, "content": text}]}),
        ("/v1/messages", {"model": "plain", "messages": messages, "system": prompt, "max_tokens": 2}),
        ("/v1/messages", {"model": "base", "messages": messages, "max_tokens": 2, "stream": True}),
        ("/v1/messages", {"model": "base", "messages": prompt, "max_tokens": 2}),
        ("/v1/embeddings", {"model": "embedder", "input": [text, prompt]}),
        ("/v1/embeddings", {"model": "embedder", "input": [text, f"{prompt} " * 200]}),
        ("/tokenize", {"model": "base", "prompt": text}),
    ]
    short = {CHAT: {"max_tokens": 2}, "/v1/responses": {"max_output_tokens": 2}}
    told: list[tuple[int, str]] = []
    with stack.http as client:
        for path, body in asked:
            response = client.post(path, json={**short.get(path, {}), **body}, headers=headers)
            told.append((response.status_code, response.text))
        broken = client.post(CHAT, content=json.dumps({"messages": prompt})[:-1], headers=headers)
    assert {status for status, _ in told} == {200, 400}
    assert broken.status_code == 400
    whole, streamed = told[7][1], told[8][1]
    assert json.loads(whole)["choices"][0]["message"]["content"] == answer
    chunks = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: {")]
    pieces = [choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]]
    assert "".join(pieces) == answer
    check_hidden(logs_of(stack), prompt, document, key, answer)


def test_a_batch_of_embeddings_holds_nobody_up_and_ends_with_its_client(stack: Stack) -> None:
    processes = stack.run("status", "--json").json["processes"]
    assert isinstance(processes, list)
    (retriever,) = (process["pid"] for process in processes if process["role"] == "replica Retriever")
    many = {"model": "embedder", "input": ["a hawser of the north berth " * 30] * 2048}
    body = json.dumps(many).encode()
    parts = urlsplit(stack.url)
    head = (
        f"POST /v1/embeddings HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with stack.http as probe, socket.create_connection((str(parts.hostname), parts.port or 80)) as connection:
        connection.sendall(head.encode() + body)
        time.sleep(1.5)
        answer = probe.post(CHAT, json={"model": "retrieval", "messages": HELLO, "max_tokens": 1})
        assert answer.json()["graftwork"]["retrieval"] == "found"
        assert probe.post("/v1/embeddings", json={"model": "embedder", "input": "rope"}).status_code == 200
        assert works(retriever), "the batch was done before the others were answered"
        assert select.select([connection], [], [], 0)[0] == []
    deadline = time.monotonic() + 10
    while works(retriever):
        assert time.monotonic() < deadline, "the batch goes on without its client"


def works(pid: int) -> bool:
    """Whether a process works in the second that this takes."""
    before = cpu_seconds(pid)
    time.sleep(1)
    return cpu_seconds(pid) - before > 0.3


def cpu_seconds(pid: int) -> float:
    """Seconds that all threads of a process have worked."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
