"""Base class of all exceptions."""

from __future__ import annotations

from typing import TypedDict

from valence_integrations.errors._codes import Code

__all__ = ["ErrorDetails", "ValenceError"]


class ErrorDetails(TypedDict, total=False):
    """Keyword arguments that every exception accepts, in addition to its own."""

    code: Code | None
    setting: str | None
    remedy: str | None


class ValenceError(Exception):
    """Base class of all exceptions that this library raises.

    Parameters
    ----------
    message : str, default=""
        What happened.
    code, setting : str, optional
        Default to those of the class.
    remedy : str, optional
        How to fix it.

    Attributes
    ----------
    code : str
        What happened, in machine-readable form: one of `CODES`.
    setting : str or None
        The setting that fixes it, if there is one.
    message : str
        What happened, in human-readable form.
    remedy : str
        How to fix it, in terms of Python; empty if the message is enough.
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
        """The message with its subject, without the remedy."""
        return self.message

    def __str__(self) -> str:
        return " ".join(filter(None, (self.headline, self.remedy)))
