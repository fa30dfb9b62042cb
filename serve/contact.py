"""All contact with names of Ray and vLLM that are not public.

`tests/serve/test_contact.py` holds the pins to what is used here; when a name moves with a pin, that test says which.
Sources: ray 2.60.0 `ray/llm/_internal/serve`, vllm 0.29.0 `vllm/entrypoints/openai/models/serving.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Protocol, cast

from pydantic import JsonValue

from indexer.errors import UnavailableError
from serve.residency.engine import EngineAdapter

if TYPE_CHECKING:
    from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine
    from ray.serve.deployment import Application
    from ray.serve.llm import LLMConfig
    from ray.serve.llm.deployment import LLMServer

# Seconds between two times that a replica tells the routers of itself.
ROUTING_NEWS_S = 1.0


class _LoraClient(Protocol):
    async def add_lora(self, lora_request: object) -> bool: ...

    async def remove_lora(self, lora_id: int) -> bool: ...

    async def list_loras(self) -> set[int]: ...


def with_request_router(server: Application, config: LLMConfig) -> Application:
    """Attach Ray Serve LLM's request router, so that HAProxy asks it which replica a request goes to."""
    from ray.llm._internal.serve.core.ingress.builder import _build_openai_ingress_request_router

    router = _build_openai_ingress_request_router(server=server, llm_config=config)
    return server._with_ingress_request_router(router)


def deployment_name(model: str) -> str:
    """Name of the deployment of replicas of a base model, as `build_llm_deployment` makes it of our class."""
    return f"SpecialistServer:{model.replace('/', '--').replace('.', '_')}"


def router_config() -> dict[str, JsonValue]:
    """Which class of ours routes requests, for `request_router_config` of a deployment.

    The controller asks replicas for their news as often as its health checks allow; what it broadcasts is short.
    """
    return {
        "request_router_class": "serve.routing.router.AdapterRouter",
        "request_routing_stats_period_s": ROUTING_NEWS_S,
        "request_routing_stats_timeout_s": 10.0,
    }


def routed_body(argument: object) -> Mapping[str, object] | None:
    """The body of a request that Ray's router process routes, where HAProxy shows it; None for any other argument."""
    return vars(argument) if isinstance(argument, SimpleNamespace) else None


async def start_engine(server: LLMServer) -> None:
    """Start a server's engine; `LLMServer._start_engine` does this and then reports usage to an actor of its own."""
    await _engine(server).start()


def max_model_len(server: LLMServer) -> int:
    """The engine's context length in tokens, as vLLM resolved it."""
    return int(_engine(server)._engine_client.model_config.max_model_len)


def engine_lives(server: LLMServer) -> bool:
    """Whether the engine's process works; a dead one never comes back, Serve replaces the whole replica."""
    return not _engine(server)._engine_client.errored


def replica_is_stopping() -> bool:
    """Whether Serve stops the replica that this process is; False outside of one.

    Serve tells HAProxy so, and nothing of ours (ray/serve/_private/replica.py, `_dataplane_health_check`).
    """
    from ray._private.worker import global_worker

    actor = global_worker.actors.get(global_worker.actor_id)
    return bool(actor._replica_impl._shutting_down) if actor is not None else False


def stays_reachable_s() -> float:
    """Seconds that Serve keeps a replica behind HAProxy reachable after it began to stop it; 0 without HAProxy."""
    from ray.serve._private import constants

    if not constants.RAY_SERVE_ENABLE_HA_PROXY:
        return 0.0
    return float(constants.RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S)


def requests_in_engine(server: LLMServer) -> int:
    """Requests that the engine has and that are neither answered nor aborted."""
    return int(_engine(server)._engine_client.output_processor.get_num_unfinished_requests())


def tokens_so_far(server: LLMServer, request_id: str) -> tuple[int, int]:
    """Tokens of prompt and answer of a request that the engine is working on; zeros for one it does not know.

    vLLM keeps a state for each of a request's prompts and choices until it has ended or is aborted, under ids that have
    the request's in them (vllm/v1/engine/output_processor.py).
    """
    processor = _engine(server)._engine_client.output_processor
    ids = [each for name, known in processor.external_req_ids.items() if request_id in name for each in known]
    states = [state for each in ids if (state := processor.request_states.get(each)) is not None]
    answer = sum(state.detokenizer.num_output_tokens() for state in states if state.detokenizer is not None)
    prompts = {state.external_req_id: state.prompt_len for state in states}
    return sum(prompts.values()), answer


def _engine(server: LLMServer) -> VLLMEngine:
    return cast("VLLMEngine", server.engine)


class VLLMAdapters:
    """Loads and frees adapters in a replica's vLLM engine.

    vLLM's own HTTP unload forgets the name and keeps the weights; this goes to the engine as well. The name enters the
    table that vLLM's OpenAI routes look models up in, so a request for `adapter.engine_name` finds it.

    The engine runs in a process of its own: whatever goes wrong there comes back as a plain Exception with a text
    (vllm/v1/engine/core_client.py, `_process_utility_output`), and a dead one as EngineDeadError.
    """

    def __init__(self, server: LLMServer) -> None:
        """Take the replica whose engine is already started."""
        self._client = cast("_LoraClient", _engine(server)._engine_client)
        self._table = cast("dict[str, object]", _engine(server)._oai_models.lora_requests)

    async def load_adapter(self, adapter: EngineAdapter) -> None:
        """Load one adapter version.

        Raises:
            UnavailableError: The engine refused it or is dead, with the engine's reason.
        """
        from vllm.lora.request import LoRARequest

        request = LoRARequest(lora_name=adapter.engine_name, lora_int_id=adapter.engine_id, lora_path=str(adapter.path))
        try:
            await self._client.add_lora(request)
        except Exception as error:
            raise UnavailableError(
                f"The engine refused adapter {adapter.engine_name}: {error}; check it with `graftwork adapters show`."
            ) from error
        self._table[adapter.engine_name] = request

    async def unload_adapter(self, adapter: EngineAdapter) -> None:
        """Free one adapter version; does nothing for one that is not loaded.

        Raises:
            UnavailableError: The engine did not free it or is dead; the adapter can still be called by its name.
        """
        request = self._table.pop(adapter.engine_name, None)
        try:
            await self._client.remove_lora(adapter.engine_id)
        except Exception as error:
            if request is not None:
                self._table[adapter.engine_name] = request
            raise UnavailableError(
                f"The engine did not free adapter {adapter.engine_name}: {error}; see the replica's log."
            ) from error

    async def list_adapters(self) -> frozenset[int]:
        """Engine ids of the adapters in the engine, those counted that it loaded or dropped on its own.

        Raises:
            UnavailableError: The engine does not say, or is dead.
        """
        try:
            return frozenset(await self._client.list_loras())
        except Exception as error:
            raise UnavailableError(f"The engine did not say which adapters it has: {error}.") from error
