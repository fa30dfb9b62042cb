"""Holding a collection's lease while one writes: taken before the first write, renewed beside it, given back after.

What is guaranteed, where clocks of machines agree within SKEW_S: no two processes hold a lease on the same rows at the
same time, and one that was away longer than its lease learns of it before it deletes rows or moves an alias. What is
not: Milvus checks no lease, so an upsert of a lost holder that is already on its way still lands. Its rows have the
keys that any other run would give them, and the next run of that document puts right what is left over.
"""

from __future__ import annotations

import logging
import math
import os
import pwd
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pymilvus.exceptions import MilvusException

from indexer.errors import ConflictError, UnavailableError
from indexer.store.lease import LEASE_S, RENEW_S, Claim, next_number, rivals, step, superseded_by
from indexer.store.leases import Leases

logger = logging.getLogger(__name__)

_RENEW_AGAIN_S = 2.0  # after a renewal that failed: what is left of the lease may outlast a restart of the server
_PATIENCE_S = 5.0  # how long the first of several that ask at once waits for the others to withdraw
_LOOK_AGAIN_S = 0.1
# By Milvus's promise one read is enough. milvus-lite breaks it for a moment: two requests that open a collection at the
# same time, after its start or creation, get two copies, of which one is forgotten with what was just written to it.
_CONFIRM_S = 0.3
_START_TIME = 19  # place of the start time behind the command in /proc/<pid>/stat, see proc(5)

# Keys of claims that this process is done with and could not delete: they are not in the way of its next run.
_stranded: set[str] = set()


class Lease:
    """A lease that this process holds.

    Attributes:
        claim: What the others see.
    """

    def __init__(self, store: Leases, claim: Claim, *, until: float) -> None:
        """Keep the claim.

        Args:
            store: Where it stands.
            claim: As it was written.
            until: Its end on this machine's own clock, in seconds.
        """
        self.claim = claim
        self._store = store
        self._own = store.another()  # a call that the run waits for does not hold up a renewal
        self._until = until
        self._lock = threading.Lock()

    @property
    def overdue(self) -> bool:
        """Whether the lease was not renewed in time; then it is never renewed again."""
        return _clock() > self._until

    def renew(self) -> None:
        """Move the end of the lease; what is acknowledged after the old end does not count.

        A claim that was cleared is not written again: a successor has seen that this lease had ended.

        Raises:
            UnavailableError: Milvus does not answer.
        """
        with self._lock:
            if self.overdue:
                return
            if not self._stands():
                self._until = -math.inf
                return
            until, claim = _clock() + LEASE_S, replace(self.claim, expires=time.time() + LEASE_S)
            self._own.write_claim(claim)
            if not self.overdue:
                self._until, self.claim = until, claim

    def _stands(self) -> bool:
        """Whether the claim is there; by the second of two reads, see _CONFIRM_S."""
        for wait_s in (_CONFIRM_S, 0.0):
            if self.claim.key in {claim.key for claim in self._own.read_claims(self.claim.collection)}:
                return True
            time.sleep(wait_s)
        return False

    def give_back(self) -> None:
        """Delete the claim; the lease is not renewed meanwhile."""
        _withdraw(self._own, self.claim)

    def check(self) -> None:
        """See that the lease still holds; called before what cannot be repeated.

        Raises:
            ConflictError: It ended, or another took over.
            UnavailableError: Milvus does not answer.
        """
        claims = self._store.read_claims(self.claim.collection)
        against = rivals(self.claim, claims, now=time.time(), gone=writer_is_gone)
        successor = superseded_by(self.claim, against)
        if successor is not None:
            raise ConflictError(
                f"This run lost its lease and stopped: {successor.describe()}; run it again after that."
            )
        if self.overdue or self.claim.key not in {claim.key for claim in claims}:
            raise ConflictError(
                f"This run lost its lease on {self.claim.collection!r}, which it could not renew within "
                f"{LEASE_S:.0f} s, and stopped; what was written is kept, run it again to go on."
            )


