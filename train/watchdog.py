"""Whether a run still learns: its losses and gradients at every report, and the loss on held-out rows. Pure."""

from __future__ import annotations

import math
import statistics
from collections import deque

# Reports whose median a loss is compared with, and how many there must be.
_WINDOW, _FEWEST = 16, 4


class Watchdog:
    """Hears of every report, and says why a run should end."""

    def __init__(self, *, spike: float | None) -> None:
        """Take the limits.

        Args:
            spike: How many times the median of the last reports a loss may be; None: any.
        """
        self._spike = spike
        self._losses: deque[float] = deque(maxlen=_WINDOW)

    def fault(self, *, loss: float, gradient: float | None) -> str | None:
        """What is wrong with a report, or None.

        Args:
            loss: Mean loss since the report before.
            gradient: Norm of the last step's gradients; None where it is not known.
        """
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if gradient is not None and not math.isfinite(gradient):
            return f"the norm of the gradients is {gradient}"
        if self._spike is not None and len(self._losses) >= _FEWEST:
            usual = statistics.median(self._losses)
            if loss > self._spike * usual:
                return f"the loss is {loss:.4g}, over {self._spike:g} times its median of late, {usual:.4g}"
        self._losses.append(loss)
        return None
