"""Claims: one process computes an answer, others wait; whoever dies or hangs does not block them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from valence_integrations._store import answers
from valence_integrations._store.cache import ResultCache
from valence_integrations._store.renewals import HELD_SECONDS
from valence_integrations._store.sqlite import LEASE_SECONDS

VALUE = {"request_id": "r1"}

#: A process that does as it is told; all have the process id 1, as in containers.
PROCESS = """
import os, sys
from pathlib import Path
os.getpid = lambda: 1
from valence_integrations._store.cache import ResultCache
cache = ResultCache(Path(sys.argv[1]))
for line in sys.stdin:
    name, *arguments = line.split()
    if name == "put":
        arguments.append({"request_id": arguments.pop()})
    print(getattr(cache, name)(*arguments), flush=True)
"""


class Process:
    def __init__(self, directory: Path) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, line: str) -> str:
        assert self.popen.stdin is not None
        assert self.popen.stdout is not None
        self.popen.stdin.write(line + "\n")
        self.popen.stdin.flush()
        return self.popen.stdout.readline().strip()

    def kill(self) -> None:
        self.popen.kill()
        self.popen.communicate()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def process(directory: Path) -> Iterator[Process]:
    process = Process(directory)
    yield process
    process.kill()


class Clock:
    """The machine's clock as this process sees it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(answers, "running_clock", clock)
    return clock


def test_claim_is_exclusive_until_released(directory: Path) -> None:
    one, other = ResultCache(directory), ResultCache(directory)
    assert [one.claim("a"), one.claim("a"), other.claim("a"), other.claim("b")] == [True, False, False, True]
    other.release("a")
    assert not other.claim("a"), "only its holder releases a claim"
    one.release("a")
    assert other.claim("a")


def test_claim_ends_when_the_answer_is_stored(directory: Path) -> None:
    one, other = ResultCache(directory), ResultCache(directory)
    assert one.claim("a")
    one.put("a", VALUE)
    assert [one.claim("a"), other.claim("a")] == [False, False]
    other.remove("a")
    one.release("a")
    assert [other.claim("a"), one.claim("a")] == [True, False]


def test_claim_of_a_killed_container_is_taken_at_once(
    process: Process, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new container has the same process id."""
    monkeypatch.setattr("os.getpid", lambda: 1)
    cache = ResultCache(directory)
    assert process("claim a") == "True"
    assert not cache.claim("a")
    process.kill()
    assert cache.claim("a")


def test_live_containers_pay_once(process: Process, directory: Path) -> None:
    other = Process(directory)
    try:
        pairs = [(process, other), (other, process)] * 10
        paid = [number for number, pair in enumerate(pairs) for each in pair if each(f"claim {number}") == "True"]
        assert paid == list(range(20))
        process("put 3 r3")
        assert [other("claim 3"), other("get 3")] == ["False", "{'request_id': 'r3'}"]
    finally:
        other.kill()


def test_suspended_process_blocks_others_for_a_minute(process: Process, directory: Path, clock: Clock) -> None:
    cache, third = ResultCache(directory), ResultCache(directory)
    assert process("claim a") == process("claim b") == "True"
    process.popen.send_signal(signal.SIGSTOP)
    clock.ahead = HELD_SECONDS - 5
    assert not cache.claim("a")
    clock.ahead = HELD_SECONDS + 1
    assert cache.claim("a")
    assert cache.claim("b")
    process.popen.send_signal(signal.SIGCONT)
    # It fails late, and releases what is not its own any more.
    assert process("release b") == "None"
    assert not third.claim("b")
    # It is answered late.
    assert process("put a late") == "None"
    assert third.get("a") == {"request_id": "late"}
    cache.put("a", VALUE)
    assert third.get("a") == VALUE


def test_process_that_runs_keeps_its_claims(directory: Path, clock: Clock) -> None:
    one, other = ResultCache(directory), ResultCache(directory)
    assert one.claim("a")
    for _ in range(4):
        clock.ahead += HELD_SECONDS - 5
        assert not other.claim("a")
        one._guard._renewals._renew()(["a"])
    one.release("a")
    assert other.claim("a")


def test_claims_are_renewed_in_the_background(directory: Path) -> None:
    cache = ResultCache(directory)
    assert [cache.claim("a"), cache.claim("b")] == [True, True]
    assert cache._guard._renewals._held == {"a", "b"}
    cache.put("a", VALUE)
    cache.release("b")
    assert cache._guard._renewals._held == set()


def test_lost_claim_is_not_renewed(directory: Path, clock: Clock) -> None:
    one, other = ResultCache(directory), ResultCache(directory)
    assert one.claim("a")
    clock.ahead = HELD_SECONDS + 1
    assert other.claim("a")
    one.renew(["a"])
    one.release("a")
    assert not one.claim("a")
    other.release("a")
    assert one.claim("a")


@pytest.mark.parametrize("hours", [-1, 1, 24 * 365])
def test_wall_clock_does_not_matter(directory: Path, monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    one, other, now = ResultCache(directory), ResultCache(directory), time.time()
    assert one.claim("a")
    monkeypatch.setattr("time.time", lambda: now + hours * 3_600)
    assert not other.claim("a")
    one.renew(["a"])
    one.release("a")
    assert other.claim("a")


def test_claim_made_before_the_machine_was_booted(directory: Path, clock: Clock) -> None:
    clock.ahead = 1e6
    assert ResultCache(directory).claim("a")
    clock.ahead = 0.0
    assert ResultCache(directory).claim("a")


def test_claims_of_other_machines_have_a_lease(directory: Path, clock: Clock) -> None:
    server = ResultCache(directory, remote=True)
    assert [server.claim("a"), server.claim("b"), server.claim("b")] == [True, True, False]
    clock.ahead = LEASE_SECONDS - 1
    server.renew(["a", "gone"])
    again = ResultCache(directory, remote=True)  # another server takes its place
    assert [again.claim("a"), again.claim("b")] == [False, False]
    clock.ahead = LEASE_SECONDS + 1
    assert [again.claim("a"), again.claim("b"), again.claim("gone")] == [False, True, True]
    again.release("a")
    assert again.claim("a")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_child_shares_the_file_but_no_claim(directory: Path) -> None:
    cache = ResultCache(directory)
    assert cache.claim("a")
    cache.put("parent", VALUE)
    with cache._guard:  # as if another thread used it
        child = os.fork()
        if child == 0:
            status = 1
            with contextlib.suppress(BaseException):
                cache.release("a")
                cache.put("child", VALUE)
                status = [cache.get("parent"), cache.claim("a"), cache.claim("b")] != [VALUE, False, True]
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert cache.get("child") == VALUE
    assert [ResultCache(directory).claim("a"), cache.claim("b")] == [False, True]
