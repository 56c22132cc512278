"""The chaos lane: random faults of service, disk, clock, signals and processes, and what must hold nevertheless.

    make chaos            (200 seeds, and 200 runs of each ending of `endings.py`)
    make chaos SHORT=1    (20 seeds: under two minutes)
    make chaos SEED=17    (one seed again)

A seed draws a workload, settings, faults of the service, and some rounds. In each round, one or two worker processes
annotate the same items while something happens to them or to their files. A last round runs without faults, and once
more. Then the invariants are checked:

rows        Each row of a job that ended is that of a run without faults, or an error of the item. In the last round,
            each row is that of a run without faults, and running once more makes no call.
paid        Between two faultless answers to the same clip, something happened that can have lost the first one: its
            process was killed, interrupted or suspended during that call, or the file of the cache was destroyed, or
            could not be written. Likewise for uploads, besides those of which a step has failed.
limits      In no second more calls arrive than the policy allows, nor more at once: see `_check_limits`.
key         The key is in no output, log or file, and was sent to no other host.
ends        Nothing but errors of this library ends a job, no process prints a traceback, and none runs too long.

The service is the sandbox in this process, so it survives the workers.
"""

from __future__ import annotations

import argparse
import bisect
import itertools
import json
import multiprocessing
import os
import random
import secrets
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos import worker
from tests.chaos.endings import FORBIDDEN
from tests.conftest import clips, voice
from valence_integrations._audio import wav
from valence_integrations.sandbox import Faults, Policy, Sandbox

#: Seconds in which a worker must end; and after a jump of the clock, which may cost a minute.
ROUND_SECONDS, JUMP_SECONDS = 30.0, 90.0

LATENCY = (0.0, 0.15)
SLOW_SECONDS = 0.5
TIMEOUT = (2.0, 3.0)

#: Seconds from the arrival of a call to its answer in the cache: latency, a slow answer, and a slow machine.
IN_FLIGHT_SECONDS = LATENCY[1] + SLOW_SECONDS + 1.0

#: Requests jitter on their way: windows are looked at with this much less.
JITTER_SECONDS = 0.15

TO_PROCESS = ("kill", "stop", "interrupt")
TO_CACHE = ("cache_delete", "cache_corrupt", "cache_lock")
TO_LEDGER = ("ledger_delete", "ledger_directory", "ledger_corrupt")
#: What can lose answers that were kept.
DESTROYS = ("cache_delete", "cache_corrupt", "disk_full")
#: What can lose the answer to a call in flight.
INTERRUPTS = ("kill", "stop", "interrupt")


@dataclass
class Event:
    """Something that happened, in seconds of ``time.monotonic()``."""

    kind: str
    begin: float
    end: float


@dataclass
class Seed:
    """A seed's plan, and what happened."""

    number: int
    folder: Path
    key: str = field(default_factory=lambda: f"sk-chaos-{secrets.token_hex(8)}")
    events: list[Event] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    calm: bool = False

    begun: float = 0.0
    seconds: float = 0.0
    timeouts: int = 0
    plan: str = ""

    def __post_init__(self) -> None:
        self.rng = random.Random(self.number)
        self.cache, self.state = self.folder / "cache", self.folder / "state"

    def violate(self, text: str) -> None:
        self.violations.append(text)

    def happened(self, kind: str, begin: float, end: float | None = None) -> None:
        self.events.append(Event(kind, begin, time.monotonic() if end is None else end))


# The plan


