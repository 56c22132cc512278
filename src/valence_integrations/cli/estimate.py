"""``valence estimate``: estimate calls, data and time of a job, without a call."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from tqdm import tqdm

from valence_integrations._format import counted, size, span
from valence_integrations.cli.advice import error_text
from valence_integrations.cli.inputs import Inputs
from valence_integrations.cli.service import service
from valence_integrations.cli.terminal import ExitCode, one_line
from valence_integrations.engine import Engine, Estimate
from valence_integrations.errors import SettingsError

__all__ = ["estimate"]

#: Maximum number of unreadable items to list.
_MAX_LISTED = 20


def estimate(
    paths: Sequence[str], *, audio_column: str | None, sandbox: bool, as_json: bool, **overrides: Any
) -> ExitCode:
    """Print an estimate of `annotate` with the same inputs and settings.

    Parameters
    ----------
    paths, audio_column, sandbox, as_json
        See the command's help.
    **overrides
        Settings; None means the value of the environment.
    """
    inputs = Inputs(paths, audio_column)
    with service(sandbox=sandbox, **overrides) as settings, Engine(settings) as engine:
        found = engine.estimate(_audio(inputs))
    if not found.items:
        raise SettingsError(
            "there is no audio in the inputs.",
            code="input_invalid",
            remedy="Name audio files, or folders that contain some.",
        )
    sys.stdout.write(_as_json(found) if as_json else _as_table(found))
    return ExitCode.DONE


def _audio(inputs: Inputs) -> Iterator[Any]:
    # The progress bar is shown only in a terminal.
    for row in tqdm(inputs, desc="reading", unit="item", leave=False, disable=None):
        yield row.audio


def _as_table(found: Estimate) -> str:
    rows = [
        ("items", f"{found.items:,}", ""),
        ("  missing", f"{found.missing:,}", "no audio in the table"),
        ("  unreadable", f"{len(found.unreadable):,}", "will fail, see below" if found.unreadable else ""),
        ("  skipped", f"{found.skipped:,}", "not sent, because of --short or --long"),
        ("  padded", f"{found.padded:,}", "extended to 5 s"),
        ("  cut", f"{found.chunked:,}", "split into several calls"),
        ("  stored", f"{found.asynch:,}", "uploaded, and stored at the vendor for up to 24 hours"),
        ("different", f"{found.distinct:,}", "identical items are sent once"),
        ("  cached", f"{found.cached:,}", "already answered"),
        ("to be sent", "", ""),
        ("  calls", f"{'about ' if found.uncut else ''}{found.calls:,}", ""),
        ("  audio", f"{found.audio_minutes:,.1f} min", ""),
        ("  data", size(found.bytes), ""),
        ("  time", span(found.seconds), "at least, given the limits of the account"),
    ]
    width = max(len(value) for _, value, _ in rows)
    lines = [f"{name:<14}{value:>{width}}  {note}".rstrip() for name, value, note in rows]
    if found.undecoded:
        lines.append(
            f"{found.undecoded:,} are counted as to be sent, because only decoding could tell whether they are cached."
        )
    if found.uncut:
        lines.append(f"{counted(found.uncut, 'item')} must be decoded to be cut: the number of cuts is an estimate.")
    if found.unreadable:
        lines.append("unreadable:")
        lines += [f"  {one_line(error_text(error))}" for error in list(found.unreadable.values())[:_MAX_LISTED]]
    if (more := len(found.unreadable) - _MAX_LISTED) > 0:
        lines.append(f"  and {more:,} more; --json lists them all")
    return "\n".join(lines) + "\n"


def _as_json(found: Estimate) -> str:
    unreadable = [
        {"item": error.item, "type": type(error).__name__, "code": error.code, "error": error_text(error)}
        for error in found.unreadable.values()
    ]
    return json.dumps({**vars(found), "unreadable": unreadable}) + "\n"
