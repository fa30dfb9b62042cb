"""What the live app tells of its requests, and what it never does."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import httpx
import pytest

from deploy.local.traffic import parse
from tests.stack import Stack

pytestmark = pytest.mark.stack

# Ray's workers hand their metrics to the node's agent every 10 s.
REPORTED_S = 45


def test_a_request_is_seen_under_the_scrape_url(stack: Stack) -> None:
    status = stack.run("status", "--json").json
    urls = status["urls"]
    assert isinstance(urls, dict)
    stack.client.chat.completions.create(model="plain", messages=[{"role": "user", "content": "Hello"}])
    deadline = time.monotonic() + REPORTED_S
    while True:
        found = parse(httpx.get(urls["metrics"], trust_env=False).text, at=0.0)
        models = {sample.labels.get("model") for sample in found.samples if sample.name == "requests_total"}
        if "plain" in models or time.monotonic() > deadline:
            break
        time.sleep(1)
    assert "plain" in models
    assert {"stage_seconds_bucket", "event_loop_lag_seconds_bucket"} <= {sample.name for sample in found.samples}


def test_no_log_has_a_prompt_a_document_or_a_key(stack: Stack, tmp_path: Path) -> None:
    prompt, document, key = (f"canary{kind}{uuid.uuid4().hex}" for kind in ("prompt", "document", "key"))
    (tmp_path / "secret.md").write_text(f"# Hawser\n\nThe hawser is called {document}.\n")
    stack.run("index", str(tmp_path), "--collection", "canaries")
    stack.run("search", f"hawser {prompt}", "--collection", "canaries")
    headers = {"authorization": f"Bearer {key}"}
    messages = [{"role": "user", "content": f"{prompt} hawser {document}"}]
    for body in ({"messages": messages}, {"messages": prompt}, {"messages": messages, "temperature": prompt}):
        for model in ("retrieval", "base"):
            stack.http.post("/v1/chat/completions", json={"model": model, **body}, headers=headers)
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
    for path in logs:
        content = path.read_bytes()
        for secret in (prompt, document, key):
            assert secret.encode() not in content, path
