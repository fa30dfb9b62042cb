"""Settings that are fine one by one and wrong together; one rule, one function."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from deploy.settings import Settings

# Most tokens of text that known embedders read: max_seq_length of their sentence_bert_config.json less the two special
# tokens around the text. Others are checked when loaded.
EMBEDDER_LIMITS = {"all-minilm-l6-v2": 254}
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1", "0.0.0.0"})
MILVUS_DEFAULT_PORT = 19530


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Two or more settings that exclude each other: their dotted paths, and a sentence without a full stop."""

    keys: tuple[str, ...]
    sentence: str


def starts_milvus(settings: Settings) -> bool:
    """Whether `up` starts a milvus-lite server: as set, else if the URI names this machine."""
    if settings.deploy.start_milvus is not None:
        return settings.deploy.start_milvus
    return (urlsplit(settings.indexer.milvus_uri).hostname or "") in LOOPBACK


def milvus_port(settings: Settings) -> int:
    """The port in `indexer.milvus_uri`."""
    return urlsplit(settings.indexer.milvus_uri).port or MILVUS_DEFAULT_PORT


def fixed_ports(settings: Settings) -> dict[str, int]:
    """The ports of this machine that settings fix, by dotted path of the setting; free choices (0) are left out."""
    ports = {"serve.port": settings.serve.port}
    if starts_milvus(settings):
        ports["indexer.milvus_uri"] = milvus_port(settings)
    for name in type(settings.deploy.ports).model_fields:
        ports[f"deploy.ports.{name}"] = getattr(settings.deploy.ports, name)
    return {key: port for key, port in ports.items() if port}


def chunk_over_embedder(settings: Settings) -> Contradiction | None:
    """A chunk longer than the embedder reads would be cut off silently."""
    limit = EMBEDDER_LIMITS.get(settings.indexer.embedder)
    if limit is None or settings.indexer.chunk_tokens <= limit:
        return None
    return Contradiction(
        ("indexer.chunk_tokens", "indexer.embedder"),
        f"indexer.chunk_tokens {settings.indexer.chunk_tokens} is over the {limit} tokens of text that the "
        f"embedder {settings.indexer.embedder} reads; set it to {limit} or less",
    )


def rank_over_engine(settings: Settings) -> Contradiction | None:
    """An adapter trained here could not be served here."""
    if settings.train.rank <= settings.serve.max_lora_rank:
        return None
    return Contradiction(
        ("serve.max_lora_rank", "train.rank"),
        f"serve.max_lora_rank {settings.serve.max_lora_rank} is below train.rank {settings.train.rank}: the engine "
        "would refuse what is trained; raise the first or lower the second",
    )


def unverified_unserved(settings: Settings) -> Contradiction | None:
    """An adapter trained here would not be served here."""
    if settings.train.engine_check or settings.serve.allow_unverified:
        return None
    return Contradiction(
        ("serve.allow_unverified", "train.engine_check"),
        "train.engine_check is false and so is serve.allow_unverified: what is trained would not be served; set one",
    )


def ports_equal(settings: Settings) -> Contradiction | None:
    """Two servers on one port."""
    seen: dict[int, str] = {}
    for key, port in fixed_ports(settings).items():
        if port in seen:
            return Contradiction((seen[port], key), f"{seen[port]} and {key} both name port {port}; give them two")
        seen[port] = key
    return None


def replicas_over_cpus(settings: Settings) -> Contradiction | None:
    """The app would wait for CPUs for ever."""
    serve = settings.serve
    wanted = serve.first_replicas * serve.cpus_per_replica + serve.retrievers * serve.retriever_cpus
    if wanted <= settings.deploy.logical_cpus:
        return None
    return Contradiction(
        ("deploy.logical_cpus", "serve.replicas", "serve.cpus_per_replica", "serve.retriever_cpus"),
        f"deploy.logical_cpus {settings.deploy.logical_cpus} is below the {wanted:g} CPUs that the serving graph asks "
        "for; raise it, it is only Ray's bookkeeping",
    )


def workers_over_cpus(settings: Settings) -> Contradiction | None:
    """Training would wait for CPUs for ever."""
    wanted = settings.train.workers * settings.train.cpus_per_worker
    if wanted <= settings.deploy.logical_cpus:
        return None
    return Contradiction(
        ("deploy.logical_cpus", "train.workers", "train.cpus_per_worker"),
        f"deploy.logical_cpus {settings.deploy.logical_cpus} is below the {wanted:g} CPUs of train.workers times "
        "train.cpus_per_worker; raise it or train with fewer workers",
    )


def gpus_denied(settings: Settings) -> Contradiction | None:
    """GPUs asked for where none are declared."""
    if settings.deploy.gpus != 0:
        return None
    if settings.train.use_gpu:
        return Contradiction(("train.use_gpu", "deploy.gpus"), "train.use_gpu is true but deploy.gpus is 0")
    if settings.serve.accelerator == "gpu":
        return Contradiction(("serve.accelerator", "deploy.gpus"), "serve.accelerator is gpu but deploy.gpus is 0")
    if settings.serve.retriever_gpus > 0:
        return Contradiction(
            ("serve.retriever_gpus", "deploy.gpus"),
            f"serve.retriever_gpus is {settings.serve.retriever_gpus:g} but deploy.gpus is 0",
        )
    return None


def replica_over_gpus(settings: Settings) -> Contradiction | None:
    """Tensor and pipeline parallel replicas need more GPUs than are declared."""
    gpus = settings.deploy.gpus
    if not gpus or settings.serve.accelerator == "cpu":
        return None
    sizes = [settings.serve.engine.get(name, 1) for name in ("tensor_parallel_size", "pipeline_parallel_size")]
    wanted = settings.serve.first_replicas
    for size in sizes:
        wanted *= size if isinstance(size, int) else 1
    if wanted <= gpus:
        return None
    return Contradiction(
        ("deploy.gpus", "serve.replicas", "serve.engine.tensor_parallel_size"),
        f"deploy.gpus {gpus} is below the {wanted} GPUs that {settings.serve.first_replicas} replica(s) ask for",
    )


def streams_cut(settings: Settings) -> Contradiction | None:
    """HAProxy would cut a stream, without a word to its client, before its time is up."""
    limit_s, longest_s = settings.deploy.stream_limit_s, settings.serve.request_timeout_s
    if not settings.serve.haproxy or limit_s >= longest_s:
        return None
    return Contradiction(
        ("deploy.stream_limit_s", "serve.request_timeout_s"),
        f"deploy.stream_limit_s {limit_s} is below serve.request_timeout_s {longest_s:g}: HAProxy would cut a stream "
        "that has time left; raise the first or lower the second",
    )


RULES = (
    chunk_over_embedder,
    rank_over_engine,
    unverified_unserved,
    ports_equal,
    replicas_over_cpus,
    workers_over_cpus,
    gpus_denied,
    replica_over_gpus,
    streams_cut,
)


def find_contradictions(settings: Settings) -> Iterator[Contradiction]:
    """Yields what the rules find, in their order."""
    for rule in RULES:
        found = rule(settings)
        if found is not None:
            yield found
