"""The DiscreteAPI: one short clip, one answer."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np

from valence_integrations._audio.clip import IDEAL_RATE
from valence_integrations._audio.open import open_clip
from valence_integrations._service.transport import Transport
from valence_integrations.errors import InvalidResponseError
from valence_integrations.settings import Settings

__all__ = ["DiscreteClient"]

#: The JSON payload of the quickstart: 4.5 s of audio, starting at 0.5 s, at 44.1 kHz.
_JSON_START = IDEAL_RATE // 2
_JSON_SAMPLES = 198_450

#: An answer with nothing else is that of a gateway or a login page, whatever its status.
_ERROR_KEYS = frozenset({"error", "error_code", "message", "detail", "status", "code"})

_BOUNDARY = secrets.token_hex(16)
_HEAD = (
    f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="audio.wav"\r\n'
    "Content-Type: audio/wav\r\n\r\n"
).encode()
_TAIL = f"\r\n--{_BOUNDARY}--\r\n".encode()


class DiscreteClient:
    """Calls the DiscreteAPI.

    Parameters
    ----------
    settings : Settings
        Address of the service, model and payload.
    transport : Transport
        Sends the requests.
    """

    def __init__(self, settings: Settings, transport: Transport) -> None:
        self._settings = settings
        self._transport = transport
        self._url = f"{settings.base_url}{settings.discrete_path}?model={quote(settings.model)}"

    def body(self, wav: bytes) -> tuple[bytes, ...]:
        """Body of the call for a WAV file, in pieces, because joining them would copy the file."""
        return (_HEAD, wav, _TAIL) if self._settings.payload == "multipart" else (self._json_body(wav),)

    def send(self, body: Sequence[bytes]) -> dict[str, Any]:
        """Send a body without retries.

        Returns
        -------
        dict
            The service's answer, with the key masked.

        Raises
        ------
        ValenceError
            See `Transport.send`; also if the answer is not a JSON object, or says nothing but an error.
        """
        multipart = self._settings.payload == "multipart"
        headers = {
            "x-api-key": self._settings.require_key(),
            "Content-Type": f"multipart/form-data; boundary={_BOUNDARY}" if multipart else "application/json",
        }
        answer = self._transport.send("POST", self._url, data=_Pieces(body), headers=headers)
        content = answer.json_object("the service's answer")
        if content and content.keys() <= _ERROR_KEYS:
            raise InvalidResponseError(
                f"the service's answer is an error: {str(content)[:300]}.",
                status_code=answer.status_code,
                remedy="Check base_url and the proxies; if they are correct, try again.",
            )
        return content

    def _json_body(self, wav: bytes) -> bytes:
        import soxr

        clip = open_clip(wav)
        assert clip is not None
        waveform = clip.pcm().astype(np.float32) / np.float32(32768)
        ideal = soxr.resample(waveform, clip.rate, IDEAL_RATE)[_JSON_START : _JSON_START + _JSON_SAMPLES]
        samples = np.pad(ideal, (0, _JSON_SAMPLES - len(ideal))).astype(np.float64).round(6).tolist()
        text = json.dumps({"payload": [samples]})
        # The quickstart's endpoint expects JSON within a JSON string, the SDK's endpoint plain JSON.
        return (json.dumps(text) if self._settings.discrete_path == "/emotionprediction" else text).encode()


class _Pieces:
    """A body that requests sends piece by piece, with a Content-Length."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)

    def __len__(self) -> int:
        return sum(map(len, self._pieces))
