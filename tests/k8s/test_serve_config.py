"""The Serve config of the rendered manifest, deployed on a local Ray as KubeRay deploys it."""

from __future__ import annotations

import contextlib
import json
import math
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
import yaml

from deploy.local.serve_client import ServeClient
from tests.k8s.rendering import render, serve_config
from tests.models import build_tiny_llama
from tests.stack import Stack, open_stack, write_config

pytestmark = [pytest.mark.slow, pytest.mark.long]

# A model of random weights gives its likeliest of 49,152 tokens some -10, a trained one what it says about -1.
SURE = -4.0


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Stack]:
    """A local Ray with HAProxy, as `up` leaves it."""
    write_config(tmp_path, base_model=build_tiny_llama(tmp_path / "tiny"), haproxy=True)
    stack = open_stack(tmp_path)
    stack.run("up")
    yield stack
    stack.run("down")


def test_the_rendered_serve_config_serves(cluster: Stack, tmp_path: Path) -> None:
    config = serve_config(render("cpu-dev"))
    settings = yaml.safe_load(cluster.config.read_text())
    (application,) = config["applications"]
    arguments = json.loads(json.dumps(application["args"]).replace("/var/lib/graftwork", str(tmp_path / "volume")))
    arguments["indexer"]["milvus_uri"] = settings["indexer"]["milvus_uri"]
    application["args"] = arguments
    config["http_options"] = {"host": "127.0.0.1", "port": settings["serve"]["port"]}

    status = cluster.run("status", "--json").json
    client = ServeClient(status["urls"]["dashboard"], token_path=Path(status["authentication"]["RAY_AUTH_TOKEN_PATH"]))
    client.deploy(config)
    client.wait_until_running(timeout_s=400, progress=lambda _: None)

    assert until_sure(cluster, limit_s=120) > SURE


def until_sure(stack: Stack, *, limit_s: float) -> float:
    """Mean log-probability of an answer's tokens, asked again until the model that replaced the random one gives it."""
    deadline = time.monotonic() + limit_s
    mean = -math.inf
    while mean < SURE and time.monotonic() < deadline:
        time.sleep(1)
        with contextlib.suppress(openai.APIStatusError, openai.APIConnectionError):
            completion = stack.client.chat.completions.create(
                model="base",
                messages=[{"role": "user", "content": "What is the capital of France?"}],
                temperature=0,
                max_tokens=12,
                logprobs=True,
            )
            told = completion.choices[0].logprobs
            assert told is not None
            mean = statistics.mean(each.logprob for each in told.content or ())
    return mean
