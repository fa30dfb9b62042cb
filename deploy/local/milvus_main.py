"""The milvus-lite server as `up` starts it: SIGTERM closes the data folder properly, as only Ctrl-C does by itself.

python -m deploy.local.milvus_main server --data-dir DIR --host 127.0.0.1 --port 19530
"""

from __future__ import annotations

import signal


def main() -> None:
    """Runs milvus-lite's command line; both signals raise KeyboardInterrupt, even where the caller ignored them."""
    from milvus_lite.cmdline import main as milvus_lite

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    milvus_lite()


if __name__ == "__main__":
    main()
