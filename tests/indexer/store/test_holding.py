from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from pymilvus.exceptions import MilvusException

from indexer.errors import ConflictError
from indexer.store import holding as module
from indexer.store.holding import holders, holding, writer_is_gone
from indexer.store.lease import SKEW_S, Claim
from indexer.store.milvus import MilvusStore
from tests.indexer.conftest import free_port, milvus_lite, start_milvus, wait_until_listening

ROOT = Path(__file__).parents[3]
# Takes the lease again and again as soon as it sees the start signal, and notes on one line when it had it.
RACER = """
import json, sys, time
from pathlib import Path
from indexer.errors import ConflictError
from indexer.store.holding import holding
from indexer.store.milvus import MilvusStore
uri, collection, log, rounds = sys.argv[1:]
store = MilvusStore(uri)
store.read_claims(collection)
held = []
print("ready", flush=True)
for _ in range(int(rounds)):
    go = sys.stdin.readline()
    try:
        with holding(store, collection):
            began = time.monotonic()
            time.sleep(0.05)
            held.append((began, time.monotonic()))
            print("held", flush=True)
    except ConflictError as error:
        print("refused", flush=True)
Path(log).write_text(json.dumps(held))
"""
HOLDER = """
import sys, time
from indexer.store.holding import holding
from indexer.store.milvus import MilvusStore
with holding(MilvusStore(sys.argv[1]), sys.argv[2], tenant=sys.argv[3]):
    print("held", flush=True)
    time.sleep(300)
"""


@pytest.fixture
def fresh_milvus(tmp_path: Path) -> Iterator[str]:
    with milvus_lite(tmp_path / "milvus") as uri:
        yield uri


