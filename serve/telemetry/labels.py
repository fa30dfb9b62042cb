"""Keeps the number of time series bounded. No I/O."""

from __future__ import annotations

# What stands for a value that is not there, and for those above the cap.
ABSENT = "none"
OTHER = "other"


class LabelCap:
    """The first `limit` different values of one label keep their name, all later ones share `OTHER`.

    A value keeps its label as long as the process lives, so that a counter never changes its series.
    """

    def __init__(self, limit: int) -> None:
        """Take how many values keep their name."""
        self._limit = limit
        self._known: set[str] = set()

    def label(self, value: str | None) -> str:
        """The label of a value; `ABSENT` of none."""
        if not value:
            return ABSENT
        if value not in self._known:
            if len(self._known) >= self._limit:
                return OTHER
            self._known.add(value)
        return value


class PairCap:
    """Caps the second of two labels by the pairs that both make, so that a metric with both stays bounded too.

    With n first labels and a limit of m there are never more than 2n + m pairs: each first label alone, with `OTHER`,
    and the first m pairs that were seen.
    """

    def __init__(self, limit: int) -> None:
        """Take how many pairs keep their name."""
        self._limit = limit
        self._known: set[tuple[str, str]] = set()

    def label(self, first: str, value: str | None) -> str:
        """The label of a value beside a first label; `ABSENT` of none."""
        if not value:
            return ABSENT
        pair = (first, value)
        if pair not in self._known:
            if len(self._known) >= self._limit:
                return OTHER
            self._known.add(pair)
        return value
