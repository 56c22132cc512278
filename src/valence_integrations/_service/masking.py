"""Mask API keys, and replace characters that cannot be stored, in everything that the service sends."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from typing import Any

__all__ = ["Mask"]

#: Shorter keys are not masked: such text occurs by chance in nearly every answer.
MIN_MASKED = 4

#: Shorter base64 text occurs by chance.
_MIN_BASE64 = 8

#: Control characters except tab and newlines, and surrogates, which UTF-8 cannot hold.
_UNUSABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")

#: Characters of the longest encoded form of a character, as in JSON.
_LONGEST_FORM = 6

#: Each form of an encoded character contains one of these.
_ENCODING = re.compile(r"[%\\&]")


class Mask:
    """Replaces API keys with ``***``, and characters that cannot be stored with U+FFFD.

    A key of at least 4 characters is found in upper and lower case, within longer text, with any of its characters
    percent-encoded or escaped as in JSON or HTML, and as base64 of the key alone. Other transformations, such as a
    reversed key, are not found.

    Parameters
    ----------
    keys : iterable of str
        The keys.

    Attributes
    ----------
    keys : frozenset of str
        The keys.

    Examples
    --------
    >>> from valence_integrations._service.masking import Mask
    >>> mask = Mask(["sk-1/23"])
    >>> mask("no such key: SK-1%2F23 (request 7)")
    'no such key: *** (request 7)'
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self.keys = frozenset(keys)
        masked = sorted((key for key in self.keys if len(key) >= MIN_MASKED), key=len, reverse=True)
        encoded = [text for key in masked for text in _base64(key)]
        self._plain = [text.lower() for text in (*masked, *encoded)]
        self._numbers = {int(key) for key in masked if key.isdecimal()}
        forms = [*("".join(map(_forms, key)) for key in masked), *map(re.escape, encoded)]
        self._pattern = re.compile("|".join(forms), re.IGNORECASE) if forms else None

    def __call__(self, text: str) -> str:
        """Return the text with keys masked; shorten it afterwards only, since half a key is not found."""
        if not text.isprintable():
            text = _UNUSABLE.sub("\N{REPLACEMENT CHARACTER}", text)
        if self._pattern is not None and self._may_have_key(text):
            text = self._pattern.sub("***", text)
        return text

    def cut(self, text: str) -> str:
        """Return a masked text without its end, where a key may begin whose rest is missing."""
        longest = max(map(len, self._plain), default=0) * _LONGEST_FORM
        masked = self(text)
        return masked[: max(len(masked) - longest, 0)]

    def is_clean(self, text: str) -> bool:
        """Return whether there is certainly nothing to replace, also in the strings that a JSON text stands for."""
        return text.isprintable() and not self._may_have_key(text)

    def value(self, value: Any) -> Any:
        """Return a parsed JSON value with keys masked in all its strings and names."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, list):
            return [self.value(element) for element in value]
        if isinstance(value, dict):
            return {self(name): self.value(element) for name, element in value.items()}
        return "***" if value in self._numbers else value

    def _may_have_key(self, text: str) -> bool:
        lower = text.lower()
        return any(plain in lower for plain in self._plain) or _ENCODING.search(text) is not None


def _forms(character: str) -> str:
    """Return a pattern for a character and its encoded forms."""
    code = ord(character)
    return rf"(?:{re.escape(character)}|%{code:02x}|\\u{code:04x}|\\{re.escape(character)}|&#{code};|&#x0*{code:x};)"


def _base64(key: str) -> Iterator[str]:
    """Yield the base64 forms of a key, without its last bytes, which depend on what follows."""
    whole = key.encode()[: len(key.encode()) // 3 * 3]
    standard, safe = base64.b64encode(whole).decode(), base64.urlsafe_b64encode(whole).decode()
    if len(standard) >= _MIN_BASE64:
        yield from dict.fromkeys((standard, safe))
