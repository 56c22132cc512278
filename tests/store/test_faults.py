"""The file is deleted, replaced, damaged, locked or on a full disk while it is used."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from valence_integrations._store import guard, memory
from valence_integrations._store.answers import AnswerFile
from valence_integrations._store.cache import ResultCache

FILE = "answers.sqlite3"


def value(name: str) -> dict[str, str]:
    return {"request_id": name}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def cache(directory: Path, monkeypatch: pytest.MonkeyPatch) -> ResultCache:
    """A cache in use; it waits for nothing."""
    monkeypatch.setattr(guard, "_BUSY_SECONDS", 0.05)
    monkeypatch.setattr(guard, "_FAILING_BUSY_SECONDS", 0.01)
    monkeypatch.setattr(guard, "_RETRY_SECONDS", 0.0)
    cache = ResultCache(directory)
    cache.put("before", value("before"))
    assert cache.claim("claimed")
    return cache


@contextmanager
def recorded() -> Iterator[list[str]]:
    """Record warnings as a long job meets them: each, not only the first of its kind."""
    messages: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield messages
    messages += [str(warning.message) for warning in caught]


@contextmanager
def one_warning(match: str) -> Iterator[None]:
    with recorded() as messages:
        yield
    assert len(messages) == 1, messages
    assert re.search(match, messages[0])


def delete(directory: Path) -> None:
    (directory / FILE).unlink()


def delete_all(directory: Path) -> None:
    for path in directory.iterdir():
        path.unlink()


def delete_directory(directory: Path) -> None:
    shutil.rmtree(directory)


def replace_by_garbage(directory: Path) -> None:
    other = directory.with_name("other")
    other.write_bytes(b"no database" * 1000)
    other.replace(directory / FILE)


def replace_by_another_cache(directory: Path) -> None:
    other = ResultCache(directory.with_name("other"))
    other.put("of another", value("of another"))
    other.close()
    (directory.with_name("other") / FILE).replace(directory / FILE)


def replace_by_foreign_database(directory: Path) -> None:
    with sqlite3.connect(directory.with_name("other")) as foreign:
        foreign.execute("CREATE TABLE answers (precious TEXT)")
    foreign.close()
    directory.with_name("other").replace(directory / FILE)


def replace_directory_by_another(directory: Path) -> None:
    directory.rename(directory.with_name("away"))
    directory.mkdir()


FAULTS: dict[Callable[[Path], None], str] = {
    delete: "is a new file: it was deleted or replaced",
    delete_all: "is a new file: it was deleted or replaced",
    delete_directory: "is a new file: it was deleted or replaced",
    replace_by_garbage: "file is not a database.*it is now answers.sqlite3.*aside",
    replace_by_another_cache: "is a new file: it was deleted or replaced",
    replace_by_foreign_database: "not a file of valence-integrations.*it is now answers.sqlite3.*aside",
    replace_directory_by_another: "is a new file: it was deleted or replaced",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_lost_file_is_made_again_with_what_this_process_stored(
    cache: ResultCache, directory: Path, fault: Callable[[Path], None]
) -> None:
    fault(directory)
    with one_warning(f"{FAULTS[fault]}.*have to be paid for again"):
        cache.put("after", value("after"))
        assert cache.get("before") == value("before")
        assert cache.claim("another")
    assert cache.is_persistent
    # Another process finds all of it in the file.
    other = ResultCache(directory)
    assert [other.get(key) for key in ("before", "after")] == [value("before"), value("after")]
    assert [other.claim(key) for key in ("claimed", "another", "third")] == [False, False, True]
    cache.release("claimed")
    assert other.claim("claimed")


def overwrite_pages(path: Path) -> None:
    """Damage all of a file but its header, as a failing disk or a careless program does."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(100)
        file.write(os.urandom(size - 100))


@pytest.mark.parametrize("use", ["get", "put", "claim", "recipe"])
def test_damage_in_the_middle_is_moved_aside(cache: ResultCache, directory: Path, use: str) -> None:
    for number in range(500):
        cache.put(f"{number}", value("x" * 500))
    cache.put_recipe("recipe", {"parts": []})
    cache.close()  # so that all is in the file, and nothing in memory of SQLite
    cache.get("opened again")
    overwrite_pages(directory / FILE)
    uses: dict[str, tuple[Callable[[], object], object]] = {
        "get": (lambda: cache.get("0"), value("x" * 500)),
        "put": (lambda: cache.put("a", value("a")), None),
        "claim": (lambda: cache.claim("b"), True),
        "recipe": (lambda: cache.recipe("recipe"), {"parts": []}),
    }
    with one_warning(r"cannot be used \(.*\); it is now answers.sqlite3.*aside"):
        assert uses[use][0]() == uses[use][1]
        assert all(cache.get(f"{number}") == value("x" * 500) for number in range(500))
    assert cache.is_persistent
    other = ResultCache(directory)
    assert all(other.get(f"{number}") == value("x" * 500) for number in range(500))
    assert len([path for path in directory.iterdir() if path.name.endswith(".aside")]) == 1


