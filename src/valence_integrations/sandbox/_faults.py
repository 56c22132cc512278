"""Fault injection: which requests fail, and how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SHARES = ("server_error", "unavailable", "drop", "truncate", "hang", "slow")

_OUTCOMES: dict[str, tuple[str, ...]] = {
    "server_error": ("500", "502", "504"),
    "unavailable": ("503",),
    "drop": ("drop", "reset"),
    "truncate": ("truncate", "cut"),
    "hang": ("hang", "stall"),
    "slow": ("slow",),
}
"""The faults of each share, all equally likely."""

WIRE_FAULTS = frozenset({"drop", "reset", "truncate", "cut", "hang", "stall", "slow", "redirect", "html"})


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Faults to inject instead of answers: at random with given shares, or from a script.

    Requests refused for their key or by the policy get no fault. The others are numbered as they arrive. The fault
    depends only on this number and the seed, so the same seed gives the same faults for the same requests.

    Parameters
    ----------
    server_error : float
        Share of requests answered with 500, 502 or 504.
    unavailable : float
        Share answered with 503 and Retry-After.
    drop : float
        Share whose connection is closed (``"drop"``) or reset (``"reset"``) without an answer.
    truncate : float
        Share of truncated answers: a complete HTTP response with broken JSON (``"truncate"``), or a body shorter than
        its Content-Length (``"cut"``).
    hang : float
        Share never completed: no response at all (``"hang"``), or headers and half a body (``"stall"``), until the
        client disconnects or the sandbox stops.
    slow : float
        Share whose correct answer arrives in small pieces over `slow_seconds`.
    seed : int
        Seed of the random draws.
    retry_after : int
        Retry-After, in seconds, of a 503 and of a scripted 429.
    slow_seconds : float
        Duration of a slow answer, in seconds.
    asynch : bool
        Whether calls of the AsynchAPI (initiate, complete, status, part uploads) get faults too.
    script : sequence of str
        Outcomes of the first requests, in order: ``"ok"``, a status from ``"400"`` to ``"599"``, any quoted name above,
        ``"redirect"`` (307 to another host) or ``"html"`` (200 with a web page). The shares apply to later requests.

    Examples
    --------
    >>> faults = Faults(script=["500", "drop", "ok"])
    >>> [faults.kind(number) for number in range(5)]
    ['500', 'drop', 'ok', 'ok', 'ok']
    >>> Faults(server_error=1.0).kind(0) in {"500", "502", "504"}
    True
    """

    server_error: float = 0.0
    unavailable: float = 0.0
    drop: float = 0.0
    truncate: float = 0.0
    hang: float = 0.0
    slow: float = 0.0
    seed: int = 0
    retry_after: int = 1
    slow_seconds: float = 1.0
    asynch: bool = False
    script: Sequence[str] = ()

    def __post_init__(self) -> None:
        shares = [getattr(self, name) for name in SHARES]
        if min(shares) < 0 or sum(shares) > 1 + 1e-9:
            raise ValueError("the shares of faults must lie in 0..1, and not sum to more than 1")
        if isinstance(self.script, str):
            raise TypeError('script is a sequence of names, like ["500", "ok"]')
        object.__setattr__(self, "script", tuple(self.script))
        for name in self.script:
            if name != "ok" and name not in WIRE_FAULTS and not _is_error_status(name):
                known = ", ".join(sorted(WIRE_FAULTS))
                raise ValueError(f"unknown fault {name!r} in the script: take ok, a status 400 to 599, or {known}")

    def kind(self, number: int) -> str:
        """Return the outcome of a request by its number, from 0: ``"ok"``, a status, or the name of a fault."""
        if number < len(self.script):
            return self.script[number]
        draw, choice = np.random.default_rng([self.seed, number]).random(2)
        for name in SHARES:
            share = getattr(self, name)
            if draw < share:
                outcomes = _OUTCOMES[name]
                return outcomes[int(choice * len(outcomes))]
            draw -= share
        return "ok"


def _is_error_status(name: str) -> bool:
    return len(name) == 3 and name.isdigit() and name[0] in "45"
