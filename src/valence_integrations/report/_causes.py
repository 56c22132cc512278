"""Why items failed: the cause behind a message, and its remedy.

A result file keeps an error's message, and not its type, so that the message is all that a cause is known by.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath

__all__ = ["Cause", "cause_of", "message_of"]


@dataclass(frozen=True)
class Cause:
    """What many items may fail of."""

    title: str
    remedy: str


#: How a message of this library begins, and what it means; docs/errors.md tells the same by type.
_KNOWN = {
    r"the file cannot be read|the path is empty|this is a directory": Cause(
        "The file cannot be opened",
        "Check that it is there and may be read. Relative paths start at the working directory.",
    ),
    r"addresses are not fetched": Cause("An address in place of a file", "Download the file, and give its path."),
    r"this is no audio file|Reading M4A, MP4 or WebM needs": Cause(
        "No audio, or a format that cannot be read",
        'M4A, MP4 and WebM need pip install "valence-integrations[av]". '
        "A download that is in truth an HTML page looks like this, too.",
    ),
    r"the (WAV )?file is (damaged|cut off|empty)|it holds no audio|the file has no audio": Cause(
        "A damaged or empty file", "Export or copy it again."
    ),
    r"[\d.]+ s is too short|the service finds it too short": Cause(
        "Too short", 'Use short_audio="pad", or drop the item.'
    ),
    r"[\d.]+ s is too long|the service finds it too long": Cause(
        "Too long", 'Use long_audio="asynch" or "chunk", or cut the item.'
    ),
    r"the service finds the file too large|File size": Cause(
        "The file is too large for the account", 'Use long_audio="chunk", or cut the item.'
    ),
    r"too many calls for this account": Cause(
        "Too many calls", "Lower concurrency, or wait for the quota; then run again."
    ),
    r"the service failed": Cause("The service failed", "Run again later: what is done is in the cache."),
    r"\S+ cannot be reached|no secure connection|the connection to \S+ broke|a part of the upload failed": Cause(
        "No connection, or one that broke", "Check the network, the proxy and base_url; then run again."
    ),
    r"no answer from": Cause("No answer in time", "Raise timeout=(connect, read), and run again."),
    r"(the service's|the upload's|the status) answer": Cause(
        "An answer that cannot be understood", "Check base_url: a proxy's login page looks like this. Then run again."
    ),
    r"the service refuses the request": Cause(
        "The service refuses the request", "Check the model and the audio; for HTTP 404 or 405, base_url."
    ),
    r"the service could not process it": Cause(
        "The AsynchAPI could not process it", 'Check the audio, or use long_audio="chunk".'
    ),
    r"the service does not know the request|the job \(request \S+ was not finished": Cause(
        "The AsynchAPI's result did not come", 'Run again within 24 hours, or use long_audio="chunk".'
    ),
}


def message_of(error: Exception, name: str) -> str:
    """Message of an error, without the name of its item in front."""
    text = str(error)
    for prefix in (getattr(error, "item", None), name):
        if prefix and text.startswith(f"{prefix}: "):
            return text[len(prefix) + 2 :]
    file = PurePath(name).name
    _, found, message = text.partition(f"{file}: ") if file else ("", "", "")
    return message if found else text


def cause_of(message: str) -> Cause:
    """Cause of a message; an unknown message is one of its own, whatever its numbers are."""
    # In front of what is known may be what the message calls its item.
    matches = ((re.search(rf"(?:^|: )(?:{begins})", message), cause) for begins, cause in _KNOWN.items())
    found = [(match.start(), cause) for match, cause in matches if match]
    if found:
        return min(found, key=lambda pair: pair[0])[1]
    return Cause(re.sub(r"\d[\d.]*", "…", message), "The message says what to do.")
