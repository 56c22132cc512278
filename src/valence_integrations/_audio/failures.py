"""Errors of items: every exception that reading an item raises becomes an error of that item."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Iterator
from contextlib import contextmanager

from valence_integrations.errors import AudioNotFoundError, ItemError, UnreadableAudioError, ValenceError

__all__ = ["damaged", "disk_errors", "empty", "item_errors", "printable", "shown"]

#: Longest name of an item in a message; base64 text given as a path has millions of characters.
_MAX_NAME = 500


def printable(name: str) -> str:
    """Name of an item as every output can encode it: no lone surrogates, and not too long."""
    text = name.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _MAX_NAME else f"{text[: _MAX_NAME // 2]}…{text[-_MAX_NAME // 2 :]}"


def shown(value: object) -> str:
    """Show a value of any kind in a message: shortened, and whatever its repr raises."""
    try:
        return printable(reprlib.repr(value))
    except Exception:
        return f"a value of type {type(value).__name__}"


@contextmanager
def item_errors(name: str) -> Iterator[None]:
    """Convert exceptions to errors of the item `name`.

    Items are objects of users: their methods can raise any exception, and so can decoders of hostile files. Only
    `KeyboardInterrupt`, `SystemExit` and their like pass.
    """
    name = printable(name)
    try:
        yield
    except ItemError as error:
        raise error.named(name) from None
    except ValenceError:
        raise
    except FileNotFoundError as error:
        raise AudioNotFoundError(f"the file cannot be read: {_reason(error)}.").named(name) from None
    except OSError as error:
        raise UnreadableAudioError(f"the file cannot be read: {_reason(error)}.", code="audio_open_failed").named(
            name
        ) from None
    except MemoryError:
        raise UnreadableAudioError(
            "there is not enough memory to read it.", code="no_memory", remedy="Lower concurrency, or cut it."
        ).named(name) from None
    except Exception as error:
        raise UnreadableAudioError(f"reading it raised {_reason(error)}.").named(name) from None


def damaged(message: str) -> UnreadableAudioError:
    """Error of a file whose content is wrong."""
    return UnreadableAudioError(message, code="audio_damaged", remedy="Export or copy it again.")


def empty(message: str = "it holds no audio.") -> UnreadableAudioError:
    """Error of an item without audio."""
    return UnreadableAudioError(message, code="audio_empty")


@contextmanager
def disk_errors() -> Iterator[None]:
    """Convert the failure to write a temporary file to an error of the item that needs it."""
    try:
        yield
    except OSError as error:
        raise UnreadableAudioError(
            f"its audio cannot be written to a temporary file: {_reason(error)}.",
            remedy="Free disk space, or set TMPDIR to a folder that has some.",
        ) from None


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    try:
        text = str(error)
    except Exception:
        text = ""
    kind = type(error).__name__
    if isinstance(error, (OSError, ValueError)):
        return printable(text) or kind
    return printable(f"{kind}: {text}" if text else kind)
