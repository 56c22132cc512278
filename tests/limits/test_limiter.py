from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valence_integrations import errors
from valence_integrations._limits.ledger import Ledger
from valence_integrations._limits.limiter import Limiter, StoppedError
from valence_integrations._limits.policy import Policy, Window
from valence_integrations._store.renewals import HELD_SECONDS
from valence_integrations._store.sqlite import LEASE_SECONDS
from valence_integrations.settings import RateLimits


class Clock:
    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def exactly(seconds: float) -> float:
    return seconds


def never() -> bool:
    return False


def starts(ledger: Ledger, clock: Clock, number: int, *windows: Window, concurrency: int = 10**6) -> list[float]:
    """Take permits as fast as the ledger grants them, with a clock that skips every wait."""
    times = []
    while len(times) < number:
        permit, when = ledger.take(windows, concurrency, exactly)
        if permit:
            times.append(when)
            ledger.give_back(permit)
        else:
            clock.now += when
    return times


@given(
    limits=st.lists(
        st.tuples(st.integers(1, 12), st.sampled_from([1.0, 2.5, 7.0, 60.0])),
        min_size=1,
        max_size=3,
        unique_by=lambda w: w[1],
    )
)
@settings(max_examples=25, deadline=None)
def test_permits_start_as_early_as_all_windows_allow(limits: list[tuple[int, float]]) -> None:
    clock = Clock()
    windows = [Window(count, seconds) for count, seconds in limits]
    times = starts(Ledger(None, clock), clock, 60, *windows)
    assert times == sorted(times)
    best = []
    for n in range(60):
        earliest = [1_000_000.0, *best[-1:], *(best[n - w.count] + w.seconds for w in windows if n >= w.count)]
        best.append(max(earliest))
    assert times == pytest.approx(best, abs=1e-6)


def test_standard_policy_over_a_day() -> None:
    clock = Clock()
    times = starts(Ledger(None, clock), clock, 2_500, *Policy.from_limits(RateLimits()).windows)
    for count, seconds in ((10, 1.0), (100, 60.0), (1_000, 3_600.0)):
        assert all(later - earlier >= seconds - 1e-6 for earlier, later in zip(times, times[count:], strict=False))
    assert times[-1] - times[0] == pytest.approx(2 * 3_600 + 4 * 60 + 9, abs=1.0)


def test_processes_share_windows(tmp_path: Path) -> None:
    clock = Clock()
    one, other = (Ledger(tmp_path / "limits.sqlite3", clock) for _ in range(2))
    window = Window(3, 10.0)
    taken = [ledger.take((window,), 9, exactly) for ledger in (one, other, one, other)]
    assert [bool(permit) for permit, _ in taken] == [True, True, True, False]
    assert taken[3][1] == pytest.approx(9.5)


def test_processes_share_concurrency(tmp_path: Path) -> None:
    one, other = (Ledger(tmp_path / "limits.sqlite3") for _ in range(2))
    permit, _ = one.take((), 1, exactly)
    assert other.take((), 1, exactly)[0] == 0
    one.give_back(permit)
    assert other.take((), 1, exactly)[0]


def test_permits_of_a_killed_process_are_reclaimed(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom valence_integrations._limits.ledger import Ledger\n"
        "ledger = Ledger(Path(sys.argv[1]))\nassert ledger.take((), 2, float)[0] and ledger.take((), 2, float)[0]\n"
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "limits.sqlite3")], timeout=30)
    assert done.returncode == -9
    assert Ledger(tmp_path / "limits.sqlite3").take((), 2, exactly)[0]


def test_unreturned_permit_expires(tmp_path: Path) -> None:
    clock = Clock()
    ledger = Ledger(None, clock)
    assert ledger.take((), 1, exactly)[0]
    clock.now += HELD_SECONDS - 1
    assert not ledger.take((), 1, exactly)[0]
    clock.now += 2
    assert ledger.take((), 1, exactly)[0]


@pytest.mark.parametrize(("asked", "held"), [(7.0, 7.0), (9_999.0, 120.0), (None, 1.0)])
def test_429_holds_all_processes_at_most_two_minutes(tmp_path: Path, asked: float | None, held: float) -> None:
    clock = Clock()
    one, other = (Ledger(tmp_path / "limits.sqlite3", clock) for _ in range(2))
    refuse(Limiter(one, Policy()), asked)
    permit, wait = other.take((), 5, exactly)
    assert (permit, wait) == (0, pytest.approx(held))
    clock.now += held
    assert other.take((), 5, exactly)[0]


