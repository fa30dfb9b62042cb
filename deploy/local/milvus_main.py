"""The milvus-lite server as `up` starts it: neither SIGTERM nor a kill leaves a collection that cannot be read.

python -m deploy.local.milvus_main server --data-dir DIR --host 127.0.0.1 --port 19530
"""

from __future__ import annotations

import os
import signal


def main() -> None:
    """Runs milvus-lite's command line; both signals raise KeyboardInterrupt, even where the caller ignored them.

    By itself it closes its data folder at Ctrl-C alone, and writes index files in place: one that was cut short keeps
    its collection from being loaded until it is removed (milvus-lite 3.2.2).
    """
    from milvus_lite.cmdline import main as milvus_lite

    write_indexes_whole()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    milvus_lite()


def write_indexes_whole() -> None:
    """From here on faiss writes an index beside its file and then puts it in its place."""
    import faiss

    write = faiss.write_index

    def write_whole(index: faiss.Index, path: str) -> None:
        part = f"{path}.part"
        write(index, part)
        os.replace(part, path)

    setattr(faiss, "write_index", write_whole)  # noqa: B010  its type has overloads that milvus-lite does not call


if __name__ == "__main__":
    main()
