"""An API key that no text shows."""

from __future__ import annotations

import copy
from collections.abc import Callable

__all__ = ["Key", "Secret", "revealed"]

_MASK = "***"


class Secret(str):
    """An API key whose text is ``***``.

    The string itself is the mask, so ``str``, ``format``, JSON and everything else that reads strings gets the mask.
    Comparisons and the hash are those of the key, so a secret equals its key. A pickle is None instead of a secret.
    """

    __slots__ = ("_key",)

    _key: str

    def __new__(cls, key: str) -> Secret:
        secret = super().__new__(cls, _MASK)
        secret._key = revealed(key)
        return secret

    def __eq__(self, other: object) -> bool:
        return revealed(other) == self._key if isinstance(other, str) else NotImplemented

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._key)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce__(self) -> tuple[Callable[[None], None], tuple[None]]:
        return copy.copy, (None,)


class Key(str):
    """The key itself, with a masked repr: tools that show the variables of a traceback use it.

    Examples
    --------
    >>> from valence_integrations.settings._secret import Key
    >>> {"x-api-key": Key("sk-1234")}
    {'x-api-key': '***'}
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(_MASK)


def revealed(key: str) -> str:
    """Return the key itself, for the HTTP header and the comparisons that need it."""
    return key._key if isinstance(key, Secret) else key
