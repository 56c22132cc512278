"""Processes that end while threads use the cache: no crash, nothing on stderr, and all is kept."""

from __future__ import annotations

import gc
import json
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from valence_integrations._store.cache import ResultCache

VALUE = {"request_id": "r1"}

#: Ends in some way while threads store and read answers. What was stored is in another file, written after it.
SCRIPT = """
import itertools, os, signal, sys, threading, time
from pathlib import Path
from valence_integrations._store.cache import ResultCache

directory, way, seed = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
cache = ResultCache(directory)
stored = open(directory / f"{seed}.stored", "w")

def work(thread):
    for number in itertools.count():
        key = f"{seed}-{thread}-{number}"
        cache.claim(key)
        cache.put(key, {"request_id": key})
        stored.write(key + "\\n")
        cache.get(key)
        if number % 7 == thread:
            cache.close()

cache.get("opened")
for thread in range(4):
    threading.Thread(target=work, args=(thread,), daemon=True).start()
time.sleep(int(seed) % 10 / 200)
if way == "exit":
    sys.exit(3)
if way == "error":
    sys.excepthook = lambda *error: None  # its own traceback is no matter here
    raise ValueError
if way == "collected":
    del cache
if way == "forked" and os.fork() == 0:
    sys.exit()
"""


def end(directory: Path, way: str, seed: int) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", SCRIPT, str(directory), way, str(seed)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == ({"exit": 3, "error": 1}.get(way, 0), ""), (way, seed)


@pytest.mark.parametrize("way", ["exit", "error", "end", "forked"])
def test_process_ends_while_threads_use_the_cache(tmp_path: Path, way: str) -> None:
    for seed in range(5):
        end(tmp_path, way, seed)
    cache = ResultCache(tmp_path)
    for path in tmp_path.glob("*.stored"):
        assert all(cache.get(key) == {"request_id": key} for key in path.read_text().split("\n")[:-1])


def test_collected_cache_is_closed(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path)
    cache.put("a", VALUE)
    assert (tmp_path / "answers.sqlite3-wal").exists()
    del cache
    gc.collect()
    assert not (tmp_path / "answers.sqlite3-wal").exists()


def test_closing_waits_for_the_thread_that_uses_it(tmp_path: Path) -> None:
    cache, begun, go_on = ResultCache(tmp_path), threading.Event(), threading.Event()
    cache.put("a", VALUE)

    def slow(file: object) -> int:
        begun.set()
        go_on.wait(5)
        return file._connection.execute("SELECT count(*) FROM answers").fetchone()[0]

    found: list[int] = []
    user = threading.Thread(target=lambda: found.append(cache._guard.run(slow, -1)))
    user.start()
    begun.wait(5)
    closer = threading.Thread(target=cache.close)
    closer.start()
    closer.join(0.05)
    assert closer.is_alive()
    go_on.set()
    user.join(5)
    closer.join(5)
    assert found == [1]
    assert not (tmp_path / "answers.sqlite3-wal").exists()
    assert cache.get("a") == VALUE


def test_closing_gives_up_on_a_thread_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("valence_integrations._store.guard._CLOSE_SECONDS", 0.01)
    cache = ResultCache(tmp_path)
    cache.put("a", VALUE)
    with cache._guard:
        cache.close()
        assert cache._guard._file is not None
    assert cache.get("a") == VALUE


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_child_never_closes_its_parents_connection(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path)
    cache.put("a", VALUE)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            connection = cache._guard._file._connection
            del cache
            gc.collect()
            # It is open still, and has a reference that nobody gives back.
            connection.execute("SELECT 1")
            status = 0 if sys.getrefcount(connection) > 2 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (tmp_path / "answers.sqlite3-wal").exists()
    cache.put("b", VALUE)
    other = sqlite3.connect(tmp_path / "answers.sqlite3")
    assert [json.loads(row[0]) for row in other.execute("SELECT value FROM answers")] == [VALUE, VALUE]
    other.close()
