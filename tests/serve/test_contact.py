"""Holds the pins to the non-public names that serve/contact.py uses; each failure says which one moved."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from indexer.errors import UnavailableError
from serve.contact import VLLMAdapters
from serve.residency.manager import EngineAdapter

PINS = "ray==2.60.0 and vllm==0.29.0 (serve/contact.py)"


def test_rays_request_router_builder_takes_what_we_pass() -> None:
    builder = pytest.importorskip("ray.llm._internal.serve.core.ingress.builder")
    parameters = inspect.signature(builder._build_openai_ingress_request_router).parameters
    assert set(parameters) == {"server", "llm_config"}, f"the router builder changed; written for {PINS}"


def test_a_serve_application_takes_a_request_router() -> None:
    from ray.serve.deployment import Application

    assert hasattr(Application, "_with_ingress_request_router"), f"the router hook is gone; written for {PINS}"


def test_serve_limits_its_queue_behind_haproxy_too() -> None:
    from ray.serve._private.replica import Replica

    source = inspect.getsource(Replica._can_accept_request)
    for name in ("is_direct_ingress", "max_queued_requests"):
        assert name in source, f"serve.max_queued_requests may do nothing; written for {PINS}"


def test_the_server_builds_its_asgi_app_late() -> None:
    from ray.serve.llm.deployment import LLMServer

    assert inspect.iscoroutinefunction(LLMServer.__serve_build_asgi_app__), f"the ASGI hook moved; written for {PINS}"


def test_the_server_starts_its_engine_in_a_method_of_its_own() -> None:
    from ray.serve.llm.deployment import LLMServer

    source = inspect.getsource(LLMServer._start_engine)
    assert "await self.engine.start()" in source, f"serve/server.py overrides this; written for {PINS}"
    assert "self._start_engine()" in inspect.getsource(LLMServer.start), f"nobody calls it; written for {PINS}"


async def test_ray_leaves_out_its_download_of_model_files() -> None:
    from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine

    from serve.node_files import FilesAreThere

    source = inspect.getsource(VLLMEngine.start)
    for name in ('run_callback("on_before_node_init")', "callback.ctx.run_init_node"):
        assert name in source, f"{name} is gone; written for {PINS}"
    callback = FilesAreThere(llm_config=None)
    await callback.on_before_node_init()
    assert callback.ctx.run_init_node is False


def test_rays_vllm_engine_keeps_its_client_and_its_model_table() -> None:
    from ray.llm._internal.serve.engines.vllm import vllm_engine

    source = inspect.getsource(vllm_engine.VLLMEngine)
    for name in ("self._engine_client", "self._oai_models", ".lora_requests"):
        assert name in source.replace('"lora_requests"', ".lora_requests"), f"{name} is gone; written for {PINS}"


def test_vllm_takes_adapters_by_request_and_frees_them_by_id() -> None:
    from vllm.lora.request import LoRARequest
    from vllm.v1.engine.async_llm import AsyncLLM

    for method, parameter in (("add_lora", "lora_request"), ("remove_lora", "lora_id")):
        parameters = inspect.signature(getattr(AsyncLLM, method)).parameters
        assert parameter in parameters, f"AsyncLLM.{method} changed; written for {PINS}"
    request = LoRARequest(lora_name="a@1", lora_int_id=3, lora_path="/a")
    assert (request.lora_name, request.lora_int_id, request.lora_path) == ("a@1", 3, "/a")


def test_vllms_prefix_cache_is_keyed_by_adapter_name_and_path() -> None:
    from vllm.v1.core import kv_cache_utils

    source = inspect.getsource(kv_cache_utils._gen_lora_extra_hash_keys)
    assert "lora_name" in source, f"versions may share cached blocks; written for {PINS}"


@dataclass
class EngineClient:
    """Stands where AsyncLLM stands, and fails as it does: with plain exceptions that the engine's process sent."""

    error: Exception | None = None
    loaded: set[int] = field(default_factory=set)

    async def add_lora(self, lora_request: object) -> bool:
        if self.error is not None:
            raise self.error
        self.loaded.add(lora_request.lora_int_id)
        return True

    async def remove_lora(self, lora_id: int) -> bool:
        if self.error is not None:
            raise self.error
        self.loaded.discard(lora_id)
        return True


ADAPTER = EngineAdapter(engine_id=3, engine_name="ropes@1", path=Path("/registry/ropes/1"))


@pytest.mark.parametrize("dead", [False, True])
async def test_whatever_the_engine_says_is_an_unavailable_adapter_and_keeps_its_name(dead: bool) -> None:
    from vllm.v1.engine.exceptions import EngineDeadError

    error = EngineDeadError() if dead else Exception("Call to add_lora method failed: no such file")
    client, table = EngineClient(), {}
    engine = SimpleNamespace(_engine_client=client, _oai_models=SimpleNamespace(lora_requests=table))
    adapters = VLLMAdapters(SimpleNamespace(engine=engine))
    client.error = error
    with pytest.raises(UnavailableError, match="refused adapter ropes@1"):
        await adapters.load_adapter(ADAPTER)
    assert table == {}
    client.error = None
    await adapters.load_adapter(ADAPTER)
    client.error = error
    with pytest.raises(UnavailableError, match="did not free adapter ropes@1"):
        await adapters.unload_adapter(ADAPTER)
    assert set(table) == {"ropes@1"}
    client.error = None
    await adapters.unload_adapter(ADAPTER)
    assert (table, client.loaded) == ({}, set())
