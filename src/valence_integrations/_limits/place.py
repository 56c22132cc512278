"""Where the files of accounts are: one directory of the machine, whatever cache directory or user a process has."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from valence_integrations._store.sqlite import COMPANIONS

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be deleted
    fcntl = None

__all__ = ["Place", "account", "places"]

#: Maximum wait for another process that opens a file of the same directory.
_OPENING_SECONDS = 3.0

_SALT_BYTES = 32


def account(service: str, api_key: str) -> str:
    """Return the name of an account, the same on all machines; `service` is `Settings.service`."""
    return hashlib.blake2b(f"{service}\n{api_key}".encode(), digest_size=8).hexdigest()


def places(cache_directory: Path) -> tuple[Place, Place]:
    """Return the common place of the machine and, for when it cannot be used, that of a cache directory."""
    if chosen := os.environ.get("VALENCE_STATE_DIR"):
        common = Path(chosen)
    elif os.name == "nt":
        common = Path(os.environ.get("PROGRAMDATA", r"C:\ProgramData")) / "valence-integrations"
    else:
        common = Path("/var/tmp/valence-integrations")  # noqa: S108
    return Place(common, for_all_users=True), Place(cache_directory)


@dataclass(frozen=True)
class Place:
    """A directory with the files of accounts, which all processes that use it share.

    Parameters
    ----------
    directory : Path
        It is created if it does not exist.
    for_all_users : bool
        Whether other users may write it. It has no sticky bit then: in directories that have one, Linux keeps
        programs such as SQLite from opening the files of other users (``fs.protected_regular``).
    """

    directory: Path
    for_all_users: bool = False

    @property
    def mode(self) -> int:
        """Permissions of the files."""
        return 0o666 if self.for_all_users else 0o600

    @property
    def processes(self) -> Path:
        """File of the `Incarnations` that hold permits."""
        return self.directory / "processes.lock"

    def path(self, name: str) -> Path:
        """Return the path of an account's file, whose name is another one on each machine.

        Raises
        ------
        OSError
            If the directory cannot be used.
        """
        file = self._open_salt()
        try:
            return self._path(name, file)
        finally:
            os.close(file)

    @contextmanager
    def opening(self, name: str) -> Iterator[Path]:
        """Yield the path of an account's file, which exists, while no other process opens or removes one.

        Raises
        ------
        OSError
            If the directory or the file cannot be used.
        """
        file = self._open_salt()
        try:
            _lock(file)
            path = self._path(name, file)
            if self._create(path):
                # SQLite would read what is left of an earlier file as a part of this one.
                _unlink(path, COMPANIONS)
            self._create(self.processes)
            yield path
        finally:
            os.close(file)

    def remake(self, path: Path) -> None:
        """Replace a file by an empty one; call it while `opening` the file."""
        _unlink(path, ("", *COMPANIONS))
        self._create(path)

    def _path(self, name: str, salt_file: int) -> Path:
        salt = os.read(salt_file, _SALT_BYTES)
        digest = hashlib.blake2b(name.encode(), key=salt, digest_size=8).hexdigest()
        return self.directory / f"limits-{digest}.sqlite3"

    def _open_salt(self) -> int:
        """Open the file with random bytes that make the names of the files; it is also what `opening` locks."""
        self._make_directory()
        path = self.directory / "salt"
        if not os.path.lexists(path):
            temporary = self.directory / f"salt-{secrets.token_hex(8)}"
            self._create(temporary, secrets.token_bytes(_SALT_BYTES))
            try:
                # Other than a rename, it does not replace the salt of a process that was faster.
                with suppress(FileExistsError):
                    os.link(temporary, path)
            finally:
                temporary.unlink()
        _check_regular(path)
        return os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))

    def _make_directory(self) -> None:
        if not self.for_all_users:
            self.directory.mkdir(parents=True, exist_ok=True)
            return
        with suppress(FileExistsError):
            self.directory.parent.mkdir(parents=True, exist_ok=True)
            self.directory.mkdir()
            self.directory.chmod(0o777)
        if not stat.S_ISDIR(self.directory.lstat().st_mode):
            raise NotADirectoryError(f"{self.directory} is not a directory")

    def _create(self, path: Path, content: bytes = b"") -> bool:
        """Create a file unless it exists, without opening an existing one: closing it would release SQLite's locks."""
        try:
            file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0), self.mode)
        except FileExistsError:
            _check_regular(path)
            return False
        try:
            os.write(file, content)
        finally:
            os.close(file)
        path.chmod(self.mode)  # whatever the umask
        return True


def _check_regular(path: Path) -> None:
    if not stat.S_ISREG(path.lstat().st_mode):
        raise OSError(f"{path} is not a regular file")


def _unlink(path: Path, suffixes: tuple[str, ...]) -> None:
    for suffix in suffixes:
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _lock(file: int) -> None:
    """Lock an open file until it is closed."""
    end = time.monotonic() + _OPENING_SECONDS
    while fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > end:
                raise TimeoutError("another process has been opening a file for seconds") from None
        time.sleep(0.01)
