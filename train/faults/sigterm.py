"""A worker process that is told to end (SIGTERM) hears of it and trains on until its checkpoint is stored.

By itself a worker of Ray ends at once, and the steps since the last checkpoint with it. Signals can be handled in the
main thread alone, which in a worker of Ray Train is not the one that trains: it runs what the backend sends.
"""

from __future__ import annotations

import signal
from types import FrameType

from ray.train.backend import BackendConfig
from ray.train.torch import TorchConfig


class _Told:
    """What this process was told; written by a signal's handler, so nothing here takes a lock."""

    to_end = False


def told_to_end() -> bool:
    """Whether this process got SIGTERM since `heed_sigterm`."""
    return _Told.to_end


def heed_sigterm() -> None:
    """Take note of the first SIGTERM, and leave a second one to whoever handles it now; main thread only."""
    former = signal.getsignal(signal.SIGTERM)

    def note(number: int, frame: FrameType | None) -> None:
        if not _Told.to_end:
            _Told.to_end = True
        elif callable(former):
            former(number, frame)

    _Told.to_end = False
    signal.signal(signal.SIGTERM, note)


class HeedingBackend(TorchConfig().backend_cls):  # type: ignore[misc, unused-ignore]
    """Torch's process group, and workers that heed SIGTERM."""

    def on_training_start(self, worker_group: object, backend_config: BackendConfig) -> None:
        """Let every worker heed it before it trains."""
        super().on_training_start(worker_group, backend_config)
        worker_group.execute(heed_sigterm)  # type: ignore[attr-defined]


class HeedingTorchConfig(TorchConfig):  # type: ignore[misc, unused-ignore]
    """TorchConfig with that backend."""

    @property
    def backend_cls(self) -> type[HeedingBackend]:
        """The backend's class."""
        return HeedingBackend