def test_damaged_text_is_damage(cache: ResultCache, directory: Path) -> None:
    foreign = sqlite3.connect(directory / FILE)
    foreign.execute("UPDATE answers SET value = CAST(x'ff7b' AS TEXT)")
    foreign.commit()
    foreign.close()
    with one_warning("a stored answer is not readable"):
        assert cache.get("before") == value("before")


def test_two_processes_that_find_damage_move_one_file_aside(cache: ResultCache, directory: Path) -> None:
    other = ResultCache(directory)
    other.put("of another", value("of another"))
    replace_by_garbage(directory)
    with recorded() as messages:
        cache.put("after", value("after"))
        other.put("later", value("later"))
    assert ["aside" in message for message in messages] == [True, False]
    fresh = ResultCache(directory)
    for key in ("before", "after", "of another", "later"):
        assert fresh.get(key) == value(key)
    assert len(list(directory.glob("*.aside"))) == 1


def test_leftovers_of_a_deleted_file_are_not_taken_for_the_new_one(cache: ResultCache, directory: Path) -> None:
    process = ResultCache(directory)
    process.put("theirs", value("theirs"))
    delete(directory)
    assert (directory / f"{FILE}-wal").exists()
    with one_warning("new file"):
        cache.put("after", value("after"))
    with one_warning("new file"):
        process.put("later", value("later"))
    process.close()
    cache.close()
    fresh = ResultCache(directory)
    assert [fresh.get(key) for key in ("before", "after", "theirs", "later")] == [
        value(key) for key in ("before", "after", "theirs", "later")
    ]


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    connection = sqlite3.connect(directory / FILE, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.execute("COMMIT")
    connection.close()


@contextmanager
def directory_in_its_place(directory: Path) -> Iterator[None]:
    delete_all(directory)
    (directory / FILE).mkdir()
    yield
    (directory / FILE).rmdir()


@contextmanager
def file_in_place_of_the_directory(directory: Path) -> Iterator[None]:
    shutil.rmtree(directory)
    directory.write_text("in the way")
    yield
    directory.unlink()


@contextmanager
def full(directory: Path) -> Iterator[None]:
    """Let no file of this process grow further, as on a full disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AnswerFile, "write", refuse)
        patch.setattr(AnswerFile, "claim", refuse)
        patch.setattr(AnswerFile, "renew", refuse)
        yield


def refuse(*arguments: object) -> None:
    raise sqlite3.OperationalError("database or disk is full")


LASTING = {
    locked: "database is locked",
    directory_in_its_place: "deleted or replaced",
    file_in_place_of_the_directory: "deleted or replaced",
    full: "disk is full",
}


@pytest.mark.parametrize("fault", LASTING, ids=lambda fault: fault.__name__)
def test_answers_are_in_memory_until_the_file_is_usable_again(
    cache: ResultCache, directory: Path, fault: Callable[[Path], Iterator[None]]
) -> None:
    with one_warning(rf"cannot be used \(.*{LASTING[fault]}.*kept in memory"):
        with fault(directory):
            for number in range(20):
                cache.put(f"{number}", value(f"{number}"))
                cache.put_recipe(f"{number}", {"parts": [number]})
            assert all(cache.get(f"{number}") == value(f"{number}") for number in range(20))
            assert cache.recipe("7") == {"parts": [7]}
            assert cache.get("before") == value("before")
            assert [cache.claim("new"), cache.claim("new"), cache.claim("7")] == [True, False, False]
            cache.release("claimed")
            cache.remove("8")
            assert cache.get("8") is None
            assert not cache.is_persistent
        assert cache.is_persistent
    other = ResultCache(directory)
    assert [other.get(f"{number}") for number in range(20)] == [
        None if number == 8 else value(f"{number}") for number in range(20)
    ]
    assert other.recipe("7") == {"parts": [7]}
    assert other.get("before") == value("before")
    assert [other.claim("new"), other.claim("claimed")] == [False, True]


def test_each_episode_has_one_warning(cache: ResultCache, directory: Path) -> None:
    with recorded() as messages:
        for _ in range(2):
            with locked(directory):
                for number in range(5):
                    cache.put(f"{number}", value("x"))
            assert cache.is_persistent
    assert len(messages) == 2


def test_locked_file_is_still_read(cache: ResultCache, directory: Path) -> None:
    other = ResultCache(directory)
    other.put("theirs", value("theirs"))
    with one_warning("locked"), locked(directory):
        cache.put("after", value("after"))
        assert cache.get("theirs") == value("theirs")


def test_waits_for_a_lock_are_bounded(cache: ResultCache, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_BUSY_SECONDS", 0.3)
    monkeypatch.setattr(guard, "_RETRY_SECONDS", 60.0)
    cache.close()
    cache.get("opened again")
    begun = time.monotonic()
    with one_warning("locked"), locked(directory):
        for number in range(50):
            cache.put(f"{number}", value("x"))
    assert 0.25 < time.monotonic() - begun < 2.0
    monkeypatch.setattr("time.monotonic", lambda: begun + 70)
    assert cache.is_persistent


def test_locked_when_it_is_opened(directory: Path, cache: ResultCache) -> None:
    late = ResultCache(directory)
    with locked(directory):
        with one_warning("locked"):
            late.put("late", value("late"))
        assert not late.is_persistent
    assert late.is_persistent
    assert cache.get("late") == value("late")


def test_unwritable_directory_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_RETRY_SECONDS", 0.0)
    (tmp_path / "file").write_text("in the way")
    cache = ResultCache(tmp_path / "file" / "cache")
    with one_warning("VALENCE_CACHE_DIR"):
        assert not cache.is_persistent
    cache.put("a", value("a"))
    assert cache.get("a") == value("a"), "within the job, answers are still there"
    assert cache.info() == {"path": None, "answers": 0, "bytes": 0, "oldest": None}
    assert cache.export(tmp_path / "exported") == 1
    (tmp_path / "file").unlink()
    assert cache.is_persistent
    assert ResultCache(tmp_path / "file" / "cache").get("a") == value("a")


def test_closing_writes_what_is_in_memory(cache: ResultCache, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_RETRY_SECONDS", 60.0)
    with one_warning("locked"), locked(directory):
        cache.put("a", value("a"))
    cache.close()
    assert ResultCache(directory).get("a") == value("a")


def test_closing_logs_what_could_not_be_written(
    cache: ResultCache, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with one_warning("are lost with this process unless the directory is usable again"), locked(directory):
        cache.put("a", value("a"))
        cache.put("b", value("b"))
        cache.close()
    assert f"2 answers not written to {directory / FILE}" in caplog.text
    assert ResultCache(directory).get("a") is None
    cache.get("opened again")
    assert ResultCache(directory).get("a") == value("a")


def test_temporary_cache_has_nothing_persistent_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_RETRY_SECONDS", 0.0)
    cache = ResultCache(None)
    cache.put("a", value("a"))
    assert not cache.is_persistent
    with monkeypatch.context() as patch:
        patch.setattr(AnswerFile, "write", refuse)
        with one_warning("full"):
            cache.put("b", value("b"))
        assert [cache.get("a"), cache.get("b")] == [value("a"), value("b")]
    cache.put("c", value("c"))
    assert [cache.get(key) for key in "abc"] == [value(key) for key in "abc"]


def test_memory_of_what_was_written_is_bounded(
    cache: ResultCache, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_RECENT_BYTES", 10_000)
    for number in range(40):
        cache.put(f"{number}", value("x" * 700))
    remembered = cache._guard._memory._recent
    assert list(remembered) == [("answers", f"{number}") for number in range(31, 40)]
    delete(directory)
    with one_warning("have to be paid for again"):
        assert cache.get("39") == value("x" * 700)
    assert cache.get("0") is None


@pytest.mark.parametrize("fault", ["deleted", "damaged"])
def test_file_that_is_lost_while_it_is_closed(tmp_path: Path, fault: str) -> None:
    cache = ResultCache(tmp_path)
    cache.put("key", {"emotion": "sad"})
    cache.close()
    file = tmp_path / "answers.sqlite3"
    for suffix in ("-wal", "-shm"):
        Path(f"{file}{suffix}").unlink(missing_ok=True)
    if fault == "deleted":
        file.unlink()
    else:
        file.write_bytes(b"no database" * 1_000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert cache.get("key") == {"emotion": "sad"}
    cache.close()
    assert ResultCache(tmp_path).get("key") == {"emotion": "sad"}


@pytest.mark.parametrize("fault", ["header", "empty", "pages", "another", "deleted", "log"])
def test_damage_that_does_not_show_while_the_file_is_open(tmp_path: Path, fault: str) -> None:
    file = tmp_path / FILE
    cache = ResultCache(tmp_path)
    cache.put("before", value("before"))
    if fault == "header":
        with file.open("r+b") as opened:
            opened.write(b"x" * 4_096)
    elif fault == "empty":
        os.truncate(file, 0)
    elif fault == "pages":
        overwrite_pages(file)
    elif fault == "another":
        other = ResultCache(tmp_path / "other")
        other.put("of another", value("of another"))
        other.close()
        shutil.copyfile(tmp_path / "other" / FILE, file)
    elif fault == "deleted":
        file.unlink()
    else:
        Path(f"{file}-wal").unlink()
        Path(f"{file}-shm").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cache.close()
    other = ResultCache(tmp_path)
    assert other.get("before") == value("before")
