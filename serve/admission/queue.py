"""The order in which requests that wait get their turn. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """A bounded queue in which tenants take turns, each in the order of arrival.

    Whoever sends a thousand requests at once waits behind itself, not others behind it. A full queue drops from the
    tenant that has the most in it, the last to come first (McKenney, Stochastic Fairness Queueing, 1990: drop from the
    longest queue), so that nobody can keep others out by filling it.
    """

    def __init__(self, *, capacity: int) -> None:
        """Start empty.

        Args:
            capacity: Items at most.
        """
        self._capacity = capacity
        self._lines: OrderedDict[str, deque[Item]] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        """Items that wait."""
        return self._size

    def push(self, tenant: str, item: Item) -> Item | None:
        """Add an item; return the one that had to go for it, which is the item itself where its tenant has the most."""
        line = self._lines.setdefault(tenant, deque())
        line.append(item)
        self._size += 1
        if self._size <= self._capacity:
            return None
        longest = max(self._lines, key=lambda name: (len(self._lines[name]), name == tenant))
        return self._taken(longest, self._lines[longest].pop())

    def pop(self) -> Item | None:
        """Take the next item: the first of the tenant whose turn it is; None where nothing waits."""
        if not self._lines:
            return None
        tenant = next(iter(self._lines))
        item = self._taken(tenant, self._lines[tenant].popleft())
        if tenant in self._lines:
            self._lines.move_to_end(tenant)
        return item

    def remove(self, tenant: str, item: Item) -> bool:
        """Take an item out that waits no more; False where it is not in the queue."""
        line = self._lines.get(tenant)
        if line is None or item not in line:
            return False
        line.remove(item)
        self._taken(tenant, item)
        return True

    def _taken(self, tenant: str, item: Item) -> Item:
        self._size -= 1
        if not self._lines[tenant]:
            del self._lines[tenant]
        return item
