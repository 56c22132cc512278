from __future__ import annotations

import pytest

from tests.limits.test_limiter import Clock
from valence_integrations import errors
from valence_integrations.engine._circuit import Circuit

DOWN = errors.ServerError("down", status_code=503)


def fail(circuit: Circuit, clock: Clock, number: int, seconds: float, concurrency: int = 5) -> None:
    """Fail a number of calls, evenly spread over some time."""
    for turn in range(number):
        circuit.record_failure(DOWN, concurrency)
        if turn < number - 1:
            clock.now += seconds / (number - 1)


@pytest.mark.parametrize(("number", "concurrency"), [(20, 1), (20, 6), (30, 10), (96, 32)])
def test_service_is_down_after_so_many_failures_over_five_seconds(number: int, concurrency: int) -> None:
    clock = Clock()
    circuit = Circuit(clock)
    fail(circuit, clock, number - 1, 5.01, concurrency)
    with pytest.raises(errors.ServiceUnavailableError, match=rf"^{number} calls in a row.*run again later"):
        fail(circuit, clock, 1, 0.0, concurrency)


def test_blip_of_half_a_second_does_not_end_a_job() -> None:
    clock = Clock()
    circuit = Circuit(clock)
    fail(circuit, clock, 500, 0.5, concurrency=32)
    clock.now += 60.0
    circuit.record_success()
    fail(circuit, clock, 500, 4.99, concurrency=32)


def test_few_failures_are_no_outage_however_long() -> None:
    clock = Clock()
    fail(Circuit(clock), clock, 19, 3_600.0)


def test_success_and_failures_of_items_reset_or_count_nothing() -> None:
    clock = Clock()
    circuit = Circuit(clock)
    for _ in range(10):
        fail(circuit, clock, 19, 10.0)
        circuit.record_failure(errors.BadRequestError("bad", status_code=400), 5)
        circuit.record_success()
