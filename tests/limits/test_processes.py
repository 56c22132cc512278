"""Holders of permits that are killed, suspended, or started again; real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.limits.test_limiter import Clock, exactly, never
from valence_integrations._limits import ledger as ledger_module
from valence_integrations._limits.ledger import Ledger
from valence_integrations._limits.limiter import Limiter
from valence_integrations._limits.place import Place
from valence_integrations._limits.policy import Policy, Window
from valence_integrations._limits.shared import SharedLedger

CHILD = """
import sys
from pathlib import Path
from valence_integrations._limits import ledger, shared
from valence_integrations._limits.limiter import Limiter
from valence_integrations._limits.place import Place
from valence_integrations._limits.policy import Policy, Window
ledger.HELD_SECONDS = shared.HELD_SECONDS = float(sys.argv[2])
shared.RENEW_SECONDS = ledger.HELD_SECONDS / 4
ledger._AHEAD_SECONDS = 10.0
windows = (Window(1, 1.0),) if sys.argv[3] == "window" else ()
limiter = Limiter(shared.SharedLedger("account", [Place(Path(sys.argv[1]))]), Policy(windows), 2)
print("ready", flush=True)
sys.stdin.readline()
for turn in range(2):
    with limiter.permit(lambda: False):
        print(limiter.clock(), flush=True)
        sys.stdin.readline()
    print("returned", flush=True)
"""


class Child:
    """A process that makes a call for each line that it is sent, and ends it at the next."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def tell(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)
        if number == signal.SIGSTOP:
            _, status = os.waitpid(self.process.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)


@contextmanager
def child(directory: Path, lease: float = 60.0, kind: str = "plain") -> Iterator[Child]:
    arguments = [sys.executable, "-c", CHILD, str(directory), str(lease), kind]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            made = Child(process)
            assert made.hear() == "ready"
            yield made
        finally:
            process.kill()


def own(directory: Path) -> SharedLedger:
    return SharedLedger("account", [Place(directory)])


def test_permits_of_a_killed_process_are_free_at_once(tmp_path: Path) -> None:
    with child(tmp_path) as holder:
        holder.tell()
        holder.hear()
        ledger = own(tmp_path)
        assert ledger.take((), 1, exactly)[0] == 0
        holder.process.kill()
        holder.process.wait()
        assert ledger.take((), 1, exactly)[0]


def test_holder_is_not_a_process_id(tmp_path: Path) -> None:
    """In a container that is started again, every process has the process id of one that was killed."""
    path = tmp_path / "limits.sqlite3"
    ledger = Ledger(path)
    ledger._connection.execute("INSERT INTO leases VALUES (1, ?, 1e18)", (os.getpid(),))
    assert ledger.take((), 1, exactly)[0]


def test_suspended_holder_blocks_until_its_lease_ends(tmp_path: Path) -> None:
    with child(tmp_path, lease=1.0) as holder:
        holder.tell()
        holder.hear()
        ledger = own(tmp_path)
        end = time.monotonic() + 1.5
        while time.monotonic() < end:  # a long call keeps its permit
            assert ledger.take((), 1, exactly)[0] == 0
            time.sleep(0.05)
        holder.signal(signal.SIGSTOP)
        begun = time.monotonic()
        while not (permit := ledger.take((), 1, exactly)[0]):
            time.sleep(0.01)
        assert time.monotonic() - begun < 1.5
        holder.signal(signal.SIGCONT)
        holder.tell()
        assert holder.hear() == "returned"
        assert own(tmp_path).take((), 1, exactly)[0] == 0, "it returned its own permit, not this one"
        ledger.give_back(permit)


def test_permit_of_a_process_that_was_suspended_before_the_call_is_not_used(tmp_path: Path) -> None:
    with child(tmp_path, kind="window") as sleeper:
        ledger = own(tmp_path)
        limiter = Limiter(ledger, Policy((Window(1, 1.0),)), 5)
        with limiter.permit(never):
            pass
        sleeper.tell()
        while ledger.started(100.0) < 2:  # it has a permit that starts in a second
            time.sleep(0.005)
        sleeper.signal(signal.SIGSTOP)
        with limiter.permit(never):
            sent = limiter.clock()
        sleeper.signal(signal.SIGCONT)
        assert float(sleeper.hear()) - sent >= 1.0


@pytest.mark.parametrize("away", [30.0, 7_200.0])
@pytest.mark.parametrize("names", [("one", "other"), ("", "")])
def test_starts_and_holds_survive_a_reboot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, away: float, names: tuple[str, str]
) -> None:
    """The clock begins anew; the wall clock goes on."""
    path, wall, clock = tmp_path / "limits.sqlite3", Clock(1_700_000_000.0), Clock(500_000.0)
    monkeypatch.setattr(ledger_module, "wall_clock", wall)
    monkeypatch.setattr(ledger_module, "boot", lambda: names[0])
    window = (Window(2, 3_600.0),)
    before = Ledger(path, clock)
    for _ in range(2):
        before.give_back(before.take(window, 9, exactly)[0])
    before.hold(60.0, clock.now)
    before.close()
    wall.now += away
    clock.now = 20.0
    monkeypatch.setattr(ledger_module, "boot", lambda: names[1])
    after = Ledger(path, clock)
    assert after.started(away + 1.0) == 2
    assert after.started(away - 1.0) == 0
    permit, wait = after.take(window, 9, exactly)
    assert (bool(permit), wait) == ((False, 30.0) if away == 30.0 else (True, 20.0))


@pytest.mark.parametrize("wrong", [-3_600.0, 0.0])
def test_starts_are_not_after_now_if_the_wall_clock_is_wrong_after_a_reboot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: float
) -> None:
    path, wall, clock = tmp_path / "limits.sqlite3", Clock(1_700_000_000.0), Clock(500_000.0)
    monkeypatch.setattr(ledger_module, "wall_clock", wall)
    monkeypatch.setattr(ledger_module, "boot", lambda: "one")
    before = Ledger(path, clock)
    before.take((Window(1, 100.0),), 9, exactly)
    before.hold(100.0, clock.now)
    before.close()
    monkeypatch.setattr(ledger_module, "boot", lambda: "other")
    wall.now += wrong
    clock.now = 20.0
    after = Ledger(path, clock)
    assert after.take((), 9, exactly) == (0, pytest.approx(120.0 if wrong else 100.0))
    clock.now += 120.0 if wrong else 100.0
    assert after.take((Window(1, 1_000.0),), 9, exactly) == (0, pytest.approx(1_000.0 - (clock.now - 20.0) - 0.5))


@pytest.mark.parametrize("jump", [3_600.0, -3_600.0])
def test_wall_clock_that_jumps_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    path, wall, clock = tmp_path / "limits.sqlite3", Clock(1_700_000_000.0), Clock(500_000.0)
    monkeypatch.setattr(ledger_module, "wall_clock", wall)
    window = (Window(1, 60.0),)
    Ledger(path, clock).take(window, 9, exactly)
    wall.now += jump
    clock.now += 1.0
    assert Ledger(path, clock).take(window, 9, exactly) == (0, pytest.approx(58.5))


@pytest.mark.parametrize("jump", [3_600.0, -3_600.0])
def test_limiter_does_not_read_the_wall_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
    limiter = Limiter(own(tmp_path), Policy((Window(1, 0.2),)))
    with limiter.permit(never):
        begun = time.monotonic()
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + jump)
    with limiter.permit(never):
        assert 0.2 <= time.monotonic() - begun < 5.0
