"""Why items failed: for each code of an error, what a report calls it, and its remedy.

A report is read by people who may use Python or the command line, so remedies name both.
"""

from __future__ import annotations

from dataclasses import dataclass

from valence_integrations.errors import ValenceError

__all__ = ["OTHER", "Cause", "cause_of"]


@dataclass(frozen=True)
class Cause:
    """Why many items may fail, and what to do."""

    title: str
    remedy: str


_IN_THE_MESSAGE = "The message says what to do."
_EXPORT_AGAIN = "Export or copy it again."
_RUN_AGAIN = "Check the network, the proxy and base_url (--base-url); then run again."

OTHER = Cause("Other causes", _IN_THE_MESSAGE)

_CANNOT_BE_OPENED = Cause(
    "The file cannot be opened",
    "Check that it is a file, that it is there and may be read. Relative paths start at the working directory.",
)
_NOT_READABLE = Cause(
    "No audio, or a format that cannot be read",
    'M4A, MP4 and WebM need pip install "valence-integrations[av]". '
    "A download that is really an HTML page looks like this, too.",
)
_DAMAGED = Cause("A damaged or empty file", _EXPORT_AGAIN)
_NOT_AUDIO = Cause("Not audio, or an invalid waveform", _IN_THE_MESSAGE)
_SEGMENTS = Cause("Invalid segments", "A segment needs its start and end in seconds, within the audio.")
_NO_CONNECTION = Cause("No connection, or one that broke", _RUN_AGAIN)
_LATE = Cause(
    "The AsynchAPI's result did not come", 'Run again within 24 hours, or use long_audio="chunk" (--long chunk).'
)

#: By code; docs/errors.md has the same for all codes.
_CAUSES = {
    "audio_not_found": _CANNOT_BE_OPENED,
    "audio_path_invalid": _CANNOT_BE_OPENED,
    "audio_open_failed": _CANNOT_BE_OPENED,
    "url_not_fetched": Cause("An address in place of a file", "Download the file, and give its path."),
    "audio_format_unknown": _NOT_READABLE,
    "audio_needs_av": _NOT_READABLE,
    "audio_unreadable": Cause("Unreadable audio", _IN_THE_MESSAGE),
    "audio_damaged": _DAMAGED,
    "audio_empty": _DAMAGED,
    "item_invalid": _NOT_AUDIO,
    "waveform_invalid": _NOT_AUDIO,
    "sampling_rate_invalid": Cause("An invalid sampling rate", "Give it in Hz, as a whole number of at least 1000."),
    "audio_too_short": Cause("Too short", 'Use short_audio="pad" (--short pad), or drop the item.'),
    "audio_too_long": Cause("Too long", 'Use long_audio="asynch" or "chunk" (--long chunk), or cut the item.'),
    "file_too_large": Cause(
        "The file is too large for the account", 'Use long_audio="chunk" (--long chunk), or cut the item.'
    ),
    "segments_invalid": _SEGMENTS,
    "segment_outside_audio": _SEGMENTS,
    "segments_failed": Cause("Several segments of an item failed", _IN_THE_MESSAGE),
    "rate_limited": Cause(
        "Too many calls", "Lower concurrency (--concurrency), or wait for the quota; then run again."
    ),
    "server_error": Cause("The service failed", "Run again later: what is done is in the cache."),
    "network_unreachable": _NO_CONNECTION,
    "tls_failed": _NO_CONNECTION,
    "connection_broken": _NO_CONNECTION,
    "network_error": _NO_CONNECTION,
    "read_timeout": Cause("No answer in time", "Raise timeout=(connect, read), or run again later."),
    "invalid_response": Cause(
        "An answer that cannot be understood",
        "Check base_url (--base-url): a proxy's login page looks like this. Then run again.",
    ),
    "bad_request": Cause("The service refuses the request", "Check the model and the audio."),
    "endpoint_not_found": Cause(
        "The service has no such path", "Check base_url (--base-url) and discrete_path (VALENCE_DISCRETE_PATH)."
    ),
    "asynch_failed": Cause(
        "The AsynchAPI could not process it", 'Check the audio, or use long_audio="chunk" (--long chunk).'
    ),
    "asynch_expired": _LATE,
    "asynch_timeout": _LATE,
    "not_recorded": Cause(
        "Reason not recorded",
        "The messages say what happened. Outputs written by this version have the column emotion_error_code.",
    ),
}


def cause_of(error: ValenceError) -> Cause:
    """Cause of an error, by its code; of a code that is not known here, by that of its class.

    A result file may be of a newer version, so an unknown code has a heading of its own.
    """
    for code in (error.code, type(error).code):
        if code in _CAUSES:
            return _CAUSES[code]
    return OTHER if error.code == ValenceError.code else Cause(error.code, _IN_THE_MESSAGE)
