"""What a limiter needs of the state that processes share, on this machine or in a cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from valence_integrations._limits.policy import Window

__all__ = ["Hold", "Permits"]

#: The begin of a hold and its end; no hold is (0, 0).
Hold = tuple[float, float]


class Permits(Protocol):
    """Interface of a local or remote ledger."""

    @property
    def clock(self) -> Callable[[], float]: ...

    @property
    def held(self) -> Hold: ...

    def take(
        self, windows: tuple[Window, ...], concurrency: int, lengthen: Callable[[float], float]
    ) -> tuple[int, float]: ...

    def confirm(self, permit: int) -> bool: ...

    def give_back(self, permit: int, unused: float | None = None) -> None: ...

    def hold(self, seconds: float, sent: float) -> bool: ...

    def started(self, seconds: float) -> int: ...

    def close(self) -> None: ...
