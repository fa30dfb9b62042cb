"""The application builder that Ray Serve calls, here and on Kubernetes.

    serve deploy config.yaml        with  import_path: serve.app:build  and  args: {base_model: ..., registry: ..., ...}

The graph: HAProxy asks the request router for a replica and sends the request there; the replica asks the retriever,
which is a deployment of its own or a part of the replica.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

from pydantic import JsonValue, SecretStr, ValidationError

from indexer.errors import InputError, UnavailableError
from serve import contact
from serve.quota.settings import is_redis
from serve.scale import engine_scale, retriever_scale
from serve.settings import MILVUS_TOKEN_VARIABLE, QUOTA_STORAGE_VARIABLE, AppArgs, ServeSettings
from serve.telemetry.logs import serve_logging
from train.engine.builds import installed_engines

if TYPE_CHECKING:
    from ray.serve.deployment import Application
    from ray.serve.llm import LLMConfig

# The engine's key-value cache on CPU where nothing sizes it.
CPU_CACHE_BYTES = 2**30
# Nothing of a request's text is written to a log; these go before what the user sets.
QUIET_ENGINE: dict[str, JsonValue] = {
    "enable_log_requests": False,  # prompts and parameters: vllm/entrypoints/serve/utils/request_logger.py
    "enable_log_outputs": False,  # generated text: the same, log_outputs
    "log_error_stack": False,  # tracebacks of refused requests, whose errors repeat the input
}
QUIET_ENVIRONMENT = {
    "RAYLLM_ENABLE_REQUEST_PROMPT_LOGS": "0",  # on by default: ray/llm/_internal/serve/constants.py
    "VLLM_DEBUG_LOG_API_SERVER_RESPONSE": "false",  # whole answers: vllm/entrypoints/serve/middleware/register.py
}
# No reports of usage, also where no `graftwork up` set these for the whole cluster: vllm/usage/usage_lib.py.
_NO_USAGE = {"VLLM_NO_USAGE_STATS": "1", "VLLM_DO_NOT_TRACK": "1", "RAY_USAGE_STATS_ENABLED": "0"}


def build(args: dict[str, JsonValue]) -> Application:
    """Build the application from the `args` of a Serve config.

    Raises:
        InputError: An argument is unknown, missing or does not fit.
        UnavailableError: No engine, or two, are installed.
    """
    from ray import serve
    from ray.serve.llm import build_llm_deployment

    from serve.retriever import Retriever
    from serve.server import SpecialistServer

    app_args = parse_args(args)
    settings = app_args.serve
    retriever = None
    if settings.retriever == "deployment":
        deploy_retriever = serve.deployment(
            **retriever_scale(settings),
            ray_actor_options={"num_cpus": settings.retriever_cpus, "num_gpus": settings.retriever_gpus},
            logging_config=serve_logging(settings.telemetry.log_format),
        )
        retriever = deploy_retriever(Retriever).bind(
            app_args.indexer,
            max_batch=settings.retriever_batch,
            remembered=settings.retriever_cache,
            results_s=settings.retriever_results_s,
        )
    config = llm_config(app_args)
    server = build_llm_deployment(
        config,
        bind_kwargs={"args": app_args, "retriever": retriever},
        deployment_cls=serve.ingress()(SpecialistServer),
    )
    if os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1":
        return contact.with_request_router(server, config)
    return server


def parse_args(args: dict[str, JsonValue]) -> AppArgs:
    """Check the arguments of a Serve config; secrets may come from the environment.

    Raises:
        InputError: An argument is unknown, missing or does not fit; the message names it.
    """
    try:
        parsed = AppArgs.model_validate(args)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InputError(f"Argument {'.'.join(map(str, first['loc']))} of serve.app:build: {first['msg']}.") from error
    storage = os.environ.get(QUOTA_STORAGE_VARIABLE)
    if storage and parsed.serve.quota.storage is None:
        if not is_redis(storage):
            raise InputError(f"{QUOTA_STORAGE_VARIABLE} is no address of a Redis; give redis://HOST:PORT/NUMBER.")
        quota = parsed.serve.quota.model_copy(update={"storage": SecretStr(storage)})
        parsed.serve = parsed.serve.model_copy(update={"quota": quota})
    token = os.environ.get(MILVUS_TOKEN_VARIABLE)
    if token and parsed.indexer.milvus_token is None:
        parsed.indexer = parsed.indexer.model_copy(update={"milvus_token": SecretStr(token)})
    return parsed


def llm_config(args: AppArgs) -> LLMConfig:
    """The engine's configuration for Ray Serve LLM.

    Admission is ours alone (`serve/admission`): Serve's own limits would queue in front of it, silently, and refuse in
    plain text (ray/serve/_private/replica.py, `_can_accept_request`), so they are out of its reach.
    """
    from ray.serve.llm import LLMConfig

    from serve import contact
    from train.base_model import resolve_base

    settings = args.serve
    kind = accelerator_kind(settings)
    base = resolve_base(args.base_model, models_dir=args.models_dir)
    return LLMConfig(
        model_loading_config={"model_id": settings.base_name, "model_source": str(base.path)},
        deployment_config={
            **engine_scale(settings),
            "request_router_config": contact.router_config(),
            "max_ongoing_requests": settings.serve_limit,
            "max_queued_requests": -1,
            "graceful_shutdown_timeout_s": grace_s(settings),
            "ray_actor_options": {"num_cpus": settings.cpus_per_replica},
            "logging_config": serve_logging(settings.telemetry.log_format),
        },
        accelerator_config={"kind": kind},
        accelerator_type=settings.accelerator_type,
        engine_kwargs=engine_arguments(settings, accelerator=kind),
        runtime_env={"env_vars": engine_environment(settings, accelerator=kind)},
        callback_config={"callback_class": "serve.node_files.FilesAreThere"},
        log_engine_metrics=True,
    )


def grace_s(settings: ServeSettings) -> float:
    """Seconds from the moment that Serve begins to stop a replica to its kill.

    Serve counts the time in which a replica stays reachable as part of them (ray/serve/_private/deployment_state.py,
    `DeploymentReplica.stop`); requests get theirs on top of it.
    """
    return contact.stays_reachable_s() + settings.shutdown_grace_s


def engine_arguments(settings: ServeSettings, *, accelerator: Literal["cpu", "gpu"]) -> dict[str, JsonValue]:
    """What vLLM is started with: the user's arguments and those that other settings own.

    `max_cpu_loras` is one above what residency keeps, because the engine evicts on its own, silently, when it is full.
    The cache is small on CPU unless something sizes it, because vLLM would claim most of the machine's memory; the
    variable VLLM_CPU_KVCACHE_SPACE goes before any argument.
    """
    sized = "kv_cache_memory_bytes" in settings.engine or "gpu_memory_utilization" in settings.engine
    return {
        "enable_prompt_tokens_details": True,
        **({"kv_cache_memory_bytes": CPU_CACHE_BYTES} if accelerator == "cpu" and not sized else {}),
        **settings.engine,
        "enable_lora": True,
        "max_loras": settings.max_adapters,
        "max_cpu_loras": settings.resident_adapters + 1,
        "max_lora_rank": settings.max_lora_rank,
        **QUIET_ENGINE,
    }


def engine_environment(settings: ServeSettings, *, accelerator: Literal["cpu", "gpu"]) -> dict[str, str]:
    """Environment of the engine processes: the user's, quiet, and on CPU no torch.compile unless the user asks for it.

    With LoRA vLLM 0.29 compiles nothing there but the sampler, which is no faster for it and wants a C++ compiler
    (TORCH_COMPILE_DISABLE: torch/_dynamo/config.py).
    """
    compiling = {"TORCH_COMPILE_DISABLE": "1"} if accelerator == "cpu" else {}
    return {**compiling, **_NO_USAGE, **settings.engine_environment, **QUIET_ENVIRONMENT}


def accelerator_kind(settings: ServeSettings) -> Literal["cpu", "gpu"]:
    """Where the engine runs.

    Raises:
        UnavailableError: vLLM is not installed, or both builds are: they overwrite each other.
    """
    builds = installed_engines()
    if len(builds) != 1:
        found = "none is installed" if not builds else "both are installed and overwrite each other"
        raise UnavailableError(
            f"Exactly one of vllm and vllm-cpu must be installed, but {found}; run `make setup` in a new environment."
        )
    return choose_accelerator(settings, engines=builds)


def choose_accelerator(settings: ServeSettings, *, engines: tuple[str, ...]) -> Literal["cpu", "gpu"]:
    """Where an engine of the installed builds would run: `auto` is a GPU with the GPU build alone, else the CPU."""
    if settings.accelerator != "auto":
        return settings.accelerator
    return "gpu" if engines == ("vllm",) else "cpu"
