"""Settings: how items are annotated, and with which account."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeVar, cast, get_args

from valence_integrations.errors import MissingKeyError, SettingsError
from valence_integrations.settings._address import DEFAULT_BASE_URL, validate_path, validate_url
from valence_integrations.settings._address import service_identity as service_identity
from valence_integrations.settings._cache_limits import cache_limits
from valence_integrations.settings._checks import check_choice as check_choice
from valence_integrations.settings._checks import check_count as check_count
from valence_integrations.settings._checks import check_flag as check_flag
from valence_integrations.settings._checks import (
    check_number,
    validate_cache,
    validate_emotions,
    validate_key,
    validate_model,
    validate_timeout,
)
from valence_integrations.settings._rate_limits import DEFAULT_CONCURRENCY, RateLimits, validate_limits
from valence_integrations.settings._secret import Key as Key
from valence_integrations.settings._secret import Secret as Secret
from valence_integrations.settings._secret import revealed as revealed

__all__ = ["DEFAULT_BASE_URL", "DEFAULT_CONCURRENCY", "EMOTIONS", "RateLimits", "Settings"]

#: Settings that an item's prediction depends on, apart from the address of the service.
ANSWER_SETTINGS = ("discrete_path", "model", "payload", "sampling_rate", "short_audio", "long_audio", "min_confidence")

#: Lower sampling rates, in Hz, cannot carry speech, and higher ones are no audio's (recorders of bats reach 500 kHz).
MIN_SAMPLING_RATE, MAX_SAMPLING_RATE = 1_000, 1_000_000

#: Emotions of each of the vendor's models [SDK 1.0.0], in alphabetical order.
EMOTIONS: Mapping[str, tuple[str, ...]] = {
    "4emotions": ("angry", "happy", "neutral", "sad"),
    "7emotions": ("angry", "calm", "disgusted", "happy", "neutral", "sad", "surprised"),
}

ShortAudio = Literal["pad", "repeat", "skip", "error"]
LongAudio = Literal["asynch", "chunk", "truncate", "skip", "error"]
Payload = Literal["multipart", "json"]
OnError = Literal["raise", "null"]
ShortSegments = Literal["pad", "widen"]

T = TypeVar("T")


#: Each returns the valid value of the setting in its normal form, or raises SettingsError.
_VALIDATORS: Mapping[str, Callable[[Any], Any]] = {
    "base_url": validate_url,
    "discrete_path": validate_path,
    "model": validate_model,
    "emotions": validate_emotions,
    "payload": partial(check_choice, "payload", choices=get_args(Payload)),
    "sampling_rate": partial(check_count, "sampling_rate", least=MIN_SAMPLING_RATE, most=MAX_SAMPLING_RATE),
    "short_audio": partial(check_choice, "short_audio", choices=get_args(ShortAudio)),
    "long_audio": partial(check_choice, "long_audio", choices=get_args(LongAudio)),
    "min_confidence": partial(check_number, "min_confidence", highest=1.0),
    "concurrency": partial(check_count, "concurrency", optional=True),
    "limits": validate_limits,
    "timeout": validate_timeout,
    "max_attempts": partial(check_count, "max_attempts"),
    "max_billed_attempts": partial(check_count, "max_billed_attempts"),
    "max_calls": partial(check_count, "max_calls", optional=True),
    "max_audio_seconds": partial(check_number, "max_audio_seconds", highest=float("inf")),
    "cache": validate_cache,
}


class _ApiKey:
    """The key passed as an argument, else ``VALENCE_API_KEY``, read at each access; as a `Secret`."""

    def __get__(self, settings: Any, owner: type) -> str | None:
        if settings is None:
            return None
        from_environment = os.environ.get("VALENCE_API_KEY", "").strip()
        return settings.__dict__.get("_api_key") or (Secret(from_environment) if from_environment else None)

    def __set__(self, settings: Any, value: object) -> None:
        if value is not self and value is not None:
            settings.__dict__["_api_key"] = Secret(validate_key(revealed(value) if isinstance(value, str) else value))

    def __repr__(self) -> str:
        return "None"


def _env(variable: str, default: T, parse: Callable[[str], Any] = str) -> Callable[[], T]:
    """Return a function that reads an environment variable, for when the settings are created."""
    setting = variable.removeprefix("VALENCE_").removeprefix("API_").lower()

    def read() -> T:
        text = os.environ.get(variable, "").strip()
        if not text:
            return default
        try:
            return cast("T", _VALIDATORS[setting](parse(text)))
        except SettingsError as error:
            raise _invalid_environment(variable, f"is invalid: {error.headline}", setting) from None
        except ValueError:
            kind = "whole number" if parse is int else "number"
            raise _invalid_environment(variable, f"is {text!r}, which is not a {kind}.", setting) from None

    return read


def _invalid_environment(variable: str, problem: str, setting: str) -> SettingsError:
    return SettingsError(
        f"The environment variable {variable} {problem}",
        code="invalid_environment",
        setting=setting,
        remedy="Change or unset it.",
    )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How items are annotated, and with which account.

    Settings are immutable and can be pickled; their repr, hash and pickle do not contain the key.
    A missing value is read from the environment variable in brackets, else the default is used.

    Parameters
    ----------
    api_key : str, optional
        The account's key [``VALENCE_API_KEY``, read at each call]. The attribute is shown as ``***`` everywhere and
        equals the key; `require_key` returns it.
    base_url : str, default="https://api.getvalenceai.com"
        Address of the service [``VALENCE_API_BASE_URL``]. ``http://`` is accepted for this machine only. The attribute
        has one spelling for each address: lower case, no default port, no slash at the end.
    discrete_path : str, default="/emotionprediction"
        Path of the DiscreteAPI: the quickstart's, or the SDK's ``/v1/discrete/emotion`` [``VALENCE_DISCRETE_PATH``].
    model : str, default="4emotions"
        ``"4emotions"``, ``"7emotions"`` or the name of a custom model [``VALENCE_MODEL``].
    emotions : sequence of str, optional
        Emotions, one column each; required only for a custom model [``VALENCE_EMOTIONS``, comma-separated]. For
        ``"4emotions"`` and ``"7emotions"``, at least one must be an emotion of the model.
    payload : {"multipart", "json"}, default="multipart"
        Body of a DiscreteAPI call. ``"json"`` sends 4.5 s of audio from 0.5 s on as numbers, as the quickstart does:
        about twenty times as many bytes.
    sampling_rate : int, default=16000
        Sampling rate, in Hz, of waveforms that have none; 1000 to 1000000.
    short_audio : {"pad", "repeat", "skip", "error"}, default="pad"
        What to do with items under 5.0 s [``VALENCE_SHORT_AUDIO``].
    long_audio : {"asynch", "chunk", "truncate", "skip", "error"}, default="asynch"
        What to do with items over 15 s [``VALENCE_LONG_AUDIO``]. Only ``"asynch"`` stores audio at the vendor (for 24
        hours at most).
    min_confidence : float, optional
        An emotion under this confidence becomes None; its scores are kept [``VALENCE_MIN_CONFIDENCE``].
        The vendor recommends 0.38.
    concurrency : int, optional
        Number of simultaneous calls, over all processes of this machine with the same key [``VALENCE_CONCURRENCY``];
        by default the account's own limit, else 5.
    limits : "auto", RateLimits or None, default="auto"
        Maximum number of calls that start in each second, minute, hour and day, counted over all processes of this
        machine with the same key. ``"auto"`` asks the service for the account's policy, and uses the documented
        standard policy if there is no answer. None sets no rate limit, only the concurrency cap.
    timeout : (float, float), default=(5, 30)
        Connect and read timeouts, in seconds. A whole call ends within their sum.
    max_attempts : int, default=5
        Maximum number of attempts for one call (for an item, or for one of its chunks).
    max_billed_attempts : int, default=5
        Maximum number of those attempts that may have been billed: the call was sent, and its answer was lost or was an
        error of the service [``VALENCE_MAX_BILLED_ATTEMPTS``]. With 1, such a call is never repeated.
    max_calls : int, optional
        Budget of an engine in one process: maximum number of calls [``VALENCE_MAX_CALLS``].
    max_audio_seconds : float, optional
        Budget of an engine in one process: maximum duration of the audio sent, in seconds.
    cache : bool or path, default=True
        Keep answers on this machine, so that no call is paid for twice: True for the platform's cache directory
        [``VALENCE_CACHE_DIR``], a directory, or False for no cache.

    Raises
    ------
    SettingsError
        If a value is invalid.

    Examples
    --------
    >>> from valence_integrations import Settings
    >>> Settings(model="7emotions", long_audio="chunk").columns
    ('angry', 'calm', 'disgusted', 'happy', 'neutral', 'sad', 'surprised')
    """

    api_key: str | None = field(default=cast("Any", _ApiKey()), repr=False, compare=False)
    base_url: str = field(default_factory=_env("VALENCE_API_BASE_URL", DEFAULT_BASE_URL))
    discrete_path: str = field(default_factory=_env("VALENCE_DISCRETE_PATH", "/emotionprediction"))
    model: str = field(default_factory=_env("VALENCE_MODEL", "4emotions"))
    emotions: tuple[str, ...] | None = field(
        default_factory=_env("VALENCE_EMOTIONS", None, lambda text: text.split(","))
    )
    payload: Payload = "multipart"
    sampling_rate: int = 16_000
    short_audio: ShortAudio = field(default_factory=_env("VALENCE_SHORT_AUDIO", "pad"))
    long_audio: LongAudio = field(default_factory=_env("VALENCE_LONG_AUDIO", "asynch"))
    min_confidence: float | None = field(default_factory=_env("VALENCE_MIN_CONFIDENCE", None, float))
    concurrency: int | None = field(default_factory=_env("VALENCE_CONCURRENCY", None, int))
    limits: RateLimits | Literal["auto"] | None = "auto"
    timeout: tuple[float, float] = (5.0, 30.0)
    max_attempts: int = 5
    max_billed_attempts: int = field(default_factory=_env("VALENCE_MAX_BILLED_ATTEMPTS", 5, int))
    max_calls: int | None = field(default_factory=_env("VALENCE_MAX_CALLS", None, int))
    max_audio_seconds: float | None = None
    cache: bool | str | os.PathLike[str] = True

    @classmethod
    def from_env(cls, **overrides: Any) -> Settings:
        """Create settings from the environment variables; the key is read now, not at each call.

        Parameters
        ----------
        **overrides
            Settings that take precedence over the environment.
        """
        return cls(**{"api_key": os.environ.get("VALENCE_API_KEY", "").strip() or None, **overrides})

    def __post_init__(self) -> None:
        for name, validate in _VALIDATORS.items():
            object.__setattr__(self, name, validate(getattr(self, name)))
        if self.cache is not False:
            cache_limits()
        known = EMOTIONS.get(self.model)
        if known is not None and self.emotions is not None and not set(self.emotions) & set(known):
            raise SettingsError(
                f"must have emotions of the model {self.model!r}, such as {known!r}, not only {self.emotions!r}.",
                setting="emotions",
            )

    @property
    def service(self) -> str:
        """The service behind `base_url`, the same for each of its spellings; part of cache keys and accounts."""
        return service_identity(self.base_url)

    @property
    def columns(self) -> tuple[str, ...]:
        """The emotions, in the order of their columns.

        Raises
        ------
        SettingsError
            If the model is a custom one and `emotions` is missing.
        """
        emotions = self.emotions or EMOTIONS.get(self.model)
        if emotions is None:
            raise SettingsError(
                f"The emotions of the model {self.model!r} are unknown.",
                code="emotions_unknown",
                setting="emotions",
                remedy=f'Pass emotions=("angry", ...); {" and ".join(EMOTIONS)} need none.',
            )
        return emotions

    def require_key(self) -> str:
        """Return the API key itself; `api_key` and every other view of the settings show ``***``.

        Raises
        ------
        MissingKeyError
            If there is none.
        SettingsError
            If ``VALENCE_API_KEY`` cannot be a key.
        """
        key = self.api_key
        if key is None:
            raise MissingKeyError(
                "there is no API key.",
                remedy="Set the environment variable VALENCE_API_KEY, or pass api_key=... "
                "(worker processes read only the variable, and only if it was set before they started: "
                "pickles do not contain the key). To try it without a key, use valence_integrations.sandbox.Sandbox.",
            )
        try:
            return Key(validate_key(revealed(key)))
        except SettingsError as error:
            reason = error.headline
        # Not in the except block: the variables of the first error's traceback have the key.
        raise _invalid_environment("VALENCE_API_KEY", f"is invalid: {reason}", "api_key")

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_api_key"}

    def __copy__(self) -> Settings:
        return self

    def __deepcopy__(self, memo: object) -> Settings:
        return self


def given_key(settings: Settings) -> str | None:
    """Return the key passed to the settings, as a `Secret`; None if they read ``VALENCE_API_KEY`` at each call."""
    return settings.__dict__.get("_api_key") or None


def changed_settings(settings: Settings, **changes: Any) -> Settings:
    """Return a changed copy of the settings that keeps the source of the key.

    ``dataclasses.replace`` would turn the current value of ``VALENCE_API_KEY`` into a fixed key.
    """
    return dataclasses.replace(settings, **{"api_key": given_key(settings), **changes})


RateLimits.__module__ = __name__