def make_plan(seed: Seed) -> tuple[dict[str, Any], Faults, Policy | None]:
    """Draw the items, the settings, the faults of the service and its policy."""
    rng = seed.rng
    policy = None
    if rng.random() < 0.6:
        policy = Policy(requests_per_second=rng.randint(8, 30), max_concurrent_requests=rng.randint(2, 8))
    known: Any = None
    if policy is not None:
        known = rng.choice(["auto", policy.limits()])
    settings = {
        "concurrency": rng.choice([1, 3, 6, 12]) if policy is None else None,
        "payload": rng.choice(["multipart", "multipart", "multipart", "json"]),
        "short_audio": rng.choice(["pad", "repeat"]),
        "long_audio": rng.choice(["asynch", "chunk"]),
        "max_attempts": rng.randint(1, 5),
        "timeout": TIMEOUT,
        "limits": known,
    }
    most = 45
    if settings["payload"] == "json":  # some 3 MB each, of which the sandbox reads a few a second
        settings.update(concurrency=2, timeout=(2.0, 8.0))
        most = 12
    names = ("server_error", "unavailable", "drop", "truncate", "hang", "slow")
    shares = {name: rng.choice([0.0, 0.0, 0.05, 0.15]) for name in names}
    shares["hang"] /= 3
    odd = ["400", "404", "413", "418", "429", "html", "redirect", "401", "403"]
    script = [rng.choice(odd) if rng.random() < 0.15 else "ok" for _ in range(rng.choice([0, 10, 40]))]

    class Weather(Faults):
        def kind(self, number: int) -> str:
            return "ok" if seed.calm else super().kind(number)

    faults = Weather(
        **shares, seed=seed.number, script=script, slow_seconds=SLOW_SECONDS, asynch=rng.random() < 0.3, retry_after=1
    )
    items = _make_items(seed, most)
    shown = {name: share for name, share in shares.items() if share}
    odd = Counter(name for name in script if name != "ok")
    seed.plan = (
        f"{len(items)} items; {settings}; {policy and policy.limits()}; {shown}; {dict(odd)}; asynch={faults.asynch}"
    )
    return {"items": items, "settings": settings}, faults, policy


def _make_items(seed: Seed, most: int) -> list[dict[str, str]]:
    rng = seed.rng
    folder = seed.folder / "items"
    folder.mkdir(parents=True)
    items: list[dict[str, str]] = []
    for number in range(rng.randint(10, most)):
        file = f"{number:02}.wav"
        draw = rng.random()
        if draw < 0.2 and items:
            file = rng.choice(items)["file"]
        elif draw < 0.3:
            (folder / file).write_bytes(rng.choice([b"", b"RIFF", rng.randbytes(5_000), clips(1)[0][:100]]))
        elif draw < 0.33:
            file = "missing.wav"
        else:
            seconds = rng.choice([1.5, 3.0, 5.0, 6.0, 7.5]) if draw < 0.95 else rng.uniform(16, 22)
            speech = voice(seconds, 8_000, seed.number * 100 + number)
            (folder / file).write_bytes(wav.encode((speech * 30_000).astype("<i2"), 8_000))
        items.append({"file": file, "form": "bytes" if rng.random() < 0.2 and file != "missing.wav" else "path"})
    return items


# The rounds


def start(seed: Seed, name: str, sandbox: Sandbox, own: dict[str, Any]) -> subprocess.Popen[bytes]:
    environment = {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(seed.folder),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "VALENCE_API_KEY": seed.key,
        "VALENCE_API_BASE_URL": sandbox.url,
        "VALENCE_CACHE_DIR": str(seed.cache),
        "VALENCE_STATE_DIR": str(seed.state),
    }
    command = [sys.executable, "-m", "tests.chaos.worker", str(seed.folder), name, json.dumps(own)]
    with (seed.folder / f"{name}.out").open("wb") as output:
        return subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)


def storm(seed: Seed, number: int, sandbox: Sandbox, reference: list[dict[str, Any]]) -> None:
    """Run one or two workers while things happen to them."""
    rng = seed.rng
    names = [f"round{number}-{letter}" for letter in "ab"[: rng.choice([1, 1, 2])]]
    kinds = [rng.choice([*TO_PROCESS, *TO_CACHE, *TO_LEDGER]) for _ in range(rng.choice([0, 1, 1, 2, 3]))]
    begun = time.monotonic()
    jump = rng.choice([-3600.0, 3600.0]) if rng.random() < 0.2 else None
    # The clock belongs to the machine, so it jumps for all workers at once.
    clock = {"clock_jump": jump, "clock_jump_at": begun + rng.uniform(1.0, 3.0)}
    workers = {}
    for name in names:
        file_size = rng.randint(20_000, 150_000) if rng.random() < 0.12 else None
        own = {"lazy": rng.random() < 0.3, "file_size": file_size, "settings": {}, **clock}
        workers[name] = (start(seed, name, sandbox, own), own)
    for kind in kinds:
        _await(lambda: any((seed.folder / f"{name}.begun").exists() for name in names), 10)
        time.sleep(rng.uniform(0.0, 1.0))
        process, _ = workers[rng.choice(names)]
        if process.poll() is None or kind not in TO_PROCESS:
            strike(seed, kind, process)
    for name, (process, own) in workers.items():
        limit = ROUND_SECONDS if jump is None else JUMP_SECONDS
        finish(seed, name, process, begun + limit, reference)
        if own["file_size"] is not None:
            seed.happened("disk_full", begun)
    if jump is not None:
        seed.happened(f"clock {jump:+g} s", clock["clock_jump_at"])


