"""Measure the speed and cost per clip of every caller against the sandbox, in one run.

    make bench                                     (five minutes)
    python benchmarks/bench.py --quick             (under one minute; noisier)
    python benchmarks/bench.py --json figures.json

README.md in this directory explains the method.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from _audio import make_wavs
from _process import Server, read, write
from _table import Row, figures, header

HERE = Path(__file__).parent

LATENCY = 0.2
CLIP_SECONDS, CLIP_RATE = 6.0, 16_000
LONG_SECONDS, LONG_RATE = 60.0, 8_000

#: The times of the AsynchAPI are a tenth of the vendor's: 10 s until an upload is picked up, 3 s for a minute of audio,
#: 5 s between two polls of the SDK. This library's polling is not scaled, to its disadvantage.
SCALE = 0.1
PICKUP, PER_MINUTE = 10.0 * SCALE, 3.0 * SCALE

_CHILD_SECONDS = 180

#: The CA certificate of the TLS server.
_AUTHORITY = "authority.pem"

BARE = "http.client only: the best possible"


@dataclass(frozen=True)
class Case:
    """One row: the caller, its concurrency and the number of clips."""

    section: str
    name: str
    caller: str
    in_flight: int
    clips: int
    limiter: bool = False
    tls: bool = False
    #: Cases with the same cache name share a cache; without a name, each starts with an empty one.
    cache: str = ""
    #: How often one measurement sends the clips, and how often the row is measured; the table shows the median.
    rounds: int = 1
    repeats: int = 1


@dataclass(frozen=True)
class Size:
    """Numbers of clips, files, rounds and repeats in a run."""

    loop: int
    loop_json: int
    many: dict[int, int]
    files: int
    rounds: int
    repeats: dict[int, int]


FULL = Size(loop=40, loop_json=10, many={5: 400, 16: 400}, files=20, rounds=5, repeats={16: 3})
QUICK = Size(loop=10, loop_json=2, many={5: 50, 16: 160}, files=3, rounds=2, repeats={})


def cases(size: Size, *, quick: bool) -> list[tuple[str, list[Case]]]:
    """Return groups of rows with their headings. The SDK comes first: it is the baseline of its group."""
    ones = [
        Case("fresh", "SDK, loop", "sdk", 1, size.loop),
        Case("fresh", "quickstart loop, multipart", "quickstart_multipart", 1, size.loop),
        Case("fresh", "quickstart loop, JSON", "quickstart_json", 1, size.loop_json),
        Case("fresh", "ours, dataset.map row by row", "map_rows", 1, size.loop),
    ]
    groups = [("uncached, 1 in flight", ones)]
    for n, clips in size.many.items():
        repeats = size.repeats.get(n, 1)
        rows = [
            Case("fresh", f"SDK, {n} threads", "sdk", n, clips, repeats=repeats),
            Case("fresh", BARE, "bare", n, clips, repeats=repeats),
            Case("fresh", "ours, predict_many", "predict_many", n, clips, cache=f"kept-{n}", repeats=repeats),
            Case("fresh", "ours, predict_many, limiter on", "predict_many", n, clips, limiter=True, repeats=repeats),
            Case("fresh", "ours, ValenceEmotionTransformer.transform", "transform", n, clips),
            Case("fresh", "ours, dataset.map batched", "map_batched", n, clips),
        ]
        if quick:
            rows = [row for row in rows if row.caller in ("sdk", "bare", "predict_many")]
        groups.append((f"uncached, {n} in flight", rows))
        over_tls = [
            Case("tls", f"SDK, {n} threads", "sdk", n, clips, tls=True, repeats=repeats),
            Case("tls", "ours, predict_many", "predict_many", n, clips, tls=True, repeats=repeats),
            Case("tls", "ours, predict_many, limiter on", "predict_many", n, clips, True, tls=True, repeats=repeats),
        ]
        groups.append((f"uncached, {n} in flight, over TLS", over_tls))
    for n, clips in size.many.items():
        rows = [
            Case("cached", "ours, predict_many", "predict_many", n, clips),
            Case("cached", "ours, ValenceEmotionTransformer.transform", "transform", n, clips),
            Case("cached", "ours, dataset.map row by row", "map_rows", n, clips),
            Case("cached", "ours, dataset.map batched", "map_batched", n, clips),
        ]
        rows = [replace(row, cache=f"kept-{n}", rounds=size.rounds) for row in rows]
        if quick:
            rows = [row for row in rows if row.caller == "predict_many" or (n == 16 and row.caller == "map_batched")]
        groups.append((f"cached, concurrency {n}", rows))
    files = [
        Case("long", "SDK, sequential", "sdk_long", 1, size.files),
        Case("long", "SDK, 5 threads", "sdk_long", 5, size.files),
        Case("long", "ours, predict_many", "predict_many", 5, size.files),
    ]
    if quick:
        del files[1]
    groups.append((f"long files of {LONG_SECONDS:g} s, AsynchAPI, vendor's times x {SCALE:g}", files))
    return groups


def measure(case: Case, server: Server, audio: dict[str, list[str]], folder: Path) -> Row:
    """Measure one row in a fresh process."""
    paths = audio["long" if case.section == "long" else "clips"][: case.clips]
    warm_up = audio["warm long" if case.section == "long" else "warm clips"]
    spec = {
        "caller": case.caller,
        "url": server.tls_url if case.tls else server.url,
        "api_key": server.api_key,
        "in_flight": case.in_flight,
        "limiter": case.limiter,
        "cache": str(folder / (case.cache or f"{time.monotonic_ns()}")),
        "rounds": case.rounds,
        "scale": SCALE,
        "paths": paths,
        "warm_up": warm_up[: 1 if case.in_flight == 1 else 2 * case.in_flight],
    }
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("VALENCE_")},
        "VALENCE_CACHE_DIR": spec["cache"],
        "VALENCE_STATE_DIR": spec["cache"],
        "VALENCE_LOG_LEVEL": "WARNING",
        "REQUESTS_CA_BUNDLE": str(folder / _AUTHORITY),
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_OFFLINE": "1",
    }
    with (folder / "stderr").open("w+") as stderr:
        child = subprocess.Popen(
            [sys.executable, str(HERE / "_cases.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment,
            text=True,
        )
        try:
            write(child, json.dumps(spec))
            read(child)
            server.ask("reset")
            write(child, "go")
            measured = read(child)
            counters = server.ask("counters")
            child.wait(_CHILD_SECONDS)
        except (EOFError, BrokenPipeError, subprocess.TimeoutExpired):
            stderr.seek(0)
            raise RuntimeError(f"{case.name}: {stderr.read()[-2000:]}") from None
        finally:
            child.kill()
            child.wait()
    return _row(case, measured, counters, sum(Path(path).stat().st_size for path in paths))


def _row(case: Case, measured: dict[str, Any], counters: dict[str, Any], wav_bytes: int) -> Row:
    clips = case.clips * case.rounds
    calls = counters["calls"] + counters["uploads"]
    if case.section in ("fresh", "tls"):
        bound, due = case.in_flight / LATENCY, clips
    elif case.section == "long":
        bound, due = case.clips / (PICKUP + PER_MINUTE * LONG_SECONDS / 60), clips
    else:
        bound, due = None, 0
    problems = []
    if measured["answered"] != clips:
        problems.append(f"{measured['answered']} of {clips} answered")
    if calls != due:
        problems.append(f"{calls} calls for {due}")
    return Row(
        section=case.section,
        name=case.name,
        caller=case.caller,
        in_flight=case.in_flight,
        clips=clips,
        seconds=measured["seconds"],
        cpu_seconds=measured["cpu_seconds"],
        bound=bound,
        bytes_per_wav=counters["bytes"] / wav_bytes,
        connections=counters["connections"],
        calls=calls,
        server_cpu_seconds=counters["cpu_seconds"],
        problem=", ".join(problems) or None,
    )


def run(size: Size, folder: Path, *, quick: bool) -> tuple[list[Row], list[str]]:
    """Measure and print all rows; return them and the failures."""
    audio = {
        "clips": make_wavs(folder / "clips", max(size.many.values()), CLIP_SECONDS, CLIP_RATE, seed=1),
        "warm clips": make_wavs(folder / "warm", 2 * max(size.many), CLIP_SECONDS, CLIP_RATE, seed=2),
        "long": make_wavs(folder / "long", size.files, LONG_SECONDS, LONG_RATE, seed=3),
        "warm long": make_wavs(folder / "warm-long", 1, LONG_SECONDS, LONG_RATE, seed=4),
    }
    rows: list[Row] = []
    failures: list[str] = []
    server = Server(
        authority=str(folder / _AUTHORITY), latency=LATENCY, asynch_pickup=PICKUP, asynch_seconds_per_minute=PER_MINUTE
    )
    try:
        print(header(), flush=True)
        for heading, group in cases(size, quick=quick):
            print(heading, flush=True)
            sdk: Row | None = None
            for case, repeats in _repeated(group, server, audio, folder, failures):
                row = _median(repeats)
                if case.section != "cached" and case.caller.startswith("sdk"):
                    sdk = sdk or row
                if sdk is not None:
                    row = replace(row, speed_by_sdk=row.rate / sdk.rate, cpu_by_sdk=row.cpu_ms / sdk.cpu_ms)
                rows.append(row)
                print(row.line(), flush=True)
    finally:
        server.stop()
    return rows, failures


def _repeated(
    group: list[Case], server: Server, audio: dict[str, list[str]], folder: Path, failures: list[str]
) -> Iterator[tuple[Case, list[Row]]]:
    """Measure the rows of a group. Repeats are interleaved, so that a slow moment affects all rows."""
    repeated = [case for case in group if case.repeats > 1]
    measured: dict[Case, list[Row]] = {case: [] for case in group}
    for turn in range(max((case.repeats for case in repeated), default=0)):
        for case in repeated:
            if turn < case.repeats:
                # The first turn fills the cache for the cached rows; the others start with an empty one.
                _try(case if turn == 0 else replace(case, cache=""), measured[case], server, audio, folder, failures)
    for case in group:
        if case.repeats == 1:
            _try(case, measured[case], server, audio, folder, failures)
        if measured[case]:
            yield case, measured[case]


def _try(
    case: Case, rows: list[Row], server: Server, audio: dict[str, list[str]], folder: Path, failures: list[str]
) -> None:
    try:
        rows.append(measure(case, server, audio, folder))
    except RuntimeError as error:
        failures.append(str(error))
        print(f"  {case.name}: failed, see below", flush=True)


def _median(rows: list[Row]) -> Row:
    return replace(
        rows[0],
        seconds=statistics.median(row.seconds for row in rows),
        cpu_seconds=statistics.median(row.cpu_seconds for row in rows),
        problem=next((row.problem for row in rows if row.problem), None),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer clips and rows: under a minute, but noisier")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results to FILE")
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    began = time.monotonic()
    print(
        f"Clips of {CLIP_SECONDS:g} s at {CLIP_RATE} Hz, all different; service latency {LATENCY:g} s, "
        f"no rate limit;\nPython {platform.python_version()}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f} at the start.\n"
    )
    with tempfile.TemporaryDirectory(prefix="valence-bench-") as folder:
        rows, failures = run(size, Path(folder), quick=options.quick)
    reached = figures(rows)
    print("\nTargets")
    print("\n".join(figure.line() for figure in reached))
    print("\nThe bound is concurrency / latency, without processing time; for long files, all are processed at once.")
    print(f"Total time: {time.monotonic() - began:.0f} s.")
    for failure in failures:
        print(f"\n{failure}", file=sys.stderr)
    if options.json is not None:
        content = {
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "latency": LATENCY,
            "rows": [{**asdict(row), "rate": row.rate, "share": row.share, "cpu_ms": row.cpu_ms} for row in rows],
            "figures": [asdict(figure) for figure in reached],
            "failures": failures,
        }
        options.json.write_text(json.dumps(content, indent=2) + "\n")
    return 1 if failures or any(row.problem for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
