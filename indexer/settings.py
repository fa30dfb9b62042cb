"""The indexer's section of the settings file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from indexer.store.options import DEFAULT_OPTIONS, Consistency

EmbedDtype = Literal["auto", "bfloat16", "float16", "float32"]
ChunkStrategy = Literal["structure", "sentences", "tokens"]


class IndexerSettings(BaseModel):
    """Where the vectors live, which model makes them, and how documents are cut."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    milvus_uri: str = Field(
        default="http://127.0.0.1:19530",
        description="Milvus server, http:// or https://, no password in it (see milvus_token); a file path is refused, "
        "because Ray workers share one server.",
    )
    milvus_token: SecretStr | None = Field(
        default=None, description="Milvus API key or user:password; unset for a server without authentication."
    )
    milvus_timeout_s: float = Field(
        default=8.0,
        gt=0,
        description="Seconds one call to Milvus may take; below serve.retrieval_timeout_s, so that its error is heard.",
    )
    milvus_ca_file: Path | None = Field(
        default=None,
        description="Certificates (PEM) by which a Milvus at https:// is known, on every node; unset trusts the public "
        "authorities.",
    )
    milvus_consistency: Consistency = Field(
        default=DEFAULT_OPTIONS.consistency,
        description="How fresh the view of a search is: strong sees all that was written before, bounded and session "
        "may lack the last moments, eventually waits for nothing.",
    )
    milvus_replicas: int = Field(
        default=DEFAULT_OPTIONS.replicas,
        ge=1,
        le=64,
        description="Copies of a collection that Milvus's query nodes hold, for more searches.",
    )
    hnsw_m: int = Field(
        default=DEFAULT_OPTIONS.hnsw_m,
        ge=2,
        le=2048,
        description="Links of a vector in the index of collections made from now on.",
    )
    hnsw_ef_construction: int = Field(
        default=DEFAULT_OPTIONS.hnsw_ef_construction,
        ge=1,
        le=100_000,
        description="Candidates for them: more make a better index, and a slower build.",
    )
    hnsw_ef: int = Field(
        default=DEFAULT_OPTIONS.hnsw_ef,
        ge=1,
        le=32_768,
        description="Candidates that a search looks at, at least; more find more, slower.",
    )
    embedder: str = Field(
        default="all-minilm-l6-v2",
        min_length=1,
        description="Sentence-transformers model: the embedded `all-minilm-l6-v2`, a folder, or a name of the hub, "
        "which may say its revision: `org/model@v1.5`.",
    )
    reranker: str | None = Field(
        default=None,
        min_length=1,
        description="Cross-encoder that may order passages anew: a folder, or a model in the local model cache; unset "
        "has none.",
    )
    embed_device: str | None = Field(
        default=None,
        description="Torch device of embedder and reranker (cpu, cuda, cuda:1); unset lets the models choose.",
    )
    embed_dtype: EmbedDtype = Field(
        default="auto",
        description="What embedder and reranker multiply in (sums and vectors stay float32). On a GPU auto is "
        "bfloat16 where it has that, because no model exceeds its range, else float16; on a CPU bfloat16 where the "
        "processor multiplies it, else float32, because anything else is slower there.",
    )
    embed_batch_size: int = Field(
        default=512, ge=1, le=4096, description="Chunks per call of an embedding actor; sorted by length inside."
    )
    embed_batch_tokens: int | None = Field(
        default=None,
        ge=1,
        description="Most tokens of a forward pass, padding counted; unset takes 2,048 on a CPU, 65,536 on a GPU.",
    )
    embed_actors: int | None = Field(
        default=None,
        ge=1,
        description="Embedding actors, each of which loads the model once; unset takes as many as the cluster's GPUs "
        "hold (embed_gpus; those that are free where that is unset), without GPUs one per node.",
    )
    embed_cpus: float = Field(
        default=1.0, gt=0, description="Ray CPUs reserved per embedding actor; less where the cluster is small."
    )
    embed_gpus: float | None = Field(
        default=None,
        ge=0,
        description="Ray GPUs reserved per embedding actor; unset takes a whole one where the cluster has free ones (a "
        "share where embed_actors are more than they), else none. Without one an actor embeds on the CPU, unless "
        "embed_device says otherwise.",
    )
    embed_threads: int | None = Field(
        default=None, ge=1, description="Torch threads per embedding actor; unset shares the node's cores among them."
    )
    chunk_tokens: int = Field(
        default=200, ge=16, description="Most tokens of text per chunk, counted by the embedder's own tokenizer."
    )
    chunk_overlap_tokens: int = Field(
        default=30, ge=0, description="Tokens repeated from the end of one chunk at the start of the next."
    )
    chunk_strategy: ChunkStrategy = Field(
        default="structure",
        description="What chunks are cut along: structure (headings; paragraphs, lists, code and tables whole where "
        "they fit), sentences (as many as fit, over headings too) or tokens (windows cut between words).",
    )
    default_tenant: str = Field(
        default="default", min_length=1, description="Tenant of rows and queries that name none."
    )
    max_document_bytes: int = Field(
        default=32 * 1024 * 1024,
        ge=1024,
        description="A larger document is reported as failed, not read; DOCX and XLSX count by their unpacked text.",
    )
    parse_timeout_s: float = Field(
        default=300.0, gt=0, description="Seconds after which the parsing of one document is given up and reported."
    )
    write_batch_size: int = Field(default=500, ge=1, le=5000, description="Chunks per upsert call.")

    bulk_above_chunks: int | None = Field(
        default=None,
        ge=0,
        description="A tenant's share of a new generation that is estimated at more chunks than this is written as "
        "Parquet files that Milvus imports; unset never does. Not with milvus-lite.",
    )
    bulk_uri: str | None = Field(
        default=None,
        description="Folder for those files, of this Milvus server alone, in the bucket that the server itself reads: "
        "s3://BUCKET/PREFIX and the like; file:///FOLDER for a server that keeps its data on its disk.",
    )
    bulk_timeout_s: float = Field(
        default=600.0,
        gt=0,
        description="Seconds that imports may stand still until a run waits no longer; the next run waits for them.",
    )

    verify_sample: int = Field(
        default=100, ge=0, le=1000, description="Stored vectors per tenant that a new generation's index is tried with."
    )
    verify_min_recall: float = Field(
        default=0.9,
        ge=0,
        le=1,
        description="Least share of the true 10 nearest neighbours that the index of a new generation must find.",
    )
    verify_min_hits: float = Field(
        default=0.8,
        ge=0,
        le=1,
        description="Least share of golden questions (index --questions) that find what they name among the first 10.",
    )

    @field_validator("milvus_uri")
    @classmethod
    def refuse_userinfo(cls, uri: str) -> str:
        """Refuse a password in the URI, which is shown to API clients, in logs and in state files."""
        if "@" in uri:
            scheme = re.match(r"\w+(?=://)", uri)
            address = f"{scheme.group() if scheme else 'http'}://{uri.rpartition('@')[2]}"
            raise ValueError(
                f"it names a user or password; give {address} and put them into milvus_token as user:password"
            )
        return uri

    @model_validator(mode="after")
    def check_certificates_are_used(self) -> IndexerSettings:
        """Refuse certificates for a server that is asked without TLS: nobody would look at them."""
        if self.milvus_ca_file is not None and not self.milvus_uri.lower().startswith("https://"):
            raise ValueError("milvus_ca_file is set, but milvus_uri is no https:// address; correct one of them")
        return self

    @model_validator(mode="after")
    def check_bulk_is_whole(self) -> IndexerSettings:
        """Refuse half of what imports need."""
        if (self.bulk_above_chunks is None) != (self.bulk_uri is None):
            given, missing = ("bulk_uri", "bulk_above_chunks")[:: 1 if self.bulk_above_chunks is None else -1]
            raise ValueError(f"{given} is set without {missing}; set both, or neither for upserts")
        return self

    @model_validator(mode="after")
    def check_overlap_below_half(self) -> IndexerSettings:
        """Refuse an overlap that leaves a chunk less new text than repeated text."""
        if self.chunk_overlap_tokens * 2 > self.chunk_tokens:
            raise ValueError(
                f"chunk_overlap_tokens is {self.chunk_overlap_tokens}, more than half of chunk_tokens "
                f"({self.chunk_tokens}); lower it"
            )
        return self