def start(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def say(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_second_writer_is_refused_with_the_holder_until_the_lease_is_given_back(store: MilvusStore) -> None:
    with holding(store, "one_writer") as lease:
        lease.check()
        with (
            pytest.raises(ConflictError, match=rf"process {os.getpid()} of .* is writing 'one_writer'.*lease ends at"),
            holding(store, "one_writer"),
        ):
            pass
        assert [claim.key for claim in holders(store, "one_writer")] == [lease.claim.key]
        with holding(store, "another_collection"):
            pass
    assert store.read_claims("one_writer") == []
    with holding(store, "one_writer"):
        pass


def test_tenants_are_written_side_by_side_but_not_beside_a_writer_of_all(store: MilvusStore) -> None:
    with holding(store, "by_tenant", tenant="red"), holding(store, "by_tenant", tenant="blue") as blue:
        blue.check()
        for tenant in ("", "red"):
            with pytest.raises(ConflictError, match="tenant 'red'"), holding(store, "by_tenant", tenant=tenant):
                pass


def test_a_writer_of_another_machine_keeps_its_lease_until_it_has_ended(store: MilvusStore) -> None:
    with holding(store, "elsewhere") as lease:
        mine = lease.claim
    far = replace(mine, key="far", host="far", machine="another boot", number=3)
    store.write_claim(far)
    with pytest.raises(ConflictError, match="on far"), holding(store, "elsewhere"):
        pass
    store.write_claim(replace(far, expires=time.time() - SKEW_S - 1))
    with holding(store, "elsewhere") as lease:
        assert lease.claim.number == 4
        assert [claim.key for claim in store.read_claims("elsewhere")] == [lease.claim.key]


def test_a_killed_holder_of_this_machine_is_succeeded_at_once(store: MilvusStore, milvus_uri: str) -> None:
    process = start(HOLDER, milvus_uri, "killed", "")
    assert say(process) == "held"
    with pytest.raises(ConflictError, match=f"process {process.pid}"), holding(store, "killed"):
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    [left] = store.read_claims("killed")
    assert writer_is_gone(left)
    with holding(store, "killed") as lease:
        assert lease.claim.number == left.number + 1


def test_a_claim_that_could_not_be_deleted_is_not_in_the_way_of_its_own_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_stranded", set())
    port = free_port()
    uri, server = f"http://127.0.0.1:{port}", start_milvus(tmp_path / "milvus", port)
    try:
        wait_until_listening(uri, timeout_s=30)
        store = MilvusStore(uri)
        with holding(store, "stranded") as lease:
            server.kill()
            server.wait()
        server = start_milvus(tmp_path / "milvus", port)
        wait_until_listening(uri, timeout_s=30)
        store.close()
        assert [claim.key for claim in store.read_claims("stranded")] == [lease.claim.key]
        assert not holders(store, "stranded")
        with holding(store, "stranded"):
            pass
        assert store.read_claims("stranded") == []
        store.close()
    finally:
        server.terminate()
        server.wait(timeout=20)


def test_a_pid_that_is_used_again_is_not_the_holder(store: MilvusStore) -> None:
    with holding(store, "pids") as lease:
        assert not writer_is_gone(lease.claim)
        assert writer_is_gone(replace(lease.claim, started=lease.claim.started + 1))
        assert not writer_is_gone(replace(lease.claim, pid=2**22 + 1, machine="another boot"))


def test_who_was_away_too_long_learns_of_its_successor_and_never_renews(
    store: MilvusStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEASE_S", 6.0)
    with holding(store, "away") as lease:
        successor = replace(
            lease.claim, key="next", number=lease.claim.number + 1, host="far", expires=time.time() + 60
        )
        store.write_claim(successor)
        with pytest.raises(ConflictError, match=r"lost its lease and stopped: process .* on far"):
            lease.check()
        store.delete_claims([successor])
        lease.check()
        while not lease.overdue:
            time.sleep(0.1)
        before = store.read_claims("away")
        lease.renew()
        assert store.read_claims("away") == before
        with pytest.raises(ConflictError, match="could not renew within"):
            lease.check()


def test_a_lease_is_renewed_while_it_is_held(store: MilvusStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RENEW_S", 0.1)
    with holding(store, "renewed") as lease:
        first = lease.claim.expires
        deadline = time.monotonic() + 10
        while expiry(store.read_claims("renewed")) <= first:
            assert time.monotonic() < deadline, "the lease was not renewed"
            time.sleep(0.05)


def test_a_claim_that_a_successor_has_cleared_is_not_written_again(store: MilvusStore) -> None:
    with holding(store, "cleared") as lease:
        store.delete_claims([lease.claim])
        lease.renew()
        assert store.read_claims("cleared") == []
        assert lease.overdue


def test_a_lease_ends_while_the_machine_sleeps(store: MilvusStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock that stands still in suspend is held back here, the one that goes on is put forward."""
    real = time.clock_gettime
    with holding(store, "asleep") as lease:
        slept = module.LEASE_S + 1
        monkeypatch.setattr(
            time, "clock_gettime", lambda clock: real(clock) + (slept if clock == time.CLOCK_BOOTTIME else 0)
        )
        assert lease.overdue
        monkeypatch.undo()
        assert not lease.overdue


def test_a_lease_whose_row_is_gone_does_not_hold(store: MilvusStore) -> None:
    with holding(store, "taken_away") as lease:
        store.delete_claims([lease.claim])
        with pytest.raises(ConflictError, match="lost its lease"):
            lease.check()


@pytest.mark.parametrize("racers", [2, 4])
def test_processes_that_ask_at_once_never_hold_at_once(tmp_path: Path, fresh_milvus: str, racers: int) -> None:
    """They also make the collection of the leases at once, which is not there at first."""
    rounds = 15
    logs = [tmp_path / f"{number}.json" for number in range(racers)]
    started = [start(RACER, fresh_milvus, "raced", str(log), str(rounds)) for log in logs]
    try:
        assert [say(process) for process in started] == ["ready"] * racers
        outcomes = []
        for _ in range(rounds):
            for process in started:
                assert process.stdin is not None
                process.stdin.write("go\n")
                process.stdin.flush()
            outcomes.append(sorted(say(process) for process in started))
    finally:
        for process in started:
            process.communicate(timeout=60)
    held = sorted(tuple(span) for log in logs for span in json.loads(log.read_text()))
    overlaps = [pair for pair in pairwise(held) if pair[1][0] < pair[0][1]]
    assert overlaps == []
    assert all("held" in outcome for outcome in outcomes), outcomes
    assert any("refused" in outcome for outcome in outcomes), "they never met"


def expiry(claims: list[Claim]) -> float:
    return max(claim.expires for claim in claims)


class Refusing(MilvusStore):
    """Milvus refuses some writes and deletes of claims, by an error that is no lost connection."""

    renewals_refused = 0
    deletes_refused = False

    def write_claim(self, claim: Claim) -> None:
        if claim.expires > claim.since + module.LEASE_S and type(self).renewals_refused > 0:
            type(self).renewals_refused -= 1
            raise MilvusException(code=1, message="no space left")
        super().write_claim(claim)

    def delete_claims(self, claims: list[Claim]) -> None:
        if claims and self.deletes_refused:
            raise MilvusException(code=1, message="no space left")
        super().delete_claims(claims)


@pytest.fixture
def refusing(milvus_uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Refusing]:
    monkeypatch.setattr(module, "_stranded", set())
    monkeypatch.setattr(Refusing, "renewals_refused", 0)
    monkeypatch.setattr(Refusing, "deletes_refused", False)
    opened = Refusing(milvus_uri)
    yield opened
    opened.close()


def test_a_refused_renewal_is_tried_again_and_told_once(
    refusing: Refusing, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RENEW_S", 0.1)
    monkeypatch.setattr(module, "_RENEW_AGAIN_S", 0.1)
    monkeypatch.setattr(Refusing, "renewals_refused", 3)
    with holding(refusing, "refused_renewal") as lease:
        first = lease.claim.expires
        deadline = time.monotonic() + 10
        while expiry(refusing.read_claims("refused_renewal")) <= first:
            assert time.monotonic() < deadline, "the lease was not renewed"
            time.sleep(0.05)
    assert len([record for record in caplog.records if "was not renewed" in record.message]) == 1


def test_a_lease_that_cannot_be_given_back_does_not_spoil_the_run_nor_the_next(
    refusing: Refusing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Refusing, "deletes_refused", True)
    with holding(refusing, "kept_back") as lease:
        pass
    assert [claim.key for claim in refusing.read_claims("kept_back")] == [lease.claim.key]
    monkeypatch.setattr(Refusing, "deletes_refused", False)
    with holding(refusing, "kept_back"):
        pass


def test_a_claim_that_was_refused_and_cannot_be_deleted_is_not_in_the_way(
    refusing: Refusing, monkeypatch: pytest.MonkeyPatch
) -> None:
    with holding(refusing, "in_the_way") as lease:
        rival = replace(lease.claim, key="rival", host="far", machine="far", number=0)

    def settle(store: Refusing, mine: Claim) -> None:
        store.write_claim(rival)
        real_settle(store, mine)

    real_settle = module._settle
    monkeypatch.setattr(module, "_settle", settle)
    monkeypatch.setattr(Refusing, "deletes_refused", True)
    with pytest.raises(ConflictError, match="on far"), holding(refusing, "in_the_way"):
        pass
    monkeypatch.setattr(module, "_settle", real_settle)
    monkeypatch.setattr(Refusing, "deletes_refused", False)
    [left] = [claim for claim in refusing.read_claims("in_the_way") if claim.key != "rival"]
    refusing.delete_claims([rival])
    assert left.pid == os.getpid()
    with holding(refusing, "in_the_way"):
        pass
