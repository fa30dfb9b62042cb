"""The replica: vLLM's own ASGI app inside our layers. The process that generates also answers the HTTP request."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, cast

from ray.serve.llm import LLMConfig
from ray.serve.llm.deployment import LLMServer
from starlette.types import ASGIApp

from serve import contact
from serve.layers.adapter import AdapterLayer
from serve.layers.citation import CitationLayer
from serve.layers.context import ContextLayer
from serve.layers.models import ModelsLayer
from serve.layers.resolve import ResolveLayer
from serve.layers.routes import RouteLayer
from serve.registry_view import RegistryView
from serve.residency.manager import Residency
from serve.retriever import RemoteRetrieval, Retrieval, RetrieverHandle
from serve.settings import AppArgs
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
        return assemble_layers(
            app,
            view=self._view,
            residency=residency,
            retrieval=RemoteRetrieval(self._retriever),
            tokenizer=tokenizer,
            max_model_len=contact.max_model_len(self),
            args=self._args,
        )


def assemble_layers(
    app: ASGIApp,
    *,
    view: RegistryView,
    residency: Residency,
    retrieval: Retrieval,
    tokenizer: PreTrainedTokenizerBase,
    max_model_len: int,
    args: AppArgs,
) -> ASGIApp:
    """Put the layers around vLLM's app; the request meets the last one named here first."""
    serve = args.serve
    app = CitationLayer(app)
    app = ContextLayer(
        app,
        retrieval=retrieval,
        count_tokens=partial(_count_tokens, tokenizer),
        max_model_len=max_model_len,
        tenant=args.indexer.default_tenant,
        timeout_s=serve.retrieval_timeout_s,
    )
    app = AdapterLayer(
        app,
        residency=residency,
        path_of=view.adapter_path,
        engine_base=serve.base_name,
        wait_s=serve.adapter_wait_s,
    )
    app = ResolveLayer(app, catalog=lambda: view.catalog)
    app = ModelsLayer(app, catalog=lambda: view.catalog, started_at=int(time.time()))
    return RouteLayer(app)


def _load_tokenizer(path: str) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    return cast("PreTrainedTokenizerBase", AutoTokenizer.from_pretrained(path, local_files_only=True))


def _count_tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    return len(tokenizer(text, add_special_tokens=False)["input_ids"])
