"""A live replica whose registry lies in a bucket, and whose cache of fetched adapters keeps none but those in use."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from tests.models import build_tiny_llama
from tests.s3 import running_s3
from tests.serve.test_app import wait_for_models
from tests.stack import Stack, build_tiny_adapter, free_port, open_stack, write_config
from train.base_model import describe_base
from train.registry import AdapterRegistry, Provenance, publish_adapter

pytestmark = [pytest.mark.slow, pytest.mark.long]

BUCKET, ADAPTERS, SLOTS = "adapters", 6, 2
CHECK_S = 0.5
WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True, slots=True)
class Bucketed:
    """An instance with its adapters in a bucket, and the node's folder that they are fetched to."""

    stack: Stack
    cache: Path

    def cached(self) -> int:
        """Adapter versions whose weights lie in the node's folder."""
        return len([*self.cache.rglob(WEIGHTS)])


@pytest.fixture(scope="module")
def bucketed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucketed]:
    folder = tmp_path_factory.mktemp("bucketed")
    cache = folder / "cache"
    base = build_tiny_llama(folder / "tiny-base")
    with pytest.MonkeyPatch.context() as patch, running_s3(free_port(), folder / "s3.log") as server:
        for name, value in (("ACCESS_KEY_ID", "owner"), ("SECRET_ACCESS_KEY", "secret"), ("REGION", "us-east-1")):
            patch.setenv(f"AWS_{name}", value)
        server.start_with(BUCKET)
        uri = f"s3://{BUCKET}/registry{server.query}"
        config = write_config(
            folder,
            base_model=base,
            haproxy=True,
            max_adapters=SLOTS,
            adapter_cycle_s=0.2,
            adapter_check_s=CHECK_S,
            adapter_cache_dir=str(cache),
            adapter_cache_bytes=0,
        )
        settings = yaml.safe_load(config.read_text())
        settings["train"]["registry"] = uri
        config.write_text(yaml.safe_dump(settings))
        registry, described = AdapterRegistry(uri), describe_base(base, name=str(base))
        for number in range(ADAPTERS):
            source = build_tiny_adapter(base, folder / f"a{number}", seed=number)
            publish_adapter(source, registry=registry, name=f"a{number}", base=described, provenance=Provenance())
        stack = open_stack(folder)
        try:
            stack.run("up")
            wait_for_models(stack, f"a{ADAPTERS - 1}@1")
            yield Bucketed(stack, cache)
        finally:
            stack.run("down", check=False)


async def answer(client: httpx.AsyncClient, number: int) -> str:
    body = {"model": f"a{number}@1", "prompt": "The rope", "max_tokens": 6, "temperature": 0, "ignore_eos": True}
    response = await client.post("/v1/completions", json=body)
    assert response.status_code == 200, response.text
    return str(response.json()["choices"][0]["text"])


async def test_adapters_come_and_go_under_load_and_none_that_is_needed_is_missing(bucketed: Bucketed) -> None:
    most = 0
    async with httpx.AsyncClient(base_url=bucketed.stack.url, timeout=60, trust_env=False) as client:
        rounds = []
        for _ in range(6):
            rounds.append(await asyncio.gather(*(answer(client, number) for number in range(ADAPTERS))))
            most = max(most, bucketed.cached())
        async with asyncio.timeout(20 * CHECK_S):
            while bucketed.cached() > SLOTS:  # noqa: ASYNC110  nobody tells
                await asyncio.sleep(CHECK_S / 2)
        again = [await answer(client, number) for number in range(ADAPTERS)]
    print(f"\nat most {most} of {ADAPTERS} adapters on the node, {bucketed.cached()} afterwards")
    assert all(each == rounds[0] for each in rounds)
    assert again == rounds[0]
    assert len(set(rounds[0])) > 1, "the adapters answer alike, so that a mix-up would not show"