def calm(seed: Seed, sandbox: Sandbox, reference: list[dict[str, Any]]) -> None:
    """Run without faults, and once more."""
    seed.calm = True
    # On a slow machine, answers may take longer than the faults leave time for.
    own = {"lazy": False, "file_size": None, "clock_jump": None, "settings": {"timeout": (5, 20), "max_attempts": 5}}
    for name in ("last", "again"):
        before = sandbox.calls + sandbox.uploads
        process = start(seed, name, sandbox, own)
        finish(seed, name, process, time.monotonic() + ROUND_SECONDS, reference, exact=True)
    if made := sandbox.calls + sandbox.uploads - before:
        seed.violate(f"paid: running once more made {made} calls")


def strike(seed: Seed, kind: str, process: subprocess.Popen[bytes]) -> None:
    """Let something happen now."""
    begin = time.monotonic()
    rng = seed.rng
    cache = [path for path in seed.cache.glob("*") if not path.name.startswith("limits") and path.is_file()]
    ledger = [path for place in (seed.cache, seed.state) for path in place.glob("limits*") if path.is_file()]
    if kind == "kill":
        process.kill()
    elif kind == "interrupt":
        process.send_signal(signal.SIGINT)
    elif kind == "stop":
        process.send_signal(signal.SIGSTOP)
        time.sleep(rng.uniform(0.2, 2.0))
        process.send_signal(signal.SIGCONT)
    elif kind in ("cache_delete", "ledger_delete"):
        for path in cache if kind == "cache_delete" else ledger:
            path.unlink(missing_ok=True)
    elif kind in ("cache_corrupt", "ledger_corrupt"):
        for path in cache if kind == "cache_corrupt" else ledger:
            if path.exists() and path.suffix == ".sqlite3":
                with path.open("r+b") as file:
                    file.write(rng.randbytes(4_096))
                    file.truncate(rng.choice([path.stat().st_size, 4_096]))
    elif kind == "ledger_directory":
        for path in ledger:
            path.unlink(missing_ok=True)
            if path.suffix == ".sqlite3":
                path.mkdir()
    elif kind == "cache_lock":
        _lock(cache, rng.uniform(0.5, 1.5))
    seed.happened(kind, begin)


def _lock(paths: list[Path], seconds: float) -> None:
    for path in paths:
        if path.suffix != ".sqlite3":
            continue
        try:
            connection = sqlite3.connect(path, timeout=1, isolation_level=None)
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)
            connection.execute("ROLLBACK")
            connection.close()
        except sqlite3.Error:
            continue


def finish(
    seed: Seed,
    name: str,
    process: subprocess.Popen[bytes],
    deadline: float,
    reference: list[dict[str, Any]],
    *,
    exact: bool = False,
) -> None:
    """Wait for the end of a worker; check how it ended and its rows."""
    try:
        process.wait(max(deadline - time.monotonic(), 0.1))
    except subprocess.TimeoutExpired:
        seed.violate(f"ends: {name} runs too long; {_stacks(seed, name, process)}")
        begin = time.monotonic()
        process.kill()
        process.wait()
        seed.happened("kill", begin)
    printed = (seed.folder / f"{name}.out").read_text(errors="replace")
    killed = process.returncode == -signal.SIGKILL
    log = seed.folder / f"{name}.log"
    seed.timeouts += log.read_text().count("a call failed: ReadTimeoutError") if log.exists() else 0
    # A signal before the first line of the worker's own ends Python itself.
    begun = (seed.folder / f"{name}.begun").exists()
    if begun and not killed:
        for line in printed.splitlines():
            if FORBIDDEN.search(line) or "Traceback (most recent call last)" in line:
                seed.violate(f"ends: {name} printed {line!r} … {printed.strip().splitlines()[-1]!r}")
                break
        if process.returncode != 0:
            seed.violate(f"ends: {name} has the exit code {process.returncode}")
    outcome = seed.folder / f"{name}.json"
    if outcome.exists():
        _check_rows(seed, name, json.loads(outcome.read_text()), reference, exact=exact)
    elif exact:
        seed.violate(f"rows: {name} has none")