def refuse(limiter: Limiter, retry_after: float | None, together: int = 1) -> None:
    """Make a call, or several at once, that are answered 429."""

    def call() -> None:
        with limiter.permit(never):
            if together > 1:
                refuse(limiter, retry_after, together - 1)
            raise errors.RateLimitError("many", retry_after=retry_after)

    with pytest.raises(errors.RateLimitError):
        call()


def test_permit_of_a_refused_call_is_not_free_before_the_hold() -> None:
    ledger = Ledger(None)
    seen = []

    class Watched:
        held = (0.0, 0.0)

        def __getattr__(self, name: str) -> object:
            return getattr(ledger, name)

        def hold(self, seconds: float, sent: float) -> bool:
            seen.append("hold")
            return ledger.hold(seconds, sent)

        def give_back(self, permit: int, unused: float | None = None) -> None:
            seen.append("free")
            ledger.give_back(permit, unused)

    refuse(Limiter(Watched(), Policy(), 1), 1.0)  # type: ignore[arg-type]
    assert seen == ["hold", "free"]


def test_shorter_hold_does_not_end_a_longer_one() -> None:
    clock = Clock()
    ledger = Ledger(None, clock)
    sent = clock.now
    clock.now += 1.0
    assert [ledger.hold(10.0, sent), ledger.hold(1.0, sent), ledger.hold(20.0, sent)] == [True, False, False]
    assert ledger.take((), 5, exactly) == (0, pytest.approx(20.0))


def test_429s_to_calls_under_way_together_are_one_event() -> None:
    clock = Clock()
    ledger = Ledger(None, clock)
    sent = clock.now
    clock.now += 0.2
    assert ledger.hold(1.0, sent)
    clock.now += 5.0  # a slow answer to a call of the same time
    assert not ledger.hold(1.0, sent + 0.1)
    assert ledger.take((), 5, exactly) == (0, pytest.approx(1.0))
    clock.now += 1.0
    permit, again = ledger.take((), 5, exactly)
    assert permit
    assert ledger.hold(1.0, again)


def test_usage_by_other_clients_reduces_the_windows() -> None:
    clock = Clock()
    status = {
        "limits": {"requests_per_second": 10, "requests_per_hour": 6, "burst_limit": None},
        "current_usage": {"requests_per_second": 0, "requests_per_hour": 4},
    }
    policy = Policy.from_status(status, lambda seconds: 1, clock.now)
    assert [window.others for window in policy.windows] == [0, 3]
    times = starts(Ledger(None, clock), clock, 5, *policy.windows)
    assert times[2] - times[0] < 1.0
    assert times[3] - times[0] == pytest.approx(3_600.0)


def test_exhausted_account_waits_for_its_window() -> None:
    clock = Clock()
    window = Window(5, 60.0, others=7, others_until=clock.now + 60.0)
    assert starts(Ledger(None, clock), clock, 1, window) == [pytest.approx(1_000_060.0)]


@pytest.mark.parametrize(
    ("limits", "windows"),
    [
        (RateLimits(), [(10, 1.0), (100, 60.0), (1_000, 3_600.0), (10_000, 86_400.0), (20, 2.0)]),
        (
            RateLimits(requests_per_minute=None, requests_per_hour=None, requests_per_day=None, burst_limit=5),
            [(10, 1.0), (5, 0.5)],
        ),
        (
            RateLimits(
                requests_per_second=10**6,
                requests_per_minute=None,
                requests_per_hour=None,
                requests_per_day=10**9,
                burst_limit=None,
            ),
            [],
        ),
    ],
)
def test_windows_of_limits(limits: RateLimits, windows: list[tuple[int, float]]) -> None:
    assert [(w.count, w.seconds) for w in Policy.from_limits(limits).windows] == windows


@pytest.mark.parametrize(
    "status",
    [
        {},
        [],
        None,
        "standard",
        {"limits": None},
        {"limits": []},
        {"limits": {"requests_per_second": "many"}},
        {"limits": {"requests_per_day": -1}},
        {"limits": {"requests_per_day": 0.5}},
    ],
)
def test_invalid_status_raises(status: object) -> None:
    with pytest.raises((TypeError, ValueError), match=r"status|requests_per"):
        Policy.from_status(status, lambda seconds: 0, 0.0)


@pytest.mark.parametrize("usage", [None, [], {"requests_per_hour": "many"}])
def test_invalid_usage_is_ignored(usage: object) -> None:
    policy = Policy.from_status({"limits": {"requests_per_hour": 6.0}, "current_usage": usage}, lambda seconds: 0, 0.0)
    assert policy.windows == (Window(6, 3_600.0, 0, 3_600.0),)


