"""Holds the pins to the non-public names that serve/contact.py uses; each failure says which one moved."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from indexer.errors import UnavailableError
from serve.contact import VLLMAdapters, deployment_name, replica_is_stopping, router_config
from serve.residency.engine import EngineAdapter
from serve.routes import COMPLETIONS
from serve.server import SpecialistServer

PINS = "ray==2.60.0 and vllm==0.29.0 (serve/contact.py)"


def test_rays_request_router_builder_takes_what_we_pass() -> None:
    builder = pytest.importorskip("ray.llm._internal.serve.core.ingress.builder")
    parameters = inspect.signature(builder._build_openai_ingress_request_router).parameters
    assert set(parameters) == {"server", "llm_config"}, f"the router builder changed; written for {PINS}"


def test_ray_names_deployments_as_we_do() -> None:
    builder = pytest.importorskip("ray.llm._internal.serve.core.server.builder")
    named = builder._get_deployment_name(SimpleNamespace(model_id="org/base-1.5"))
    assert deployment_name("org/base-1.5") == f"{SpecialistServer.__name__}:{named}", f"written for {PINS}"


def test_rays_router_process_shows_a_policy_the_header_and_the_body() -> None:
    from ray.llm._internal.serve.core.ingress import router

    source = inspect.getsource(router)
    for name in ("handle.options(session_id=session_id)", "SimpleNamespace(**data)", "_matches_session_id_header"):
        assert name in source, f"serve/routing/router.py sees no more of requests; written for {PINS}"


def test_serves_proxy_shows_a_policy_the_header() -> None:
    from ray.serve._private import proxy

    source = inspect.getsource(proxy)
    assert "_matches_session_id_header(key.decode())" in source, f"affinity has no header; written for {PINS}"


def test_serve_asks_replicas_for_their_news_and_gives_them_to_the_policy() -> None:
    from ray.serve._private.constants import REQUEST_ROUTING_STATS_METHOD
    from ray.serve.config import RequestRouterConfig
    from ray.serve.llm.deployment import LLMServer
    from ray.serve.request_router import RequestRouter, RunningReplica

    from serve.routing.router import AdapterRouter

    assert REQUEST_ROUTING_STATS_METHOD == "record_routing_stats", f"nobody asks for news; written for {PINS}"
    assert inspect.iscoroutinefunction(LLMServer.record_routing_stats), f"the server's news moved; written for {PINS}"
    assert isinstance(RunningReplica.routing_stats, property), f"no news reach policies; written for {PINS}"
    assert list(inspect.signature(RequestRouter.choose_replicas).parameters) == list(
        inspect.signature(AdapterRouter.choose_replicas).parameters
    ), f"policies are asked otherwise; written for {PINS}"
    assert RequestRouterConfig(**router_config()).get_request_router_class() is AdapterRouter


def test_a_serve_application_takes_a_request_router() -> None:
    from ray.serve.deployment import Application

    assert hasattr(Application, "_with_ingress_request_router"), f"the router hook is gone; written for {PINS}"


def test_serve_limits_its_queue_behind_haproxy_too() -> None:
    from ray.serve._private.replica import Replica

    source = inspect.getsource(Replica._can_accept_request)
    for name in ("is_direct_ingress", "max_queued_requests"):
        assert name in source, f"serve.max_queued_requests may do nothing; written for {PINS}"


def test_a_replica_knows_that_it_is_being_stopped() -> None:
    from ray._private.worker import global_worker
    from ray.serve._private.replica import Replica, ReplicaActor

    assert replica_is_stopping() is False
    assert isinstance(global_worker.actors, dict), f"a worker's actors are elsewhere; written for {PINS}"
    assert "self._replica_impl" in inspect.getsource(ReplicaActor.__init__), f"the replica moved; written for {PINS}"
    source = inspect.getsource(Replica._perform_graceful_shutdown)
    assert "self._shutting_down = True" in source, f"a stop begins otherwise; written for {PINS}"


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
    assert inspect.iscoroutinefunction(AsyncLLM.list_loras), f"AsyncLLM.list_loras changed; written for {PINS}"
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

    async def list_loras(self) -> set[int]:
        if self.error is not None:
            raise self.error
        return set(self.loaded)


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
    with pytest.raises(UnavailableError, match="did not say which adapters it has"):
        await adapters.list_adapters()
    client.error = None
    assert await adapters.list_adapters() == {3}
    await adapters.unload_adapter(ADAPTER)
    assert (table, client.loaded) == ({}, set())


def test_completions_without_a_limit_are_as_short_as_vllm_makes_them() -> None:
    from vllm.entrypoints.openai.completion.protocol import CompletionRequest

    assert CompletionRequest.model_fields["max_tokens"].default == COMPLETIONS.default_limit
