"""Milvus, as the rest of Graftwork sees it: generations behind aliases, chunks in, passages out."""

from __future__ import annotations

from indexer.store.collections import Collections
from indexer.store.documents import Documents
from indexer.store.imports import Imports
from indexer.store.leases import Leases
from indexer.store.letters import Letters
from indexer.store.neighbours import Neighbours
from indexer.store.rows import Rows
from indexer.store.search import PassageSearch


class MilvusStore(Collections, Rows, Imports, Documents, PassageSearch, Neighbours, Leases, Letters):
    """One Milvus connection, opened on first use and shared by threads.

    Every read and every delete of chunks is limited to one tenant. Methods raise UnavailableError when the server
    does not answer, after seconds rather than minutes, naming its URI.
    """
