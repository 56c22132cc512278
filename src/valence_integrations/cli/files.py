"""Files that the commands write: atomically, and never in place of something that should stay."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

from valence_integrations.errors import SettingsError

__all__ = ["atomic_path", "refuse_existing", "refuse_inputs"]

_Identity: TypeAlias = "tuple[int, int]"


def refuse_existing(path: Path, *, force: bool) -> None:
    """Raise if an output exists and is not empty.

    Parameters
    ----------
    path : Path
        A file or a folder.
    force : bool
        Whether it may be replaced.

    Raises
    ------
    SettingsError
        Unless `force`.
    """
    exists = any(path.iterdir()) if path.is_dir() else path.exists() and path.stat().st_size > 0
    if exists and not force:
        raise SettingsError(
            f"{str(path)!r} already exists.",
            code="output_invalid",
            remedy="Use --force to replace it, or choose another output.",
        )


def refuse_inputs(outputs: Iterable[Path], inputs: Iterable[str]) -> None:
    """Raise if writing the outputs would replace an input.

    Files are compared by device and inode, because a link or another spelling can name the same file.

    Parameters
    ----------
    outputs : iterable of Path
        Files and folders to write.
    inputs : iterable of str
        Paths of the inputs; read only if an output exists.

    Raises
    ------
    SettingsError
        If an output is one of the inputs, or a folder that contains one.
    """
    existing = {identity: path for path in outputs if (identity := _identity(path)) is not None}
    if not existing:
        return
    above: dict[str, set[_Identity]] = {}
    for path in inputs:
        folder = os.path.dirname(path)  # noqa: PTH120 - pathlib takes three times as long
        if folder not in above:
            above[folder] = _folders(folder)
        found = next((existing[place] for place in (_identity(path), *above[folder]) if place in existing), None)
        if found is not None:
            raise SettingsError(
                f"the output {str(found)!r} would replace the input {path!r}.",
                code="output_invalid",
                remedy="Choose another output.",
            )


def _identity(path: str | Path) -> _Identity | None:
    try:
        status = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _folders(folder: str) -> set[_Identity]:
    try:
        resolved = Path(os.path.realpath(folder))
    except (OSError, ValueError):
        return set()
    return {identity for path in (resolved, *resolved.parents) if (identity := _identity(path)) is not None}


@contextlib.contextmanager
def atomic_path(path: Path, *, folder: bool = False) -> Iterator[Path]:
    """Yield a new private file or folder next to `path`, and rename it to `path` on success."""
    temporary = path.with_name(f".{path.name}.tmp")
    _remove(temporary)  # left over from a killed process
    try:
        if folder:
            temporary.mkdir(0o700)
        else:
            temporary.touch(0o600, exist_ok=False)
        yield temporary
        if not folder:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        temporary.chmod(_mode(path, folder=folder))
        if folder:
            _replace_folder(temporary, path)
        else:
            temporary.replace(path)
    finally:
        _remove(temporary)


def _mode(path: Path, *, folder: bool) -> int:
    """Permissions of the file or folder to replace, else those that the umask allows."""
    if path.exists():
        return stat.S_IMODE(path.stat().st_mode)
    mask = os.umask(0o077)
    os.umask(mask)
    return (0o777 if folder else 0o666) & ~mask


def _replace_folder(temporary: Path, path: Path) -> None:
    """Replace a folder in two steps, as one that is not empty cannot be replaced in one."""
    old = path.with_name(f".{path.name}.old")
    if path.is_dir():
        _remove(old)
        path.rename(old)
    try:
        temporary.replace(path)
    except BaseException:
        if old.is_dir():
            old.rename(path)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
