"""Retries: which failures are retried, and after how long."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import stamina

from valence_integrations import errors
from valence_integrations._limits.ledger import MAX_HOLD_SECONDS

__all__ = ["call_with_retries", "is_outage", "may_have_been_billed"]

T = TypeVar("T")

#: Backoff in seconds: the first wait, the longest, and the random part on top.
WAIT_INITIAL, WAIT_MAX, WAIT_JITTER = 0.5, 20.0, 0.5

# stamina logs each retry; without a handler, Python prints that line to stderr, into the progress bar.
logging.getLogger("stamina").addHandler(logging.NullHandler())


def may_have_been_billed(error: Exception) -> bool:
    """Whether the service may have processed (and billed) the call although it failed."""
    if isinstance(error, errors.ServerError):
        return error.status_code != 503
    return isinstance(error, errors.InvalidResponseError) or (
        isinstance(error, (errors.NetworkError, errors.ReadTimeoutError)) and error.sent
    )


def is_outage(error: Exception) -> bool:
    """Whether a failure is caused by the service or network and not by the item."""
    return may_have_been_billed(error) or isinstance(
        error, (errors.ServerError, errors.NetworkError, errors.ReadTimeoutError)
    )


def call_with_retries(
    attempt: Callable[[], T],
    *,
    max_attempts: int,
    max_billed_attempts: int,
    on_failure: Callable[[Exception], None],
    on_retry: Callable[[], None],
) -> T:
    """Call `attempt` until it succeeds, fails permanently, or has used all its attempts.

    Connection failures, 429 and 503 are not billed and are tried up to `max_attempts` times. Read timeouts, broken
    connections, unreadable answers, 500, 502 and 504 may have been billed; after `max_billed_attempts` of those, the
    call has failed.

    Parameters
    ----------
    attempt : callable
        Takes a permit and makes the call. After a 429, it waits for the permit as long as all other calls do.
    max_attempts : int
        Maximum number of attempts.
    max_billed_attempts : int
        Maximum number of attempts that may have been billed.
    on_failure : callable
        Called with each failure.
    on_retry : callable
        Called before each attempt but the first.
    """
    billed = 0

    def decide(error: Exception) -> bool | float:
        nonlocal billed
        on_failure(error)
        if isinstance(error, errors.RateLimitError):
            return 0.0
        if may_have_been_billed(error):
            billed += 1
            if billed >= max_billed_attempts:
                return False
        elif not is_outage(error):
            return False
        if isinstance(error, errors.ServerError) and error.retry_after is not None:
            return min(error.retry_after, MAX_HOLD_SECONDS)
        return True

    # Nearly all calls succeed at once, so they avoid the overhead of stamina.
    try:
        return attempt()
    except Exception as error:
        first = error
    attempts = stamina.retry_context(
        on=decide,
        attempts=max_attempts,
        timeout=None,
        wait_initial=WAIT_INITIAL,
        wait_max=WAIT_MAX,
        wait_jitter=WAIT_JITTER,
    )
    for trial in attempts:
        with trial:
            if trial.num == 1:
                raise first
            on_retry()
            return attempt()
    raise AssertionError("unreachable")
