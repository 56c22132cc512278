from __future__ import annotations

import json
import multiprocessing
import os
import sqlite3
import stat
import threading
import time
import warnings
from pathlib import Path

import pytest

from valence_integrations import Settings
from valence_integrations._store.cache import ResultCache, cache_directory, cache_key

VALUE = {"segments": [{"emotion": "happy", "scores": {"happy": 0.7}}], "request_id": None}
FILE = "answers.sqlite3"


def test_values_persist_across_objects(tmp_path: Path) -> None:
    ResultCache(tmp_path / "new" / "deep").put("a", VALUE)
    cache = ResultCache(tmp_path / "new" / "deep")
    assert cache.get("a") == VALUE
    assert cache.get("b") is None
    cache.remove("a")
    assert cache.get("a") is None


def test_files_are_readable_only_by_their_owner(tmp_path: Path) -> None:
    ResultCache(tmp_path).put("a", VALUE)
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name


def test_temporary_cache_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cache = ResultCache(None)
    cache.put("a", VALUE)
    assert cache.get("a") == VALUE
    assert ResultCache(None).get("a") is None
    assert list(tmp_path.iterdir()) == []


def test_threads(tmp_path: Path) -> None:
    for cache in (ResultCache(tmp_path), ResultCache(None)):
        threads = [
            threading.Thread(target=lambda n=n, c=cache: [c.put(f"{n}-{i}", {"n": n, "i": i}) for i in range(50)])
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert all(cache.get(f"{n}-{i}") == {"n": n, "i": i} for n in range(4) for i in range(50))


def write_and_die(directory: Path, name: int) -> None:
    cache = ResultCache(directory)
    for number in range(100):
        cache.put(f"{name}-{number}", {"number": number})
    os._exit(1)


def test_killed_processes_lose_no_values(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_and_die, args=(tmp_path, name)) for name in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    cache = ResultCache(tmp_path)
    assert all(cache.get(f"{name}-{number}") == {"number": number} for name in range(2) for number in range(100))


def open_at(moment: float, directory: Path, name: int) -> None:
    warnings.simplefilter("error")
    time.sleep(max(moment - time.time(), 0))
    ResultCache(directory).put(str(name), {"name": name})


def test_processes_open_a_new_file_concurrently(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(4) as pool:
        pool.starmap(open_at, [(0.0, tmp_path / "warm", name) for name in range(4)], chunksize=1)
        for trial in range(15):
            directory = tmp_path / str(trial)
            pool.starmap(open_at, [(time.time() + 0.02, directory, name) for name in range(4)], chunksize=1)
            cache = ResultCache(directory)
            assert [cache.get(str(name)) for name in range(4)] == [{"name": name} for name in range(4)]
            assert not list(directory.glob("*.aside*"))


def test_corrupt_file_is_moved_aside(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"this is no database, and never was one" * 100)
    cache = ResultCache(tmp_path)
    with pytest.warns(UserWarning, match=r"cannot be used .*\.aside"):
        cache.put("a", VALUE)
    assert cache.get("a") == VALUE
    assert len(list(tmp_path.glob("*.aside"))) == 1


def test_foreign_database_is_moved_aside_unchanged(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE) as foreign:
        foreign.execute("CREATE TABLE answers (precious TEXT)")
        foreign.execute("INSERT INTO answers VALUES ('mine')")
    foreign.close()
    with pytest.warns(UserWarning, match="not a file of valence-integrations"):
        ResultCache(tmp_path).put("a", VALUE)
    (aside,) = tmp_path.glob("*.aside")
    kept = sqlite3.connect(aside)
    assert kept.execute("SELECT precious FROM answers").fetchall() == [("mine",)]
    kept.close()


def test_unwritable_directory_falls_back_to_a_temporary_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = ResultCache(tmp_path / "file" / "cache")
    with pytest.warns(UserWarning, match="VALENCE_CACHE_DIR"):
        cache.put("a", VALUE)
    assert cache.get("a") == VALUE, "within the job, answers are still there"


def test_claim_is_exclusive_until_released(tmp_path: Path) -> None:
    one, other = ResultCache(tmp_path), ResultCache(tmp_path)
    assert [one.claim("a"), other.claim("a"), other.claim("b")] == [True, False, True]
    one.release("a")
    assert other.claim("a")


def claim_and_die(directory: Path) -> None:
    assert ResultCache(directory).claim("a")
    os._exit(0)


def test_claim_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    claimer = multiprocessing.get_context("spawn").Process(target=claim_and_die, args=(tmp_path,))
    claimer.start()
    claimer.join(30)
    assert ResultCache(tmp_path).claim("a")


def test_info_clear_and_export(tmp_path: Path) -> None:
    cache = ResultCache(tmp_path / "cache")
    for name in "abc":
        cache.put(name, {**VALUE, "request_id": name})
    info = cache.info()
    assert (info["answers"], info["path"]) == (3, str(tmp_path / "cache" / FILE))
    assert info["bytes"] > 0
    assert cache.export(tmp_path / "answers.jsonl") == 3
    rows = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [(row["key"], row["request_id"], row["segments"]) for row in rows] == [
        (n, n, VALUE["segments"]) for n in "abc"
    ]
    assert cache.clear(older_than=3_600) == 0
    assert cache.clear() == 3
    assert cache.info()["answers"] == 0


@pytest.mark.parametrize(
    ("variable", "value", "left"), [("VALENCE_CACHE_MAX_AGE_DAYS", "2", 2), ("VALENCE_CACHE_MAX_MB", "0.00002", 1)]
)
def test_environment_variables_prune_the_oldest_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, left: int
) -> None:
    cache = ResultCache(tmp_path)
    now = time.time()
    for name, days in (("old", 3), ("middle", 1), ("new", 0)):
        with monkeypatch.context() as patch:
            patch.setattr("time.time", lambda days=days: now - days * 86_400)
            cache.put(name, {"a": 1})
    cache.close()
    monkeypatch.setenv(variable, value)
    again = ResultCache(tmp_path)
    assert [again.get(name) is not None for name in ("old", "middle", "new")] == [False, left == 2, True]


def test_cache_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_directory(Settings(cache=False)) is None
    assert cache_directory(Settings(cache=tmp_path)) == tmp_path
    monkeypatch.setenv("VALENCE_CACHE_DIR", str(tmp_path / "a"))
    assert cache_directory(Settings()) == tmp_path / "a"
    monkeypatch.delenv("VALENCE_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert "valence-integrations" in str(cache_directory(Settings()))


def test_cache_key_depends_on_all_that_changes_the_answer() -> None:
    settings = [
        Settings(),
        Settings(model="7emotions"),
        Settings(base_url="http://127.0.0.1:1"),
        Settings(discrete_path="/v1/discrete/emotion"),
        Settings(payload="json"),
    ]
    keys = {cache_key(s, "discrete", "d") for s in settings} | {
        cache_key(Settings(), "asynch", "d"),
        cache_key(Settings(), "discrete", "e"),
    }
    assert len(keys) == 7
    assert cache_key(Settings(model="7emotions"), "asynch", "d") == cache_key(Settings(), "asynch", "d")
    same = [Settings(api_key="k"), Settings(concurrency=9), Settings(cache=False), Settings(short_audio="repeat")]
    assert {cache_key(s, "discrete", "d") for s in same} == {cache_key(Settings(), "discrete", "d")}
