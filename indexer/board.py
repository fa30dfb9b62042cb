"""A small Ray actor that workers tell and the driver takes from. It is for display: losing it costs nothing else."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any, Generic, TypeVar

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

logger = logging.getLogger(__name__)

_ANSWER_S = 5.0  # a busy cluster answers in milliseconds; what is late comes with the next look
_Told = TypeVar("_Told")


class _Items:
    """Keeps what was told until it is taken."""

    def __init__(self) -> None:
        self._items: list[object] = []

    def tell(self, item: object) -> None:
        self._items.append(item)

    def take(self) -> list[object]:
        items, self._items = self._items, []
        return items


class Board(Generic[_Told]):
    """A handle that can be sent to workers. Its actor lives on the driver's node, and is lost with the driver alone.

    Attributes:
        lost: The actor is gone, with its node for instance; what was not taken went with it, and nothing more comes.
    """

    def __init__(self) -> None:
        """Start the actor; it takes no CPU of the cluster's count."""
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._actor: Any = ray.remote(num_cpus=0, scheduling_strategy=here)(_Items).remote()
        self._reset()

    def _reset(self) -> None:
        self._asked: Any = None
        self.lost = False

    def __getstate__(self) -> dict[str, object]:
        """Leave the driver's side out of a pickle."""
        return {"_actor": self._actor}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the handle."""
        self._actor = state["_actor"]
        self._reset()

    @property
    def late(self) -> bool:
        """Whether the last look got no answer in time."""
        return self._asked is not None

    def tell(self, item: _Told) -> None:
        """Put an item up without waiting."""
        self._actor.tell.remote(item)

    def take(self) -> list[_Told]:
        """Return what was told since the last look; nothing if the actor is late or lost, and never an error of Ray."""
        if self.lost:
            return []
        try:
            if self._asked is None:
                self._asked = self._actor.take.remote()
            items: list[_Told] = ray.get(self._asked, timeout=_ANSWER_S)
        except ray.exceptions.GetTimeoutError:  # the next look waits for the same answer, so nothing is missed
            return []
        except ray.exceptions.RayError as error:
            self._asked, self.lost = None, True
            logger.warning("progress is no longer shown, its actor is lost (%s); the run goes on", type(error).__name__)
            return []
        self._asked = None
        return items

    def close(self) -> None:
        """End the actor."""
        with suppress(ray.exceptions.RayError):  # it ended with its node or with the cluster
            ray.kill(self._actor)
