"""Stress tests: faults, kill -9, four processes at once, many items.

    make stress                          (about ten minutes)
    python benchmarks/stress.py --short  (under two minutes; what CI runs)

Each figure is compared with its target, and the exit code is 1 if one is missed. The sandbox runs in this process and
counts the calls. Jobs that are killed or run in parallel are separate processes.
"""

from __future__ import annotations

import argparse
import bisect
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _audio import make_wavs
from _table import Figure

from valence_integrations import Engine, Settings
from valence_integrations.sandbox import Faults, Policy, Sandbox

CLIP_SECONDS, CLIP_RATE = 5.0, 8_000
PROCESSES = 4
SECOND_LIMIT = 10
#: Seconds that the limiter uses for a window of one second: the margin avoids 429s.
WINDOW_SECONDS = 1.05
KIB_PER_MIB = 1024

#: Annotate every `step`-th file of a folder, from the file number `first` on.
JOB = """
import sys
from pathlib import Path
from valence_integrations import Engine, Settings
folder, url, concurrency, first, step = sys.argv[1:]
paths = sorted(Path(folder).glob("*.wav"))[int(first)::int(step)]
Engine(Settings(base_url=url, api_key="sandbox-key", concurrency=int(concurrency))).predict_many(paths)
"""


def start_job(
    folder: Path, sandbox: Sandbox, cache: Path, concurrency: int, first: int = 0, step: int = 1
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", JOB, str(folder), sandbox.url, str(concurrency), str(first), str(step)]
    return subprocess.Popen(command, env={"VALENCE_CACHE_DIR": str(cache), "VALENCE_STATE_DIR": str(cache)})


def engine_for(sandbox: Sandbox, **settings: Any) -> Engine:
    return Engine(Settings(base_url=sandbox.url, api_key=sandbox.api_key, **settings))


def faults(folder: Path, count: int) -> Iterator[Figure]:
    """One job over a faulty network: every row is correct, with few attempts."""
    paths = make_wavs(folder / "clips", count, CLIP_SECONDS, CLIP_RATE, seed=1)
    with Sandbox() as sandbox, engine_for(sandbox, cache=folder / "good", concurrency=16) as engine:
        expected = [prediction.scores for prediction in engine.predict_many(paths)]
    bad = Faults(server_error=0.05, drop=0.02, truncate=0.01, hang=0.003)
    with (
        Sandbox(faults=bad) as sandbox,
        engine_for(sandbox, cache=folder / "bad", concurrency=16, timeout=(5, 2)) as engine,
    ):
        actual = [prediction.scores for prediction in engine.predict_many(paths)]
        attempts = sandbox.calls / count
    wrong = sum(one != other for one, other in zip(actual, expected, strict=True))
    text = f"{count} clips, 5 % 5xx, 2 % dropped, 1 % truncated, 0.3 % endless"
    yield at_most(f"{text}: wrong rows", wrong, 0)
    yield at_most(f"{text}: attempts / clips", attempts, 1.15)


def kills(folder: Path, count: int, times: int) -> Iterator[Figure]:
    """A job that is killed repeatedly: only calls in flight at a kill are paid twice."""
    make_wavs(folder / "clips", count, CLIP_SECONDS, CLIP_RATE, seed=2)
    draw = random.Random(0)
    concurrency = 5
    with Sandbox(latency=0.1) as sandbox:
        for kill in range(times):
            job = start_job(folder / "clips", sandbox, folder / "cache", concurrency)
            until = sandbox.answered + draw.uniform(0.2, 1.2) * count / (times + 2)
            wait_until(lambda until=until: sandbox.answered >= until)
            job.kill()
            job.wait()
            print(f"    kill {kill + 1}: {sandbox.answered} answers paid", flush=True)
        if start_job(folder / "clips", sandbox, folder / "cache", concurrency).wait():
            raise RuntimeError("the last job failed")
        paid = [record.sha256 for record in sandbox.requests if record.sha256 and record.status == 200]
    yield at_least(f"{count} clips, {times} x kill -9: clips answered", len(set(paid)), count)
    yield at_most(
        f"{count} clips, {times} x kill -9: answers paid twice", len(paid) - len(set(paid)), times * concurrency
    )


def processes(folder: Path, count: int) -> Iterator[Figure]:
    """Four parallel jobs with one key: together they stay within the limit, and use it."""
    make_wavs(folder / "clips", count, CLIP_SECONDS, CLIP_RATE, seed=3)
    policy = Policy(requests_per_second=SECOND_LIMIT, max_concurrent_requests=5)
    with Sandbox(policy=policy) as sandbox:
        jobs = [start_job(folder / "clips", sandbox, folder / "cache", 5, n, PROCESSES) for n in range(PROCESSES)]
        if sum(job.wait() for job in jobs):
            raise RuntimeError("a job failed")
        calls = [record for record in sandbox.requests if record.method == "POST"]
    text = f"{PROCESSES} processes, one key, {SECOND_LIMIT} a second"
    admitted = [record.time for record in calls if record.status != 429]
    best = WINDOW_SECONDS * (count // SECOND_LIMIT - 1)
    yield at_most(f"{text}: maximum calls in any second", most_within(admitted, 1.0), SECOND_LIMIT)
    yield at_most(f"{text}: share of 429s", 1 - len(admitted) / len(calls), 0.01)
    yield at_most(f"{text}: time / best possible", (max(admitted) - min(admitted)) / best, 1.10)


def schedule(folder: Path, count: int) -> Iterator[Figure]:
    """One job under two limits: close to the best possible schedule."""
    paths = make_wavs(folder / "clips", count, CLIP_SECONDS, CLIP_RATE, seed=4)
    policy = Policy(requests_per_second=SECOND_LIMIT, requests_per_minute=count, max_concurrent_requests=5)
    with Sandbox(policy=policy) as sandbox, engine_for(sandbox, cache=folder / "cache") as engine:
        engine.predict_many(paths)
        times = [record.time for record in sandbox.requests if record.method == "POST"]
        refused = engine.stats.rate_limited
    best = WINDOW_SECONDS * (count // SECOND_LIMIT - 1)
    yield at_most(f"{count} clips, {SECOND_LIMIT} a second: 429 responses", refused, 0)
    yield at_most(
        f"{count} clips, {SECOND_LIMIT} a second: time / best possible", (max(times) - min(times)) / best, 1.03
    )


def memory(folder: Path, count: int) -> Iterator[Figure]:
    """Many items from a generator: only a window of them is in memory."""
    distinct = 200
    tone = np.sin(np.arange(int(CLIP_SECONDS * CLIP_RATE)) * 0.3)

    def items() -> Iterator[tuple[np.ndarray, int]]:
        for number in range(count):
            yield tone * (0.2 + 0.7 * (number % distinct) / distinct), CLIP_RATE

    with Sandbox() as sandbox, engine_for(sandbox, cache=folder / "cache", concurrency=16) as engine:
        predictions = engine.iter_predict(items())
        for _ in range(count // 10):
            next(predictions)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        remaining = sum(1 for _ in predictions)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / KIB_PER_MIB
        calls = sandbox.calls
    assert remaining == count - count // 10
    yield at_most(f"{count} items from an iterator, {distinct} different: calls", calls, distinct)
    yield at_most(f"{count} items from an iterator: memory growth after a tenth, MiB", grown, 20)


def most_within(times: Sequence[float], seconds: float) -> int:
    """Return the largest number of `times` within any interval of this length."""
    ordered = sorted(times)
    return max(bisect.bisect_left(ordered, begin + seconds) - place for place, begin in enumerate(ordered))


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not done():
        if time.monotonic() > deadline:
            raise RuntimeError("no progress in 120 s")
        time.sleep(0.005)


def at_most(text: str, measured: float, wanted: float) -> Figure:
    return Figure(text, f"<= {wanted:g}", f"{measured:.4g}", measured <= wanted)


def at_least(text: str, measured: float, wanted: float) -> Figure:
    return Figure(text, f">= {wanted:g}", f"{measured:.4g}", measured >= wanted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="a tenth of the sizes: under two minutes")
    short = parser.parse_args().short
    begun = time.monotonic()
    scenarios: list[tuple[Callable[..., Iterator[Figure]], tuple[int, ...]]] = [
        (faults, (500 if short else 5_000,)),
        (kills, (150, 3) if short else (1_000, 10)),
        (processes, (60 if short else 300,)),
        (schedule, (60 if short else 300,)),
        (memory, (10_000 if short else 100_000,)),
    ]
    reached = True
    with tempfile.TemporaryDirectory() as directory:
        for scenario, sizes in scenarios:
            print(f"{scenario.__name__}: {scenario.__doc__}", flush=True)
            for figure in scenario(Path(directory) / scenario.__name__, *sizes):
                print(figure.line(), flush=True)
                reached &= figure.reached
    print(f"Total time: {time.monotonic() - begun:.0f} s.")
    sys.exit(0 if reached else 1)


if __name__ == "__main__":
    main()
