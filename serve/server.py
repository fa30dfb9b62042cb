"""The replica: vLLM's own ASGI app inside our layers. The process that generates also answers the HTTP request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from pydantic import JsonValue
from ray.serve.llm import LLMConfig
from ray.serve.llm.deployment import LLMServer
from starlette.types import ASGIApp

from serve import contact
from serve.adapter_files import AdapterFiles
from serve.admin import Admin
from serve.admission.gate import Gate
from serve.app import grace_s
from serve.draining import Draining, StopFile
from serve.graph import EngineState, assemble_layers
from serve.keys.followed import FollowedKeys
from serve.quota.quota import open_quota
from serve.registry_view import RegistryView
from serve.residency.manager import Residency
from serve.residency.upkeep import Upkeep, wanted_of
from serve.retriever import LocalRetrieval, RemoteRetrieval, Retriever, RetrieverHandle
from serve.routing.published import Published, names_of
from serve.settings import AppArgs
from serve.telemetry.wiring import start_telemetry
from serve.tokens import token_counter
from train.base_model import resolve_base
from train.registry.registry import AdapterRegistry


class SpecialistServer(LLMServer):
    """Ray Serve LLM's server with specialists, adapters and retrieval in front of vLLM's app."""

    async def __init__(  # type: ignore[misc]  # Serve awaits the constructor, as Ray's own class has it
        self, llm_config: LLMConfig, *, args: AppArgs, retriever: RetrieverHandle | None
    ) -> None:
        """Start the engine, then read the registry.

        Args:
            llm_config: The engine's configuration.
            args: The application's arguments.
            retriever: Handle of the retriever deployment; None where this replica is to search by itself.
        """
        self._args = args
        self._retriever = retriever
        self._beat = 0
        self._news: Callable[[], dict[str, JsonValue]] | None = None
        await super().__init__(llm_config)

    async def _start_engine(self) -> None:
        """Start the engine without Ray's usage report, which is switched off but starts an actor all the same."""
        await contact.start_engine(self)

    async def __serve_build_asgi_app__(self) -> ASGIApp:
        """Wrap vLLM's app; called by Serve once the engine runs."""
        app: ASGIApp = await super().__serve_build_asgi_app__()
        serve = self._args.serve
        base = await asyncio.to_thread(resolve_base, self._args.base_model, models_dir=self._args.models_dir)
        count_tokens = await asyncio.to_thread(token_counter, base.path)
        registry = AdapterRegistry(
            self._args.registry, cache_dir=serve.adapter_cache_dir, cache_bytes=serve.adapter_cache_bytes
        )
        self._view = await asyncio.to_thread(
            RegistryView,
            registry,
            base_name=serve.base_name,
            base=base,
            max_lora_rank=serve.max_lora_rank,
            interval_s=serve.poll_interval_s,
            allow_unverified=serve.allow_unverified,
        )
        self._following = asyncio.create_task(self._view.follow())
        self._telemetry = await start_telemetry(serve.telemetry)
        residency = Residency(
            contact.VLLMAdapters(self),
            capacity=serve.resident_adapters,
            slots=serve.max_adapters,
            wait_s=serve.adapter_wait_s,
            cycle_s=serve.adapter_cycle_s,
            on_event=self._telemetry.metrics.count_adapter_event,
        )
        files = AdapterFiles(
            registry,
            base=base,
            max_lora_rank=serve.max_lora_rank,
            needed=lambda: residency.needed,
            interval_s=serve.adapter_check_s,
            on_pruned=self._telemetry.metrics.count_pruned,
        )
        upkeep = Upkeep(
            residency,
            wanted=lambda: wanted_of(self._view.catalog, pinned=self._view.catalog.pinned()),
            files=files.use,
            interval_s=serve.adapter_check_s,
            drain_s=serve.request_timeout_s,
        )
        await upkeep.settle(timeout_s=serve.adapter_wait_s)
        self._keeping = asyncio.create_task(upkeep.follow())
        self._tidying = asyncio.create_task(files.follow())
        gate = Gate(running=serve.max_concurrent_requests, waiting=serve.max_queued_requests)
        self._load = asyncio.create_task(
            self._telemetry.follow(
                running=lambda: gate.running, waiting=lambda: gate.waiting, adapters=lambda: residency.standing
            )
        )
        machine = StopFile(serve.stop_file)
        self._draining = Draining(
            stopping=lambda: contact.replica_is_stopping() or machine.touched(),
            grace_s=grace_s(serve),
            reachable_s=contact.stays_reachable_s(),
        )
        self._drained = asyncio.create_task(self._draining.follow())

        self._news = partial(
            self._tell,
            residency=residency,
            gate=gate,
            ready=lambda: not self._draining.begun and upkeep.unready() is None,
        )
        check_key = None
        if serve.keys.file is not None:
            keys = await asyncio.to_thread(FollowedKeys, serve.keys.file, interval_s=serve.keys.poll_interval_s)
            check_key = keys.check
            self._following_keys = asyncio.create_task(keys.follow())
        return assemble_layers(
            app,
            view=self._view,
            admin=Admin(
                registry,
                base=base,
                max_lora_rank=serve.max_lora_rank,
                allow_unverified=serve.allow_unverified,
            ),
            files=files.use,
            residency=residency,
            retriever=await self._open_retrieval(),
            count_tokens=count_tokens,
            max_model_len=contact.max_model_len(self),
            engine=EngineState(
                lives=partial(contact.engine_lives, self),
                requests=partial(contact.requests_in_engine, self),
                tokens_so_far=partial(contact.tokens_so_far, self),
            ),
            check_key=check_key,
            quota=open_quota(serve.quota, on_away=self._telemetry.metrics.count_quota_away),
            gate=gate,
            telemetry=self._telemetry,
            args=self._args,
            draining=self._draining,
            unready=upkeep.unready,
        )

    async def _open_retrieval(self) -> RemoteRetrieval | LocalRetrieval:
        if self._retriever is not None:
            return RemoteRetrieval(self._retriever)
        serve = self._args.serve
        make = partial(
            Retriever,
            self._args.indexer,
            max_batch=serve.retriever_batch,
            remembered=serve.retriever_cache,
            results_s=serve.retriever_results_s,
        )
        return LocalRetrieval(await asyncio.to_thread(make))

    async def record_routing_stats(self) -> dict[str, Any]:
        """What the routers are told of this replica; called by Serve."""
        stats: dict[str, Any] = await super().record_routing_stats()
        return {**stats, **self._news()} if self._news is not None else stats

    def _tell(self, *, residency: Residency, gate: Gate, ready: Callable[[], bool]) -> dict[str, JsonValue]:
        self._beat += 1
        models, plain = names_of(self._view.catalog, residency.resident)
        serve = self._args.serve
        news = Published(
            beat=self._beat,
            models=models,
            plain=plain,
            queue=gate.running + gate.waiting,
            capacity=serve.max_concurrent_requests + serve.max_queued_requests,
            ready=ready(),
        )
        return news.as_stats()
