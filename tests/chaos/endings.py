"""Ends of processes: scripts that end in every way while calls are under way.

    make chaos                                 (200 runs of each ending, besides the other chaos)
    python -m tests.chaos.endings --runs 20    (the figures alone; --only no_key for one ending)

Each script runs in a process of its own, against the sandbox in this one.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trustme

from tests.conftest import clips, voice
from tests.service.peers import Peer, context_for, free_port
from valence_integrations._audio import wav
from valence_integrations.sandbox import Sandbox

#: Seconds from the end of the script, or from its signal, to the end of the process.
MOST_SECONDS = 6.0

#: Seconds for a script to come to its end.
_BEGIN_SECONDS = 30.0

#: What no end of a process may print.
FORBIDDEN = re.compile(
    r"Fatal Python error|Segmentation fault|Exception ignored|Exception in thread|closed database|"
    r"ProgrammingError|core dumped|terminate called|ResourceWarning"
)

_BEGIN = """
import atexit, os, signal, sys, threading, time
from pathlib import Path
from valence_integrations import Engine, Settings
from valence_integrations.settings import RateLimits
paths = sorted(Path("clips").glob("*.wav"))
long = sorted(Path("long").glob("*.wav"))
def ending():
    Path(f"ending-{os.getpid()}").touch()