def test_concurrency_is_never_exceeded() -> None:
    limiter = Limiter(Ledger(None), Policy(), 3)
    inside = most = 0
    lock = threading.Lock()
    together = threading.Barrier(3)

    def work() -> None:
        nonlocal inside, most
        for turn in range(20):
            with limiter.permit(never):
                with lock:
                    inside += 1
                    most = max(most, inside)
                if turn == 0:
                    together.wait(5)
                with lock:
                    inside -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert most == 3


def test_first_come_first_served() -> None:
    limiter = Limiter(Ledger(None), Policy(), 1)
    order: list[int] = []

    def work(number: int) -> None:
        with limiter.permit(never):
            order.append(number)

    with limiter.permit(never):
        threads = []
        for number in range(6):
            threads.append(threading.Thread(target=work, args=(number,)))
            threads[-1].start()
            while limiter.waiting <= number:
                threading.Event().wait(0.001)
    for thread in threads:
        thread.join(5)
    assert order == list(range(6))


def test_permit_is_released_after_an_error() -> None:
    limiter = Limiter(Ledger(None), Policy(), 1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), limiter.permit(never):
            _ = 1 / 0


def test_stopped_call_stops_waiting() -> None:
    clock = Clock()
    limiter = Limiter(Ledger(None, clock), Policy((Window(1, 3_600.0),)), 1)
    with limiter.permit(never):
        pass
    with pytest.raises(StoppedError), limiter.permit(lambda: True):
        pass
    with pytest.raises(StoppedError), limiter.permit(iter([False, True]).__next__):
        pass


def test_short_windows_stretch_after_a_429_and_recover() -> None:
    clock = Clock()
    limiter = Limiter(Ledger(None, clock), Policy((Window(10, 1.0),)))

    def calls(number: int) -> None:
        for _ in range(number):
            with limiter.permit(never):
                clock.now += 1.0

    calls(100)
    plain = limiter.window_length(1.0)
    assert plain == pytest.approx(1.05, abs=0.001)
    refuse(limiter, 1.0, together=2)
    clock.now += 1.1
    calls(1)
    assert limiter.window_length(1.0) == pytest.approx(1.25, abs=0.001), "one event, however many hear of it"
    assert limiter.window_length(3_600.0) == pytest.approx(3_600.05, abs=0.001)
    calls(99)
    assert limiter.window_length(1.0) == pytest.approx(plain, abs=0.001)


def test_policy_is_refreshed_after_a_429_to_any_process(tmp_path: Path) -> None:
    """No call has a permit by the old policy, in no process."""
    clock = Clock()
    asked: list[float] = []

    def refresh() -> Policy:
        asked.append(clock.now)
        return Policy((Window(2, 1.0),))

    one, other = (
        Limiter(Ledger(tmp_path / "limits.sqlite3", clock), Policy((Window(10, 1.0),)), refresh=refresh)
        for _ in range(2)
    )
    clock.now += 0.1
    refuse(one, 1.0)
    clock.now += 1.0
    with other.permit(never):
        assert other.windows == (Window(2, 1.0),)
        assert one.windows == (Window(10, 1.0),)
    clock.now += 1.0
    with one.permit(never):
        assert one.windows == (Window(2, 1.0),)
    clock.now += 10.0
    with one.permit(never), other.permit(never):
        assert len(asked) == 2


def test_permit_is_not_used_if_a_hold_begins_before_its_start() -> None:
    clock = Clock()
    ledger = Ledger(None, clock)
    limiter = Limiter(ledger, Policy((Window(1, 0.3),)))
    with limiter.permit(never):
        pass
    begun = clock.now
    stops = 0

    def stopped() -> bool:
        nonlocal stops
        stops += 1
        if ledger.started(0.0) and not ledger.held[1]:  # it has a permit for later, and waits
            ledger.hold(1.0, clock.now)
        clock.now += 0.4
        return False

    with limiter.permit(stopped):
        assert clock.now >= begun + 1.4
    assert ledger.started(100.0) == 2


