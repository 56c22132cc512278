"""What every exception carries."""

from __future__ import annotations

from typing import TypedDict

from valence_integrations.errors._codes import Code

__all__ = ["About", "ValenceError"]


class About(TypedDict, total=False):
    """Keywords that every exception takes beside its own."""

    code: Code | None
    setting: str | None
    remedy: str | None


class ValenceError(Exception):
    """Base of everything that this library raises.

    Parameters
    ----------
    message : str, default=""
        What happened.
    code, setting : str, optional
        By default those of the class.
    remedy : str, optional
        What to do.

    Attributes
    ----------
    code : str
        What happened, for programs: one of `CODES`.
    setting : str or None
        The setting that mends it, if one does.
    message : str
        What happened, for people.
    remedy : str
        What to do, in terms of Python; empty if the message says all.
    """

    code: str = "other"
    setting: str | None = None
    remedy: str = ""

    def __init__(
        self, message: str = "", *, code: Code | None = None, setting: str | None = None, remedy: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        given = {"code": code, "setting": setting, "remedy": remedy}
        self.__dict__.update({name: value for name, value in given.items() if value is not None})

    @property
    def headline(self) -> str:
        """What happened, and to what; without the remedy."""
        return self.message

    def __str__(self) -> str:
        return " ".join(filter(None, (self.headline, self.remedy)))