def _stacks(seed: Seed, name: str, process: subprocess.Popen[bytes]) -> str:
    """Return where the threads of a worker are, in this library."""
    process.send_signal(signal.SIGUSR1)
    time.sleep(0.5)
    lines = (seed.folder / f"{name}.out").read_text(errors="replace").splitlines()
    ours = [line.split("valence_integrations/")[-1] for line in lines if "src/valence_integrations/" in line]
    return "; ".join(f"{count} x {line}" for line, count in Counter(ours).most_common(8))


# The invariants


def _check_rows(
    seed: Seed, name: str, outcome: dict[str, Any], reference: list[dict[str, Any]], *, exact: bool
) -> None:
    if exact and "rows" not in outcome:
        seed.violate(f"rows: {name} stopped: {outcome}")
    rows = outcome.get("rows")
    if rows is None:
        return
    if len(rows) != len(reference):
        seed.violate(f"rows: {name} has {len(rows)} rows, not {len(reference)}")
    for index, (row, expected) in enumerate(zip(rows, reference, strict=False)):
        same = all(row[each] == expected[each] for each in ("emotion", "scores", "segments", "error"))
        if same or (not exact and row["error"] is not None and row["ours"] and expected["error"] is None):
            continue
        seed.violate(f"rows: {name}, item {index} is {_short(row)}, not {_short(expected)}")


def _short(row: dict[str, Any]) -> str:
    return f"{row['error']} ({row['message'][:150]})" if row["error"] else f"{row['emotion']} {row['scores']}"


def check(seed: Seed, sandbox: Sandbox, policy: Policy | None) -> None:
    """Check what the service received, and all files."""
    requests = sandbox.requests
    _check_paid(seed, requests)
    _check_limits(seed, requests, sandbox.max_in_flight, policy)
    if sandbox.key_leaks:
        seed.violate(f"key: sent to another host {sandbox.key_leaks} times")
    for path in seed.folder.rglob("*"):
        if path.is_file() and (seed.key.encode() in path.read_bytes() or seed.key in path.name):
            seed.violate(f"key: in {path.relative_to(seed.folder)}")


def _check_paid(seed: Seed, requests: list[Any]) -> None:
    answers: dict[str, list[float]] = defaultdict(list)
    parts: dict[str, list[float]] = defaultdict(list)
    failed_steps = endless = 0
    for record in requests:
        well = record.status == 200 and record.fault in (None, "slow")
        endless += record.fault in ("hang", "stall")
        if record.method == "POST" and record.path in ("/emotionprediction", "/v1/discrete/emotion"):
            if well:
                answers[record.sha256].append(record.time)
        elif record.method == "PUT" and well:
            parts[record.sha256].append(record.time)
        elif "/upload/" in record.path or record.method == "PUT":
            failed_steps += not well
    repeated = [
        f"paid: clip {digest[:8]} at {_at(seed, first)} and {_at(seed, second)} s without a reason"
        for digest, times in answers.items()
        for first, second in itertools.pairwise(times)
        if not _excused(seed, first, second)
    ]
    # On a slow machine a worker can have given up waiting for an answer; its log says so.
    if len(repeated) > max(seed.timeouts - endless, 0):
        seed.violations += repeated[:3]
        seed.violate(f"paid: {len(repeated)} answers without a reason; events: {_told(seed)}")
    again = [
        f"{_at(seed, first)} and {_at(seed, second)}"
        for times in parts.values()
        for first, second in itertools.pairwise(times)
        if not _excused(seed, first, second)
    ]
    if len(again) > failed_steps:
        seed.violate(
            f"paid: uploads repeated at {'; '.join(again)}, {failed_steps} steps failed; events: {_told(seed)}"
        )


