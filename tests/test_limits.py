from __future__ import annotations

import threading

import pytest

from valence_integrations.limits import Limiter, StoppedError


def never() -> bool:
    return False


def test_no_more_permits_than_allowed_at_once() -> None:
    limiter = Limiter(3)
    inside = most = 0
    lock = threading.Lock()
    barrier = threading.Barrier(3)

    def work() -> None:
        nonlocal inside, most
        for _ in range(20):
            with limiter.permit(never):
                with lock:
                    inside += 1
                    most = max(most, inside)
                with lock:
                    inside -= 1
        barrier.wait(5)
        with limiter.permit(never):
            with lock:
                inside += 1
                most = max(most, inside)
            barrier.wait(5)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert most == 3


def test_a_permit_comes_back_after_an_error() -> None:
    limiter = Limiter(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), limiter.permit(never):
            _ = 1 / 0


@pytest.mark.parametrize(("asked", "held"), [(7.0, 7.0), (9_999.0, 120.0)])
def test_a_hold_is_over_after_its_time(asked: float, held: float) -> None:
    now = 100.0
    limiter = Limiter(1, clock=lambda: now)
    assert limiter.hold(asked) == held
    now += held - 0.001
    stops = iter([False, True])
    with pytest.raises(StoppedError), limiter.permit(lambda: next(stops)):
        pass
    now += 0.001
    with limiter.permit(never):
        pass


def test_who_is_stopped_waits_no_longer() -> None:
    limiter = Limiter(1)
    with limiter.permit(never), pytest.raises(StoppedError), limiter.permit(lambda: True):
        pass
