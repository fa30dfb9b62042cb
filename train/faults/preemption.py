"""When a checkpoint is due out of turn: a node of the run is to be taken away, or a worker was told to end.

Ray marks a node that is to go as draining, with a deadline: a spot instance's notice, a scaled-down node, a pod whose
Ray got SIGTERM (for RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S, 30 s), `ray drain-node`. Ray Train looks every 5 s
(RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S) and starts the workers anew elsewhere when the deadline is over; until then they
train on. All ranks must act alike, so each casts its votes with what it says about time, in one reduction a step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

# Asking Ray Train is a call to an actor in which all ranks wait for each other, some milliseconds; a step that is
# shorter than this asks less often than every time.
LOOK_SECONDS = 2.0


class ToldToEndError(RuntimeError):
    """This worker was told to end, and what it trained is stored."""


def draining_nodes() -> Collection[str]:
    """The run's nodes that are to go, as Ray Train knows them; all ranks ask together."""
    import ray.train

    found = ray.train.get_preemption_info()
    return () if found is None else found.preempted_node_ids


@dataclass
class Preemption:
    """What one rank has heard, and what all of them agree to do.

    Attributes:
        told: Whether this process was told to end.
        look: The nodes that are to go; called on all ranks at the same step.
        clock: Monotonic seconds.
        due: A checkpoint is due after this step, whatever step it is.
        ending: A worker ends after the next checkpoint.
    """

    told: Callable[[], bool]
    look: Callable[[], Collection[str]] = draining_nodes
    clock: Callable[[], float] = time.monotonic
    due: bool = False
    ending: bool = False
    _looked: float = field(default=float("-inf"), repr=False)
    _going: set[str] = field(default_factory=set, repr=False)

    def votes(self) -> tuple[float, float]:
        """What this rank says after a step: whether it is time to look, and whether it was told to end."""
        return float(self.clock() - self._looked >= LOOK_SECONDS), float(self.told())

    def decide(self, look: float, told: float) -> None:
        """Hear the highest votes of all ranks; every rank comes to the same decision."""
        going = set(self.look()) - self._going if look else set()
        if look:
            self._looked = self.clock()
        self._going |= going
        self.due = bool(going) or (bool(told) and not self.ending)
        self.ending = bool(told)

    def after_checkpoint(self) -> None:
        """End a worker that was told to.

        Raises:
            ToldToEndError: It was; Ray Train starts all workers anew from the checkpoint.
        """
        if self.told():
            raise ToldToEndError("The worker was told to end by SIGTERM.")