def _excused(seed: Seed, first: float, second: float) -> bool:
    """Whether something between two answers can have lost the first one."""
    return any(
        (event.kind in INTERRUPTS and event.begin <= first + IN_FLIGHT_SECONDS and first <= event.end)
        or (event.kind in DESTROYS and event.begin <= second and first - IN_FLIGHT_SECONDS <= event.end)
        for event in seed.events
    )


def _check_limits(seed: Seed, requests: list[Any], most_in_flight: int, policy: Policy | None) -> None:
    """Compare arrivals with the policy.

    A worker that was suspended can send the calls for which it had permits later, so each suspension allows as many
    more. A killed worker's calls remain under way until they are answered, and so does a call whose connection broke.
    """
    if policy is None:
        return
    limit, at_once = policy.requests_per_second, policy.max_concurrent_requests
    assert limit is not None
    assert at_once is not None
    kinds = Counter(event.kind for event in seed.events)
    times = sorted(
        record.time
        for record in requests
        if record.method == "POST" and (record.path == "/emotionprediction" or record.path.endswith("/initiate"))
    )
    window = 1.0 - JITTER_SECONDS
    most = max((bisect.bisect_left(times, begin + window) - place for place, begin in enumerate(times)), default=0)
    if most > limit + kinds["stop"] * at_once:
        seed.violate(f"limits: {most} calls within {window} s, {limit} a second allowed; events: {_told(seed)}")
    if most_in_flight > at_once * (1 + kinds["kill"] + kinds["interrupt"] + kinds["stop"]):
        seed.violate(f"limits: {most_in_flight} calls at once, {at_once} allowed; events: {_told(seed)}")


def _told(seed: Seed) -> str:
    return ", ".join(f"{event.kind} {_at(seed, event.begin)}-{_at(seed, event.end)}" for event in seed.events) or "none"


def _at(seed: Seed, moment: float) -> str:
    return f"{moment - seed.begun:.1f}"


# The lane


def run(number: int, keep: Path | None = None) -> Seed:
    """Run a seed; return it with its violations."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"chaos-{number}-") as directory:
        seed = Seed(number, Path(directory))
        plan, faults, policy = make_plan(seed)
        with Sandbox(api_key=seed.key) as clean:
            settings = {**plan["settings"], "base_url": clean.url, "api_key": seed.key, "cache": False, "limits": None}
            settings.update(max_attempts=3, concurrency=4, timeout=(5, 20))
            reference = worker.annotate(plan, seed.folder, settings, lazy=False)
        (seed.folder / "plan.json").write_text(json.dumps(plan))
        with Sandbox(LATENCY, faults, policy, seed.key) as sandbox:
            seed.begun = time.monotonic()
            for round_number in range(seed.rng.randint(1, 2)):
                storm(seed, round_number, sandbox, reference)
            calm(seed, sandbox, reference)
            check(seed, sandbox, policy)
        seed.seconds = time.monotonic() - begun
        if keep is not None:
            shutil.copytree(directory, keep / str(number), dirs_exist_ok=True)
    return seed


def _await(done: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        time.sleep(0.005)


def lane(numbers: list[int], at_once: int, keep: Path | None) -> Iterator[Seed]:
    # Processes, so that the services do not slow down one another.
    with ProcessPoolExecutor(at_once, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(run, numbers, itertools.repeat(keep))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=200, help="how many")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--at-once", type=int, default=os.cpu_count(), help="how many at the same time")
    parser.add_argument("--keep", type=Path, help="where the files of each seed are copied to")
    options = parser.parse_args()
    numbers = list(range(options.seeds)) if options.seed is None else [options.seed]
    begun, failed = time.monotonic(), []
    for seed in lane(numbers, options.at_once, options.keep):
        print(f"seed {seed.number}: {seed.seconds:.0f} s, {_told(seed)}", flush=True)
        if seed.violations:
            failed.append(seed.number)
            print(f"seed {seed.number} failed; to repeat it: make chaos SEED={seed.number}", flush=True)
            print(f"    plan: {seed.plan}", flush=True)
            for text in seed.violations:
                print(f"    {text}", flush=True)
    print(f"{len(numbers)} seeds, {len(failed)} failed: {failed}; {time.monotonic() - begun:.0f} s.")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
