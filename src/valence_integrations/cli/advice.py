"""Error messages for the command line: the library's message, with a remedy in terms of options."""

from __future__ import annotations

from valence_integrations.errors import ItemError, SettingsError, ValenceError

__all__ = ["error_text", "remedy_text"]

#: Option or environment variable of each setting; a setting that has neither keeps its name.
_OPTIONS = {
    "api_key": "VALENCE_API_KEY",
    "audio_column": "--audio-column",
    "base_url": "--base-url",
    "cache": "VALENCE_CACHE_DIR",
    "concurrency": "--concurrency",
    "discrete_path": "VALENCE_DISCRETE_PATH",
    "emotions": "--emotions",
    "long_audio": "--long",
    "max_calls": "--max-calls",
    "min_confidence": "--min-confidence",
    "model": "--model",
    "on_error": "--on-error",
    "short_audio": "--short",
}

#: Replacements for the library's remedies in terms of Python, by code; ``{option}`` is that of the error's setting.
_REMEDIES = {
    "asynch_failed": "Check the audio, or try --long chunk.",
    "audio_too_long": "Use --long asynch, chunk, truncate or skip, or cut it.",
    "audio_too_short": "Use --short pad, repeat or skip, or drop it.",
    "authentication_failed": "Check VALENCE_API_KEY.",
    "budget_exceeded": "Finished items are kept; raise {option} and run again to continue.",
    "emotions_unknown": "Name them: --emotions angry,happy,...",
    "endpoint_not_found": "Check --base-url and VALENCE_DISCRETE_PATH.",
    "file_too_large": "Use --long chunk, or cut it.",
    "invalid_response": "Check --base-url and --model; if they are right, report this.",
    "invalid_setting": "",
    "item_invalid": "",
    "missing_key": "Set VALENCE_API_KEY, or use --sandbox, which needs none.",
    "network_unreachable": "Check the network and --base-url.",
    "rate_limited": "Lower --concurrency, or wait for the quota.",
    "read_timeout": "Run again later.",
    "redirected": "If the service has moved, pass its new address: --base-url.",
    "waveform_invalid": "",
}


def error_text(error: ValenceError) -> str:
    """Return the message of an error, with its remedy."""
    return " ".join(filter(None, (_headline(error), remedy_text(error))))


def remedy_text(error: ValenceError) -> str:
    """Return the remedy in terms of options; empty if the library has no remedy."""
    remedy = _REMEDIES.get(error.code, error.remedy) if error.remedy else ""
    return remedy.replace("{option}", _option(error.setting))


def _headline(error: ValenceError) -> str:
    if isinstance(error, SettingsError) and error.headline != error.message:
        return f"{_option(error.setting)} {error.message}"
    if isinstance(error, ItemError):
        return error.headline
    return error.message


def _option(setting: str | None) -> str:
    return _OPTIONS.get(setting or "", setting or "")
