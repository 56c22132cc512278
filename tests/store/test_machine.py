from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from valence_integrations._store.machine import Incarnations, boot, machine_clock

HOLD = """
import sys, time
from pathlib import Path
from valence_integrations._store.machine import Incarnations
print(Incarnations(Path(sys.argv[1])).own(), flush=True)
time.sleep(60)
"""


@contextmanager
def holder(path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def test_number_is_alive_until_its_process_is_killed(tmp_path: Path) -> None:
    processes = Incarnations(tmp_path / "lock")
    with holder(tmp_path / "lock") as (process, number):
        assert number != processes.own()
        assert processes.is_alive(number)
        process.send_signal(signal.SIGSTOP)
        assert processes.is_alive(number)
        process.kill()
        process.wait()
        assert not processes.is_alive(number)


def test_own_number_stays_and_is_seen_by_others(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    number = Incarnations(path).own()
    assert Incarnations(tmp_path / "." / "lock").own() == number
    ask = (
        "import sys; from pathlib import Path; from valence_integrations._store.machine import Incarnations;"
        "print(Incarnations(Path(sys.argv[1])).is_alive(int(sys.argv[2])))"
    )
    for _ in range(2):  # asking releases nothing
        answer = subprocess.run(
            [sys.executable, "-c", ask, str(path), str(number)], capture_output=True, text=True, check=True
        )
        assert answer.stdout == "True\n"
        assert Incarnations(path).is_alive(number)
    assert path.read_bytes() == b""


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_child_has_its_own_number_and_keeps_no_parent_alive(tmp_path: Path) -> None:
    processes = Incarnations(tmp_path / "lock")
    number = processes.own()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            own = processes.own()
            os.write(writing, f"{own} {processes.is_alive(number)}".encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    own, seen = os.read(reading, 100).split()
    os.close(reading)
    os.close(writing)
    assert int(own) != number
    assert seen == b"True"
    assert not processes.is_alive(int(own))


def test_deleted_file_is_made_again(tmp_path: Path) -> None:
    processes = Incarnations(tmp_path / "lock")
    number = processes.own()
    with holder(tmp_path / "lock") as (_, other):
        (tmp_path / "lock").unlink()
        assert processes.own() == number
        assert not processes.is_alive(other)  # what it held was in the same directory
        with holder(tmp_path / "lock") as (_, third):
            assert processes.is_alive(third)


def test_clock_runs_and_boot_is_the_same_everywhere() -> None:
    begun = machine_clock()
    time.sleep(0.01)
    assert 0.009 < machine_clock() - begun < 5
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            "from valence_integrations._store.machine import *; print(machine_clock(), boot(), sep='\\n')",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    clock, identifier = told.stdout.split("\n")[:2]
    assert begun < float(clock) < machine_clock()
    assert identifier == boot()
