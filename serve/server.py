"""The replica: vLLM's own ASGI app inside our layers. The process that generates also answers the HTTP request."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, cast

from ray.serve.llm import LLMConfig
from ray.serve.llm.deployment import LLMServer
from starlette.types import ASGIApp

from serve import contact
from serve.admission.gate import Gate
from serve.graph import EngineState, assemble_layers
from serve.keys.followed import FollowedKeys
from serve.quota.quota import open_quota
from serve.registry_view import RegistryView
from serve.residency.manager import Residency
from serve.retriever import RemoteRetrieval, RetrieverHandle
from serve.settings import AppArgs
from serve.telemetry.wiring import start_telemetry
from train.base_model import resolve_base
from train.registry.registry import AdapterRegistry

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class SpecialistServer(LLMServer):
    """Ray Serve LLM's server with specialists, adapters and retrieval in front of vLLM's app."""

    async def __init__(  # type: ignore[misc]  # Serve awaits the constructor, as Ray's own class has it
        self, llm_config: LLMConfig, *, args: AppArgs, retriever: RetrieverHandle
    ) -> None:
        """Start the engine, then read the registry.

        Args:
            llm_config: The engine's configuration.
            args: The application's arguments.
            retriever: Handle of the retriever deployment.
        """
        self._args = args
        self._retriever = retriever
        await super().__init__(llm_config)

    async def _start_engine(self) -> None:
        """Start the engine without Ray's usage report, which is switched off but starts an actor all the same."""
        await contact.start_engine(self)

    async def __serve_build_asgi_app__(self) -> ASGIApp:
        """Wrap vLLM's app; called by Serve once the engine runs."""
        app: ASGIApp = await super().__serve_build_asgi_app__()
        serve = self._args.serve
        base = await asyncio.to_thread(resolve_base, self._args.base_model, models_dir=self._args.models_dir)
        tokenizer = await asyncio.to_thread(_load_tokenizer, str(base.path))
        self._view = await asyncio.to_thread(
            RegistryView,
            AdapterRegistry(self._args.registry),
            base_name=serve.base_name,
            base=base,
            max_lora_rank=serve.max_lora_rank,
            interval_s=serve.poll_interval_s,
        )
        self._following = asyncio.create_task(self._view.follow())
        residency = Residency(contact.VLLMAdapters(self), capacity=serve.resident_adapters, wait_s=serve.adapter_wait_s)
        self._telemetry = await start_telemetry(serve.telemetry)
        gate = Gate(running=serve.max_concurrent_requests, waiting=serve.max_queued_requests)
        self._load = asyncio.create_task(
            self._telemetry.follow(running=lambda: gate.running, waiting=lambda: gate.waiting)
        )
        check_key = None
        if serve.keys.file is not None:
            keys = await asyncio.to_thread(FollowedKeys, serve.keys.file, interval_s=serve.keys.poll_interval_s)
            check_key = keys.check
            self._following_keys = asyncio.create_task(keys.follow())
        return assemble_layers(
            app,
            view=self._view,
            residency=residency,
            retriever=RemoteRetrieval(self._retriever),
            count_tokens=partial(_count_tokens, tokenizer),
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
        )


def _load_tokenizer(path: str) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    return cast("PreTrainedTokenizerBase", AutoTokenizer.from_pretrained(path, local_files_only=True))


def _count_tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])