def test_late_permit_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a suspension: starting now could put too many calls into the window."""
    clock = Clock()
    ledger = Ledger(None, clock)
    limiter = Limiter(ledger, Policy((Window(5, 10.0),)))
    take = ledger.take
    granted = []

    def slow(*args: object) -> tuple[int, float]:
        granted.append(take(*args))  # type: ignore[arg-type]
        clock.now += 0.2 if len(granted) < 3 else 0.1
        return granted[-1]

    monkeypatch.setattr(ledger, "take", slow)
    with limiter.permit(never):
        assert len(granted) == 3
    assert ledger.started(100.0) == 1


def test_expired_permit_is_not_confirmed() -> None:
    clock = Clock()
    ledger = Ledger(None, clock)
    permit, _ = ledger.take((), 1, exactly)
    assert ledger.confirm(permit)
    clock.now += HELD_SECONDS
    assert not ledger.confirm(permit)
    ledger.give_back(permit)
    assert not ledger.confirm(permit)


def take_some(path: Path, number: int) -> list[float]:
    limiter = Limiter(Ledger(path), Policy((Window(20, 1.0),), 3))
    mine = []
    for _ in range(number):
        with limiter.permit(never):
            mine.append(limiter.clock())
    return mine


def test_four_processes_together_respect_the_policy(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        taken = pool.starmap(take_some, [(tmp_path / "limits.sqlite3", 15)] * 4, chunksize=1)
    times = sorted(time for mine in taken for time in mine)
    assert len(times) == 60
    assert all(later - earlier >= 1.0 for earlier, later in zip(times, times[20:], strict=False))


@given(
    unused=st.lists(st.booleans(), min_size=30, max_size=30), limits=st.sampled_from([(3, 10.0), (5, 2.0), (1, 1.0)])
)
@settings(max_examples=25, deadline=None)
def test_unused_permit_frees_its_slot(unused: list[bool], limits: tuple[int, float]) -> None:
    clock = Clock()
    ledger, window = Ledger(None, clock), Window(*limits)
    used = []
    for leave in unused:
        while not (taken := ledger.take((window,), 9, exactly))[0]:
            clock.now += taken[1]
        ledger.give_back(taken[0], taken[1] if leave else None)
        used += [] if leave else [taken[1]]
    best = [1_000_000.0 + n // window.count * window.seconds for n in range(len(used))]
    assert used == pytest.approx(best, abs=1e-6)
    assert ledger.started(1e9) == len(used)


def test_giving_a_permit_back_twice_is_harmless() -> None:
    clock = Clock()
    ledger, window = Ledger(None, clock), Window(2, 10.0)
    first, start = ledger.take((window,), 2, exactly)
    ledger.take((window,), 2, exactly)
    ledger.give_back(first, start)
    ledger.give_back(first, start)
    assert ledger.started(1.0) == 1
    assert ledger.take((window,), 2, exactly) != (0, 10.0)
    assert ledger.take((window,), 9, exactly) == (0, 9.5)


def test_stopped_job_gives_its_permit_back(tmp_path: Path) -> None:
    clock = Clock()
    ledger = Ledger(None, clock)
    for at in (0.0, 0.1):
        clock.now = 1_000_000.0 + at
        ledger.give_back(ledger.take((Window(2, 0.4),), 9, exactly)[0])
    limiter = Limiter(ledger, Policy((Window(2, 0.3),)))
    stops = iter([False, True])
    with pytest.raises(StoppedError), limiter.permit(lambda: next(stops)):
        pass
    assert ledger.started(10.0) == 2


def test_remote_permit_lasts_while_it_is_renewed(tmp_path: Path) -> None:
    clock = Clock()
    path = tmp_path / "limits.sqlite3"
    ledger, local = Ledger(path, clock, remote=True), Ledger(path, clock)
    permit, _ = ledger.take((), 1, exactly)
    for _ in range(5):
        clock.now += LEASE_SECONDS - 1
        ledger.renew([permit])
        assert ledger.take((), 1, exactly)[0] == 0
        assert local.take((), 1, exactly)[0] == 0
    clock.now += LEASE_SECONDS + 1
    assert local.take((), 1, exactly)[0] > 0
    assert ledger.take((), 1, exactly)[0] == 0


def test_new_server_counts_permits_in_use(tmp_path: Path) -> None:
    clock = Clock()
    path = tmp_path / "limits.sqlite3"
    permit, _ = Ledger(path, clock, remote=True).take((Window(1, 100.0),), 1, exactly)
    clock.now += 3 * LEASE_SECONDS
    successor = Ledger(path, clock, remote=True)
    assert successor.take((), 1, exactly)[0] == 0
    successor.give_back(permit)
    assert successor.take((Window(1, 100.0),), 1, exactly) == (0, 100.0 - 3 * LEASE_SECONDS - 0.5)
    assert successor.take((), 1, exactly)[0] > 0


def test_limits_of_hundreds_of_digits_are_no_limits() -> None:
    assert Policy.from_limits(RateLimits(requests_per_second=10**400, requests_per_minute=100)).windows[0].count == 100