"""


@dataclass(frozen=True)
class Ending:
    """A script, and how it must end.

    Attributes
    ----------
    script : str
        Calls ``ending()`` just before it ends; one that waits for a signal creates that file when it may come.
    code : int
        The exit code; negative for a signal.
    last : str
        Pattern of the last line of stderr; empty if nothing may be printed.
    sends : signal, optional
        Sent once ``ending()`` was called.
    environment : dict
        Variables besides those of the sandbox.
    """

    script: str
    code: int = 0
    last: str = ""
    sends: signal.Signals | None = None
    environment: dict[str, str] = field(default_factory=dict)


ENDINGS = {
    "no_key": Ending(
        "ending()\nEngine().predict_many(paths)", 1, r"MissingKeyError: ", environment={"VALENCE_API_KEY": ""}
    ),
    "wrong_key": Ending(
        "ending()\nEngine().predict_many(paths)", 1, r"AuthenticationError: ", environment={"VALENCE_API_KEY": "wrong"}
    ),
    "outage": Ending(
        "ending()\nEngine(Settings(max_attempts=1)).predict_many(paths)",
        1,
        r"ServiceUnavailableError: |BatchError: |Fix or drop these items",
        environment={"VALENCE_API_BASE_URL": "{outage}"},
    ),
    "ctrl_c": Ending("ending()\nEngine().predict_many(paths)", -signal.SIGINT, r"KeyboardInterrupt", signal.SIGINT),
    "sigterm": Ending("ending()\nEngine().predict_many(paths)", -signal.SIGTERM, "", signal.SIGTERM),
    "sigterm_handled": Ending(
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\nending()\nEngine().predict_many(paths)",
        143,
        "",
        signal.SIGTERM,
    ),
    "sys_exit": Ending(
        """
        for number, _ in enumerate(Engine().iter_predict(paths)):
            if number == 2:
                ending()
                sys.exit(3)
        """,
        3,
    ),
    "sys_exit_before_the_limit": Ending(
        """
        for _ in Engine(Settings(limits=RateLimits(requests_per_minute=10))).iter_predict(paths):
            ending()
            sys.exit(3)
        """,
        3,
    ),
    "sys_exit_while_polling": Ending(
        """
        answers = Engine().iter_predict([paths[0], *long])
        next(answers)
        threading.Thread(target=lambda: next(answers), daemon=True).start()
        time.sleep(1)
        ending()
        sys.exit(3)
        """,
        3,
    ),
    "error_of_the_consumer": Ending(
        """
        for _ in Engine().iter_predict(paths):
            ending()
            raise ValueError("theirs")
        """,
        1,
        r"ValueError: theirs",
    ),
    "generator_left": Ending("left = Engine().iter_predict(paths)\nnext(left)\nending()"),
    "generator_dropped": Ending("next(Engine().iter_predict(paths))\nending()"),
    "no_answer": Ending(
        """
        engine = Engine(Settings(limits=None))
        threading.Thread(target=lambda: engine.predict_many(paths), daemon=True).start()
        time.sleep(0.5)
        ending()
        """,
        environment={"VALENCE_API_BASE_URL": "{silent}"},
    ),
    "cached_job_in_a_daemon_thread": Ending(
        """
        engine = Engine(Settings(concurrency=8))
        engine.predict_many(paths[:6])
        def forever():
            while True:
                engine.predict_many(paths[:6] * 10)
        threading.Thread(target=forever, daemon=True).start()
        time.sleep(0.1 + os.getpid() % 20 / 100)
        ending()
        """
    ),
    "decoding_in_a_daemon_thread": Ending(
        """
        engine = Engine(Settings(concurrency=8, cache=False, max_calls=1))
        def forever():
            while True:
                for file in Path("flac").glob("*.flac"):
                    try:
                        engine.predict(file)
                    except Exception:
                        pass
        for _ in range(4):
            threading.Thread(target=forever, daemon=True).start()
        time.sleep(0.1 + os.getpid() % 20 / 100)
        ending()
        """
    ),
    "use_at_exit": Ending(
        """
        engine = Engine()
        engine.predict(paths[0])
        atexit.register(lambda: engine.predict(paths[0]))
        ending()
        """
    ),
}


@contextmanager
def place() -> Iterator[tuple[Path, dict[str, str]]]:
    """Provide a directory with clips, and the environment of scripts in it, while the services run."""
    authority = trustme.CA()
    with tempfile.TemporaryDirectory() as directory, Sandbox(latency=0.3, asynch_pickup=60.0) as sandbox:
        here = Path(directory)
        for folder in ("clips", "long", "flac"):
            (here / folder).mkdir()
        for number, clip in enumerate(clips(30)):
            (here / "clips" / f"{number:02}.wav").write_bytes(clip)
        for number in range(2):
            (here / "long" / f"{number}.wav").write_bytes(
                wav.encode((voice(16.0, 8_000, number) * 3e4).astype("i2"), 8_000)
            )
        _write_flac(here / "flac")
        authority.cert_pem.write_to_path(str(here / "authority.pem"))
        with Peer(lambda peer, connection: peer.stopped.wait(60) and None, context_for(authority)) as silent:
            yield (
                here,
                {
                    "PATH": os.environ.get("PATH", ""),
                    "HOME": directory,
                    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                    "PYTHONFAULTHANDLER": "1",
                    "VALENCE_API_KEY": sandbox.api_key,
                    "VALENCE_API_BASE_URL": sandbox.url,
                    "REQUESTS_CA_BUNDLE": str(here / "authority.pem"),
                    "outage": f"http://127.0.0.1:{free_port()}",
                    "silent": silent.url,
                },
            )


def problems(ending: Ending, here: Path, environment: dict[str, str], number: int = 0) -> list[str]:
    """Run a script; return what is wrong with its end."""
    own = {name: value.format(**environment) for name, value in ending.environment.items()}
    state = {name: str(here / f"{name}-{time.time_ns()}") for name in ("VALENCE_CACHE_DIR", "VALENCE_STATE_DIR")}
    command = [sys.executable, "-c", _BEGIN + textwrap.dedent(ending.script)]
    with tempfile.TemporaryFile("w+", dir=here) as output:
        process = subprocess.Popen(
            command, cwd=here, env={**environment, **own, **state}, stdout=output, stderr=subprocess.STDOUT
        )
        mark = here / f"ending-{process.pid}"
        deadline = time.monotonic() + _BEGIN_SECONDS
        while not mark.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        found = [] if mark.exists() else ["did not come to its end"]
        if ending.sends is not None:
            time.sleep(0.4 + number % 10 / 20)  # at another moment in each run
            process.send_signal(ending.sends)
        begun = time.monotonic()
        try:
            process.wait(MOST_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            found.append(f"still ran after {MOST_SECONDS:g} s")
        _seconds.append(time.monotonic() - begun)
        mark.unlink(missing_ok=True)
        output.seek(0)
        text = output.read()
    if not found and process.returncode != ending.code:
        found.append(f"exit code {process.returncode}, not {ending.code}")
    found += [f"printed {line!r}" for line in text.splitlines() if FORBIDDEN.search(line)]
    last = text.strip().splitlines()[-1] if text.strip() else ""
    tracebacks = text.count("Traceback (most recent call last)")
    if not ending.last and text:
        found.append(f"printed {text[-300:]!r}")
    elif ending.last and (not re.search(ending.last, last) or tracebacks != 1):
        found.append(f"printed {tracebacks} tracebacks, the last line {last!r}")
    return found


_seconds: list[float] = []


def run(name: str, times: int, here: Path, environment: dict[str, str], at_once: int = 2) -> list[list[str]]:
    """Run an ending several times, some of them at once; return the problems of each run."""
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda number: problems(ENDINGS[name], here, environment, number), range(times)))


def _write_flac(folder: Path) -> None:
    import soundfile

    for number in range(3):
        soundfile.write(folder / f"{number}.flac", voice(10.0, 96_000, number), 96_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200, help="of each ending")
    parser.add_argument("--only", choices=ENDINGS, nargs="*", default=list(ENDINGS))
    options = parser.parse_args()
    failed = 0
    with place() as (here, environment):
        for name in options.only:
            _seconds.clear()
            found = run(name, options.runs, here, environment)
            bad = [each for each in found if each]
            failed += len(bad)
            print(
                f"{name:<32} {len(bad):>4} of {options.runs} runs ended badly; slowest end {max(_seconds):.1f} s",
                flush=True,
            )
            for text, count in Counter("; ".join(each)[:400] for each in bad).most_common(5):
                print(f"    {count} x {text}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
