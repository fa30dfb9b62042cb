"""What becomes of requests when a replica is stopped: they get to finish, and what cannot is told before it is cut.

Serve keeps a replica behind HAProxy reachable for a while, so that every HAProxy hears that it goes, then closes its
listener, upon which HAProxy takes new requests elsewhere, and waits for those that run. After the deployment's
`graceful_shutdown_timeout_s` it kills the replica (ray/serve/_private/replica.py, `_drain_behind_haproxy`;
deployment_state.py, `DeploymentReplica.stop`). Where the machine itself goes, as a pod that is deleted, Serve hears of
it too late; there a file says so (`serve.stop_file`), which Kubernetes touches before it ends the pod.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger("graftwork.serve")

# Seconds between two looks; Serve calls nothing of ours when it begins to stop a replica.
LOOK_S = 0.25
# Seconds before the kill in which what still runs is told; a quarter of a grace that is shorter than four of these.
TELLING_S = 1.0


class Draining:
    """Notices that the replica is being stopped. Made and followed on one event loop.

    Attributes:
        begun: Whether it is being stopped.
        refusing: Whether new requests are refused: it is being stopped, and everybody has had the time to hear of it.
        over: Done when what still runs has to end.
    """

    def __init__(self, *, stopping: Callable[[], bool], grace_s: float, reachable_s: float = 0.0) -> None:
        """Remember whom to ask.

        Args:
            stopping: Whether this replica is being stopped.
            grace_s: Seconds between that moment and the kill.
            reachable_s: Seconds of these in which requests may still be sent here by who has not heard of it.
        """
        self._stopping = stopping
        self._left_s = grace_s - min(TELLING_S, grace_s / 4)
        self._reachable_s = min(reachable_s, self._left_s)
        self.begun = self.refusing = False
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def follow(self) -> None:
        """Look until the replica is stopped, then wait until its grace is nearly over."""
        while not self._stopping():  # noqa: ASYNC110  Serve sets a flag and tells nobody
            await asyncio.sleep(LOOK_S)
        self.begun = True
        logger.info("this replica is being stopped; what runs has %.1f s to finish", self._left_s)
        await asyncio.sleep(self._reachable_s)
        self.refusing = True
        await asyncio.sleep(self._left_s - self._reachable_s)
        self.over.set_result(None)


class StopFile:
    """Whether a file was made or touched since this was made; one that lies there from before says nothing."""

    def __init__(self, path: Path | None) -> None:
        """Name the file; None is never touched."""
        self._path = path
        self._since = time.time()

    def touched(self) -> bool:
        """Look at it."""
        if self._path is None:
            return False
        try:
            return self._path.stat().st_mtime > self._since
        except OSError:  # not there, or not to be read: nobody has touched it
            return False
