"""``valence doctor``: whether all is well, and if not, what to do."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from valence_integrations import __version__, errors
from valence_integrations._format import size
from valence_integrations._service.probe import health, rate_limit_status
from valence_integrations._service.transport import Transport
from valence_integrations._store.cache import ResultCache, state_directory
from valence_integrations.cli.advice import described
from valence_integrations.cli.terminal import ExitCode, one_line
from valence_integrations.settings import Settings

__all__ = ["doctor"]

#: What each extra is for, and the package that tells whether it is installed.
_PARTS = {
    "datasets": ("datasets", "Hugging Face datasets, Parquet"),
    "transformers": ("transformers", "beside ValenceEmotionPipeline"),
    "sandbox": ("fastapi", "--sandbox"),
    "report": ("matplotlib", "plots, DataFrames"),
    "av": ("av", "M4A, MP4, WebM"),
}


class Finding(NamedTuple):
    """One thing that was looked at."""

    what: str
    found: str
    code: ExitCode = ExitCode.DONE


def doctor(*, base_url: str | None) -> ExitCode:
    """Print what is found, as it is found; the exit code is that of the worst."""
    settings = Settings() if base_url is None else Settings(base_url=base_url)
    worst = ExitCode.DONE
    for what, found, code in _findings(settings):
        mark = "  " if not what else "ok" if code is ExitCode.DONE else "!!"
        sys.stdout.write(f"{mark}  {what:<9}{one_line(found)}\n")
        sys.stdout.flush()
        worst = worst or code
    for extra, (package, purpose) in _PARTS.items():
        sys.stdout.write(f"{'ok' if _version(package) else '--'}  {extra:<13}{_part(extra, package, purpose)}\n")
    return worst


def _findings(settings: Settings) -> Iterator[Finding]:
    yield Finding("version", f"valence-integrations {__version__}, Python {platform.python_version()}")
    key = settings.api_key
    yield _key(key)
    transport = Transport(settings, 1)
    try:
        yield _service(transport, settings.base_url)
        if key:
            yield from _account(transport, settings.base_url, key)
    finally:
        transport.close()
    yield _cache(settings)


def _key(key: str | None) -> Finding:
    if key:
        return Finding("key", "found in the environment variable VALENCE_API_KEY")
    return Finding(
        "key", "not found. Set the environment variable VALENCE_API_KEY, or use --sandbox.", ExitCode.WRONG_USE
    )


def _service(transport: Transport, base_url: str) -> Finding:
    begun = time.monotonic()
    try:
        state = health(transport, base_url)
    except errors.ValenceError as error:
        return Finding("service", f"{base_url}: {described(error)}", ExitCode.STOPPED)
    milliseconds = 1_000 * (time.monotonic() - begun)
    code = ExitCode.DONE if state == "healthy" else ExitCode.STOPPED
    return Finding("service", f"{base_url} is {state or 'there'} ({milliseconds:.0f} ms)", code)


def _account(transport: Transport, base_url: str, key: str) -> Iterator[Finding]:
    try:
        status = rate_limit_status(transport, base_url, key)
        limits, usage = dict(status["limits"]), dict(status.get("current_usage") or {})
    except (errors.InvalidResponseError, TypeError, ValueError, KeyError):
        yield Finding("account", "the service does not tell its limits; the documented ones are kept to")
    except errors.AuthenticationError as error:
        yield Finding("account", described(error), ExitCode.WRONG_USE)
    except errors.ValenceError as error:
        yield Finding("account", described(error), ExitCode.STOPPED)
    else:
        yield Finding("account", f"policy {status.get('policy_name', 'without a name')}; the key is accepted")
        for name, limit in limits.items():
            used = f", {usage[name]:,} used" if isinstance(usage.get(name), int) else ""
            yield Finding("", f"  {name.replace('_', ' ')}: {_amount(limit)}{used}")


def _cache(settings: Settings) -> Finding:
    directory = state_directory(settings)
    cache = ResultCache(directory)
    about = cache.info()
    cache.close()
    if about["path"] is None:
        return Finding("cache", f"{directory} cannot be written. Set VALENCE_CACHE_DIR.", ExitCode.WRONG_USE)
    return Finding("cache", f"{directory}: {about['answers']:,} answers, {size(about['bytes'])}")


def _part(extra: str, package: str, purpose: str) -> str:
    version = _version(package)
    if version:
        return f"{package} {version}"
    return f'not installed ({purpose}): pip install "valence-integrations[{extra}]"'


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _amount(limit: Any) -> str:
    return f"{limit:,}" if isinstance(limit, (int, float)) else str(limit)
