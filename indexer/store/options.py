"""How a Milvus server is reached and asked, beside its address: plain data that all parts of the store share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Consistency = Literal["strong", "session", "bounded", "eventually"]


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """What large servers are tuned by; the defaults are Milvus's own, or its documented middle values.

    Attributes:
        ca_file: Certificates (PEM) by which a server at https:// is known; None trusts the public authorities.
        consistency: How fresh a search's view is; what the indexer reads for itself is always read at Strong.
        replicas: Copies of a collection that the server's query nodes hold.
        hnsw_m: Neighbours that a vector of a new collection's index is linked to.
        hnsw_ef_construction: Candidates looked at for them.
        hnsw_ef: Candidates that a search looks at, at least; twice its passages where that is more.
    """

    ca_file: Path | None = None
    consistency: Consistency = "bounded"
    replicas: int = 1
    hnsw_m: int = 16
    hnsw_ef_construction: int = 200
    hnsw_ef: int = 64


DEFAULT_OPTIONS = StoreOptions()
