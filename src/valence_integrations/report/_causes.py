"""Causes of failures: heading and remedy in the report for each error code.

Remedies name both Python settings and CLI options, because readers may use either.
"""

from __future__ import annotations

from dataclasses import dataclass

from valence_integrations.errors import ValenceError

__all__ = ["OTHER", "Cause", "cause_of"]


@dataclass(frozen=True)
class Cause:
    """A cause of failures, and how to fix it."""

    title: str
    remedy: str


_SEE_MESSAGE = "See the message."
_EXPORT_AGAIN = "Export or copy it again."
_RUN_AGAIN = "Check the network, the proxy and base_url (--base-url); then run again."

OTHER = Cause("Other causes", _SEE_MESSAGE)

_CANNOT_BE_OPENED = Cause(
    "The file cannot be opened",
    "Check that the file exists and is readable. Relative paths start at the working directory.",
)
_NOT_READABLE = Cause(
    "Not audio, or an unsupported format",
    'M4A, MP4 and WebM need pip install "valence-integrations[av]". '
    "A download that is really an HTML page also causes this error.",
)
_DAMAGED = Cause("Damaged or empty file", _EXPORT_AGAIN)
_NOT_AUDIO = Cause("Not audio, or an invalid waveform", _SEE_MESSAGE)
_SEGMENTS = Cause("Invalid segments", "A segment needs its start and end in seconds, within the audio.")
_NO_CONNECTION = Cause("No connection, or a broken one", _RUN_AGAIN)
_NO_RESULT = Cause(
    "No result from the AsynchAPI", 'Run again within 24 hours, or use long_audio="chunk" (--long chunk).'
)

#: Cause by error code; docs/errors.md lists all codes.
_CAUSES = {
    "audio_not_found": _CANNOT_BE_OPENED,
    "audio_path_invalid": _CANNOT_BE_OPENED,
    "audio_open_failed": _CANNOT_BE_OPENED,
    "url_not_fetched": Cause("URL instead of a file", "Download the file and pass its path."),
    "audio_format_unknown": _NOT_READABLE,
    "audio_needs_av": _NOT_READABLE,
    "audio_unreadable": Cause("Unreadable audio", _SEE_MESSAGE),
    "audio_damaged": _DAMAGED,
    "audio_changed": Cause("Changed while it was read", "Run again when the file is complete."),
    "audio_empty": _DAMAGED,
    "no_memory": Cause("Not enough memory", "Free memory, lower concurrency, or cut the item."),
    "item_invalid": _NOT_AUDIO,
    "waveform_invalid": _NOT_AUDIO,
    "sampling_rate_invalid": Cause("Invalid sampling rate", "Pass it in Hz, as a whole number of 1,000 to 1,000,000."),
    "audio_too_short": Cause("Too short", 'Use short_audio="pad" (--short pad), or drop the item.'),
    "audio_too_long": Cause("Too long", 'Use long_audio="asynch" or "chunk" (--long chunk), or cut the item.'),
    "file_too_large": Cause(
        "File too large for the account", 'Use long_audio="chunk" (--long chunk), or cut the item.'
    ),
    "segments_invalid": _SEGMENTS,
    "segment_outside_audio": _SEGMENTS,
    "segments_failed": Cause("Several segments of an item failed", _SEE_MESSAGE),
    "rate_limited": Cause(
        "Too many calls", "Lower concurrency (--concurrency), or wait for the quota; then run again."
    ),
    "server_error": Cause("The service failed", "Run again later: finished items are in the cache."),
    "network_unreachable": _NO_CONNECTION,
    "tls_failed": _NO_CONNECTION,
    "connection_broken": _NO_CONNECTION,
    "network_error": _NO_CONNECTION,
    "read_timeout": Cause("Read timeout", "Raise timeout=(connect, read), or run again later."),
    "invalid_response": Cause(
        "Invalid answer",
        "Check base_url (--base-url): a proxy's login page also causes this error. Then run again.",
    ),
    "bad_request": Cause("The service rejects the request", "Check the model and the audio."),
    "endpoint_not_found": Cause(
        "The service has no such path", "Check base_url (--base-url) and discrete_path (VALENCE_DISCRETE_PATH)."
    ),
    "upload_url_refused": Cause(
        "Upload to an address that is not public", 'Report it, or use long_audio="chunk" (--long chunk).'
    ),
    "upload_unknown": _NO_RESULT,
    "asynch_failed": Cause(
        "The AsynchAPI could not process it", 'Check the audio, or use long_audio="chunk" (--long chunk).'
    ),
    "asynch_expired": _NO_RESULT,
    "asynch_timeout": _NO_RESULT,
    "not_recorded": Cause(
        "Reason not recorded",
        "Read the messages. Outputs written by this version have the column emotion_error_code.",
    ),
}


def cause_of(error: ValenceError) -> Cause:
    """Return the cause of an error by its code, or by the code of its class if its own code is unknown.

    A result file may come from a newer version, so an unknown code gets its own heading.
    """
    for code in (error.code, type(error).code):
        if code in _CAUSES:
            return _CAUSES[code]
    return OTHER if error.code == ValenceError.code else Cause(error.code, _SEE_MESSAGE)
