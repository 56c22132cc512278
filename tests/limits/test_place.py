from __future__ import annotations

import os
import re
import stat
import threading
import time
from pathlib import Path

import pytest

from valence_integrations import Settings
from valence_integrations._limits.ledger import Ledger
from valence_integrations._limits.place import Place, account, places
from valence_integrations._limits.shared import SharedLedger

fcntl = pytest.importorskip("fcntl")


@pytest.fixture
def umask() -> None:
    before = os.umask(0o077)
    yield
    os.umask(before)


def modes(directory: Path) -> dict[str, int]:
    return {re.sub("-.*", "", path.stem): stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}


def test_accounts_differ_by_service_and_key() -> None:
    pairs = [("https://a.example.com", "key"), ("https://a.example.com", "other"), ("https://b.example.com", "key")]
    names = [account(*pair) for pair in pairs]
    assert len(set(names)) == 3
    assert all(re.fullmatch("[0-9a-f]{16}", name) for name in names)


def test_place_does_not_depend_on_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    common, own = places(tmp_path / "cache")
    assert (common, own) == (Place(tmp_path / "state", for_all_users=True), Place(tmp_path / "cache"))
    monkeypatch.delenv("VALENCE_STATE_DIR")
    assert places(tmp_path)[0].directory == Path("/var/tmp/valence-integrations")


def test_names_differ_on_each_machine_and_stay(tmp_path: Path) -> None:
    one, other = Place(tmp_path / "one"), Place(tmp_path / "other")
    name = account("https://api.example.com", "sk-secret")
    assert one.path(name) == Place(tmp_path / "one").path(name)
    assert one.path(name).name != other.path(name).name
    assert name not in one.path(name).name
    assert len({one.path(name), one.path(account("https://api.example.com", "sk-other"))}) == 2


def test_processes_that_start_together_make_one_salt(tmp_path: Path) -> None:
    place, found, together = Place(tmp_path / "new", for_all_users=True), [], threading.Barrier(8)

    def look() -> None:
        together.wait(10)
        found.append(place.path("account"))

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 8
    assert len(set(found)) == 1
    assert [path.name for path in place.directory.iterdir()] == ["salt"]


@pytest.mark.parametrize(("for_all_users", "directory", "file"), [(True, 0o777, 0o666), (False, 0o700, 0o600)])
def test_permissions_whatever_the_umask(
    tmp_path: Path, umask: None, for_all_users: bool, directory: int, file: int
) -> None:
    place = Place(tmp_path / "deep" / "state", for_all_users=for_all_users)
    ledger = SharedLedger("account", [place])
    ledger.take((), 1, float)
    found = modes(place.directory)
    assert set(found) == {"limits", "salt", "processes"}
    assert set(found.values()) == {file}
    assert {path.suffix for path in place.directory.iterdir()} >= {".sqlite3", ".sqlite3-wal", ".sqlite3-shm"}
    assert stat.S_IMODE(place.directory.stat().st_mode) == directory


def test_files_hold_no_key(tmp_path: Path) -> None:
    place = Place(tmp_path)
    SharedLedger(account("https://api.example.com", "sk-secret"), [place]).take((), 1, float)
    for file in tmp_path.iterdir():
        assert b"secret" not in file.read_bytes()
        assert b"example" not in file.read_bytes()


@pytest.mark.parametrize("obstacle", ["link to a directory", "file", "link to a file", "salt", "pipe"])
def test_links_and_special_files_are_refused(tmp_path: Path, obstacle: str) -> None:
    place, victim = Place(tmp_path / "state", for_all_users=True), tmp_path / "victim"
    if obstacle == "link to a directory":
        victim.mkdir()
        place.directory.symlink_to(victim)
    elif obstacle == "file":
        place.directory.write_text("in the way")
    else:
        path = place.path("account") if obstacle != "salt" else place.directory / "salt"
        place.directory.mkdir(exist_ok=True)
        if obstacle == "pipe":
            os.mkfifo(path)
        else:
            victim.write_bytes(b"")
            path.symlink_to(victim)
    with pytest.raises(OSError, match="is not a"), place.opening("account"):
        pass
    assert not victim.is_dir() or not list(victim.iterdir())
    assert victim.is_dir() or not victim.exists() or victim.read_bytes() == b""


@pytest.mark.parametrize("kind", ["read-only", "file"])
def test_unusable_common_place_is_replaced_by_the_cache_directory(tmp_path: Path, kind: str) -> None:
    blocked, own = Place(tmp_path / "x" / "state", for_all_users=True), Place(tmp_path / "cache")
    (tmp_path / "x").write_text("in the way")
    with pytest.warns(UserWarning, match=r"x/state cannot be used .*cache too, .*Set VALENCE_STATE_DIR") as caught:
        one, other = (SharedLedger("account", [blocked, own]) for _ in range(2))
    assert len(caught) == 2
    permit, _ = one.take((), 1, float)
    assert other.take((), 1, float)[0] == 0
    one.give_back(permit)
    assert other.take((), 1, float)[0]


def test_leftovers_of_a_deleted_file_are_not_read(tmp_path: Path) -> None:
    """SQLite would take the write-ahead log of another file for this one's."""
    place = Place(tmp_path)
    with place.opening("account") as path:
        old = Ledger(path)
        old.take((), 1, float)
    assert path.with_name(path.name + "-wal").stat().st_size > 0
    path.unlink()
    with place.opening("account") as again:
        assert again == path
        new = Ledger(again)
    assert new.take((), 1, float)[0]
    old.close()
    assert new.take((), 1, float)[0] == 0
    assert Ledger(path).take((), 1, float)[0] == 0


def test_opening_waits_for_another_process_but_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("valence_integrations._limits.place._OPENING_SECONDS", 0.1)
    place = Place(tmp_path)
    with place.opening("account"):
        begun = time.monotonic()
        with pytest.raises(TimeoutError), place.opening("account"):
            pass
        assert 0.1 <= time.monotonic() - begun < 5
    with place.opening("account"):
        pass


def test_engines_with_different_caches_share_the_limits(tmp_path: Path) -> None:
    from valence_integrations.engine._process import ProcessResources
    from valence_integrations.engine._stats import Stats

    one, other = (
        ProcessResources(
            Settings(base_url=url, api_key="key", cache=cache, limits=None, concurrency=1), Stats()
        ).limiter._ledger
        for url, cache in [("http://127.0.0.1:9", tmp_path / "one"), ("HTTP://LOCALHOST:9/", False)]
    )
    assert one.take((), 1, float)[0]
    assert other.take((), 1, float)[0] == 0
    assert len(list((tmp_path / "state").glob("limits-*.sqlite3"))) == 1
    assert not (tmp_path / "one").exists()
