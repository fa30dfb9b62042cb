"""Forward passes of the model: one after another with all threads, or several at once with a thread each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from indexer.embedding.batches import Batch


class Passes:
    """Runs the passes of one model; safe under threads, one call's passes are done before the next one's begin.

    On a CPU a pass is as quick as its slowest thread: whatever else a core has to do holds up all of them. Passes that
    have a thread each wait for nobody.
    """

    def __init__(self, *, lanes: int) -> None:
        """Start nothing yet.

        Args:
            lanes: Passes that run at once, each with one torch thread; 1 runs them in the caller's thread, with the
                threads that it has.
        """
        self._lock = threading.Lock()
        self._lanes = lanes
        self._pool = ThreadPoolExecutor(lanes, thread_name_prefix="embed", initializer=_one_thread)

    def run(self, batches: Sequence[Batch], one: Callable[[Batch], None]) -> None:
        """Call `one` for every batch; a batch that is alone has all threads.

        Raises:
            Exception: What `one` raised first, in the order of the batches; all of them have ended then.
        """
        with self._lock:
            if self._lanes == 1 or len(batches) == 1:
                for batch in batches:
                    one(batch)
                return
            begun = [self._pool.submit(one, batch) for batch in batches]
            wait(begun, return_when=FIRST_EXCEPTION)
            for future in begun:
                future.cancel()
            wait(begun)
            for future in begun:
                if not future.cancelled():
                    future.result()


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)  # of this thread alone
