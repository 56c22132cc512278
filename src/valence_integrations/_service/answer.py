"""An answer of the service as the rest of the library and the vendor's SDK see it: bounded, and without API keys."""

from __future__ import annotations

import json
from typing import Any

import requests
from requests.structures import CaseInsensitiveDict

from valence_integrations._service.masking import Mask
from valence_integrations.errors import InvalidResponseError

__all__ = ["Answer"]

#: Maximum nesting of an answer; known answers have four levels.
MAX_DEPTH = 64


class Answer:
    """What the SDK uses of a `requests.Response`, with API keys masked.

    Parameters
    ----------
    response : requests.Response
        The complete response.
    mask : Mask
        Masks the keys.

    Attributes
    ----------
    status_code : int
        HTTP status.
    content : bytes
        The body as received, which may contain a key: `json` and `json_object` return it masked.
    """

    def __init__(self, response: requests.Response, mask: Mask) -> None:
        self.status_code = response.status_code
        self.content: bytes = response.content
        self._response = response
        self._mask = mask

    @property
    def reason(self) -> str:
        """Masked reason phrase."""
        return self._mask(self._response.reason or "")

    @property
    def headers(self) -> CaseInsensitiveDict[str]:
        """Masked headers."""
        return CaseInsensitiveDict((name, self._mask(value)) for name, value in self._response.headers.items())

    def json(self) -> Any:
        """Return the parsed and masked body; raise ValueError if it is not JSON, or is nested too deeply."""
        try:
            text = self.content.decode(json.detect_encoding(self.content), "surrogatepass")
            content = json.loads(text)
        except (ValueError, RecursionError):
            text = ""
        if not text:
            # Not in the except block: the parser's exception has the body, which may contain a key.
            raise ValueError("not valid JSON")
        if text.count("[") + text.count("{") > MAX_DEPTH:
            _check_depth(content)
        return content if self._mask.is_clean(text) else self._mask.value(content)

    def json_object(self, subject: str) -> dict[str, Any]:
        """Return the parsed and masked body.

        Raises
        ------
        InvalidResponseError
            If it is not a JSON object; `subject` says what the answer is about.
        """
        try:
            content = self.json()
        except ValueError:
            content = None
        if isinstance(content, dict):
            return content
        kind = self.headers.get("Content-Type", "no type")[:100]
        raise InvalidResponseError(
            f"{subject} is not a JSON object ({len(self.content)} bytes of {kind}).",
            status_code=self.status_code,
            remedy="Check base_url; if it is correct, try again.",
        )

    def raise_for_status(self) -> None:
        """Do nothing: `Transport` has raised for an error."""


def _check_depth(content: Any) -> None:
    """Raise ValueError if a JSON value is nested more deeply than `MAX_DEPTH`, which would break its repr or pickle."""
    level = [content] if isinstance(content, (dict, list)) else []
    for _ in range(MAX_DEPTH):
        values = (value.values() if isinstance(value, dict) else value for value in level)
        level = [value for group in values for value in group if isinstance(value, (dict, list))]
        if not level:
            return
    raise ValueError("nested too deeply")
