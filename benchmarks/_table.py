"""The printed table and the targets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_WIDTHS = (6, 8, 8, 9, 8, 7, 6, 9, 7)
_NAME = 52


@dataclass(frozen=True)
class Row:
    """One measured caller. `bound` is in clips per second, or None."""

    section: str
    name: str
    caller: str
    in_flight: int
    clips: int
    seconds: float
    cpu_seconds: float
    bound: float | None
    bytes_per_wav: float
    connections: int
    calls: int
    server_cpu_seconds: float
    speed_by_sdk: float | None = None
    cpu_by_sdk: float | None = None
    problem: str | None = None

    @property
    def rate(self) -> float:
        """Clips per second."""
        return self.clips / self.seconds

    @property
    def share(self) -> float | None:
        """Rate as a share of the bound."""
        return None if self.bound is None else self.rate / self.bound

    @property
    def cpu_ms(self) -> float:
        """Milliseconds of CPU time per clip."""
        return 1000 * self.cpu_seconds / self.clips

    def line(self) -> str:
        values = (
            str(self.clips),
            f"{self.seconds:.2f}",
            f"{self.rate:.1f}" if self.rate < 100 else f"{self.rate:.0f}",
            _or_dash(self.share, ".3f"),
            f"{self.cpu_ms:.2f}",
            f"{self.bytes_per_wav:.3f}" if self.calls else "0",
            str(self.connections),
            _or_dash(self.speed_by_sdk, ".2f", " x"),
            _or_dash(self.cpu_by_sdk, ".2f", " x"),
        )
        return _line("  " + self.name, values) + (f"  <- {self.problem}" if self.problem else "")


def header() -> str:
    above = ("", "", "", "share", "CPU ms", "bytes", "", "speed", "CPU")
    below = ("clips", "seconds", "clips/s", "of bound", "per clip", "/ WAV", "conns", "/ SDK", "/ SDK")
    ruler = "-" * (_NAME + sum(_WIDTHS) + len(_WIDTHS))
    return f"{_line('', above)}\n{_line('caller', below)}\n{ruler}"


def _line(name: str, values: tuple[str, ...]) -> str:
    return f"{name:<{_NAME}}" + "".join(f" {value:>{width}}" for value, width in zip(values, _WIDTHS, strict=True))


def _or_dash(value: float | None, form: str, unit: str = "") -> str:
    return "-" if value is None else f"{value:{form}}{unit}"


@dataclass(frozen=True)
class Figure:
    """A target and the measured value."""

    text: str
    wanted: str
    measured: str
    reached: bool

    def line(self) -> str:
        return f"  {'reached' if self.reached else 'MISSED ':<8} {self.text:<72} {self.wanted:>9} {self.measured:>9}"


def figures(rows: list[Row]) -> list[Figure]:
    """Compare the rows with the targets of issue 3."""
    results = []

    def at_least(text: str, wanted: float, measured: float | None, form: str = ".2f") -> None:
        if measured is not None:
            results.append(Figure(text, f">= {wanted:{form}}", f"{measured:{form}}", measured >= wanted))

    def at_most(text: str, wanted: float, measured: float | None, form: str = ".2f") -> None:
        if measured is not None:
            results.append(Figure(text, f"<= {wanted:{form}}", f"{measured:{form}}", measured <= wanted))

    ours = [row for row in rows if row.name.startswith("ours, predict_many") and row.section == "fresh"]
    by_in_flight: dict[int, list[Row]] = {}
    for row in ours:
        by_in_flight.setdefault(row.in_flight, []).append(row)
    loop = next((row for row in rows if row.name.startswith("SDK, loop") and row.section == "fresh"), None)
    for in_flight, same in by_in_flight.items():
        at = f"predict_many, {in_flight} in flight: "
        best = next((row for row in rows if row.caller == "bare" and row.in_flight == in_flight), None)
        if best is not None:
            at_least(at + "speed / http.client alone", 0.97, min(row.rate for row in same) / best.rate, ".3f")
        at_least(at + "speed / SDK in as many threads", 0.99, _least(row.speed_by_sdk for row in same), ".3f")
        if in_flight == 5 and loop is not None:
            at_least(at + "speed / SDK loop", 4.7, min(row.rate for row in same) / loop.rate)
        at_most(at + "CPU per clip / SDK", 1.1, _most(row.cpu_by_sdk for row in same))
        at_most(at + "bytes per clip / WAV", 1.01, max(row.bytes_per_wav for row in same), ".4f")
    for row in rows:
        if row.section == "tls" and row.caller == "predict_many":
            limiter = ", limiter on" if "limiter" in row.name else ""
            at_most(
                f"predict_many, {row.in_flight} in flight, TLS{limiter}: CPU per clip / SDK",
                0.6,
                row.cpu_by_sdk,
            )
    cached = [row for row in rows if row.section == "cached"]
    for row in cached:
        if row.name.startswith("ours, predict_many"):
            at_least(f"predict_many, {row.in_flight} in flight, cached: clips per second", 1500, row.rate, ".0f")
    at_most("all cached rows: calls", 0, sum(row.calls for row in cached) if cached else None, ".0f")
    long_ours = next((row for row in rows if row.section == "long" and row.name.startswith("ours")), None)
    if long_ours is not None and long_ours.speed_by_sdk is not None:
        at_least("long files: makespan of the sequential SDK / ours", 1.0, long_ours.speed_by_sdk, ".1f")
    return results


def _least(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return min(known, default=None)


def _most(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(known, default=None)