@contextmanager
def holding(store: Leases, collection: str, *, tenant: str = "") -> Iterator[Lease]:
    """Hold the lease on a collection, or on a tenant's rows in it, for the length of the block.

    Args:
        store: Where the leases stand.
        collection: Alias.
        tenant: Whose rows are written; empty for all of the collection.

    Raises:
        ConflictError: Another process holds it; its holder and its end are named.
        UnavailableError: Milvus does not answer.
    """
    lease = _take(store, collection, tenant=tenant)
    stop = threading.Event()
    thread = threading.Thread(target=_keep, args=(lease, stop), name="lease", daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        stop.set()
        thread.join()
        lease.give_back()


def holders(store: Leases, collection: str) -> list[Claim]:
    """Return the live claims on a collection."""
    nobody = _claim(collection, tenant="", number=0)
    return rivals(nobody, store.read_claims(collection), now=time.time(), gone=writer_is_gone)


def writer_is_gone(claim: Claim) -> bool:
    """Tell whether a claim's writer is known to have ended: processes of this machine can be looked at, no others."""
    return claim.key in _stranded or (claim.machine == _machine() and _start_time(claim.pid) != claim.started)


def _take(store: Leases, collection: str, *, tenant: str) -> Lease:
    before = store.read_claims(collection)
    mine = _claim(collection, tenant=tenant, number=next_number(before))
    if against := rivals(mine, before, now=time.time(), gone=writer_is_gone):
        raise _refused(against, mine)
    until = _clock() + LEASE_S
    try:
        store.write_claim(mine)
        _settle(store, mine)
        _clear(store, mine)
    except BaseException:
        _withdraw(store.another(), mine)
        raise
    return Lease(store, mine, until=until)


def _settle(store: Leases, mine: Claim) -> None:
    """Return when the lease is held; by the second of two reads, see _CONFIRM_S."""
    deadline, confirmed = time.monotonic() + _PATIENCE_S, False
    while True:
        claims = store.read_claims(mine.collection)
        against = rivals(mine, claims, now=time.time(), gone=writer_is_gone)
        next_step = step(mine, claims, against)
        if next_step == "held" and confirmed:
            return
        if next_step == "withdraw" or time.monotonic() > deadline:
            raise _refused(against, mine)
        confirmed = next_step == "held"
        time.sleep(_CONFIRM_S if confirmed else _LOOK_AGAIN_S)


def _clear(store: Leases, mine: Claim) -> None:
    """Delete what dead holders of the same rows left behind."""
    left = [
        claim
        for claim in store.read_claims(mine.collection)
        if claim.number < mine.number and ("" in (claim.tenant, mine.tenant) or claim.tenant == mine.tenant)
    ]
    store.delete_claims(left)


def _keep(lease: Lease, stop: threading.Event) -> None:
    """Renew until told to stop or the lease has ended; after a failure again and again, and told of once."""
    wait_s, told = RENEW_S, False
    while not stop.wait(wait_s) and not lease.overdue:
        try:
            lease.renew()
            wait_s, told = RENEW_S, False
        except (UnavailableError, MilvusException) as error:
            if not told:
                logger.warning("the lease on %r was not renewed, trying on: %s", lease.claim.collection, error)
            wait_s, told = _RENEW_AGAIN_S, True


def _withdraw(store: Leases, claim: Claim) -> None:
    """Delete a claim and close the store; one that stays, as it cannot be deleted, is not in this process's way."""
    try:
        store.delete_claims([claim])
    except (UnavailableError, MilvusException) as error:
        _stranded.add(claim.key)
        logger.warning("the lease on %r stays until it ends: %s", claim.collection, error)
    finally:
        store.close()


def _refused(against: list[Claim], mine: Claim) -> ConflictError:
    if not against:
        return ConflictError(
            f"Another writer of {mine.collection!r} began at the same moment; run this again when it is done."
        )
    return ConflictError(f"Another writer has the lease: {against[0].describe()}; wait for it, then run this again.")


def _claim(collection: str, *, tenant: str, number: int) -> Claim:
    now = time.time()
    return Claim(
        key=uuid.uuid4().hex,
        collection=collection,
        tenant=tenant,
        number=number,
        host=os.uname().nodename,
        machine=_machine(),
        pid=os.getpid(),
        started=_start_time(os.getpid()) or 0,
        user=_user(),
        since=now,
        expires=now + LEASE_S,
    )


def _clock() -> float:
    """Return seconds on a clock that goes on while the machine sleeps, where the system has one."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


def _machine() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {Path('/proc/self/ns/pid').readlink()}"


def _start_time(pid: int) -> int | None:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = status.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[_START_TIME])


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
