"""``valence doctor``: check the setup and suggest fixes."""

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
from valence_integrations.cli.advice import error_text
from valence_integrations.cli.terminal import ExitCode, one_line
from valence_integrations.settings import Settings

__all__ = ["doctor"]

#: For each extra, the package that shows whether it is installed, and the purpose.
_EXTRAS = {
    "datasets": ("datasets", "Hugging Face datasets, Parquet"),
    "transformers": ("transformers", "next to ValenceEmotionPipeline"),
    "sandbox": ("fastapi", "--sandbox"),
    "report": ("matplotlib", "plots, DataFrames"),
    "av": ("av", "M4A, MP4, WebM"),
}


class CheckResult(NamedTuple):
    """Result of one check."""

    name: str
    detail: str
    code: ExitCode = ExitCode.DONE


def doctor(*, base_url: str | None) -> ExitCode:
    """Print the result of each check, and return the exit code of the first problem."""
    settings = Settings() if base_url is None else Settings(base_url=base_url)
    worst = ExitCode.DONE
    for name, detail, code in _checks(settings):
        mark = "  " if not name else "ok" if code is ExitCode.DONE else "!!"
        sys.stdout.write(f"{mark}  {name:<9}{one_line(detail)}\n")
        sys.stdout.flush()
        worst = worst or code
    for extra, (package, purpose) in _EXTRAS.items():
        sys.stdout.write(
            f"{'ok' if _version(package) else '--'}  {extra:<13}{_extra_status(extra, package, purpose)}\n"
        )
    return worst


def _checks(settings: Settings) -> Iterator[CheckResult]:
    yield CheckResult("version", f"valence-integrations {__version__}, Python {platform.python_version()}")
    key = settings.api_key
    yield _check_key(key)
    transport = Transport(settings, 1)
    try:
        yield _check_service(transport, settings.base_url)
        if key:
            yield from _check_account(transport, settings.base_url, key)
    finally:
        transport.close()
    yield _check_cache(settings)


def _check_key(key: str | None) -> CheckResult:
    if key:
        return CheckResult("key", "found in the environment variable VALENCE_API_KEY")
    return CheckResult(
        "key", "not found. Set the environment variable VALENCE_API_KEY, or use --sandbox.", ExitCode.WRONG_USE
    )


def _check_service(transport: Transport, base_url: str) -> CheckResult:
    begun = time.monotonic()
    try:
        state = health(transport, base_url)
    except errors.ValenceError as error:
        return CheckResult("service", f"{base_url}: {error_text(error)}", ExitCode.STOPPED)
    milliseconds = 1_000 * (time.monotonic() - begun)
    code = ExitCode.DONE if state == "healthy" else ExitCode.STOPPED
    return CheckResult("service", f"{base_url} is {state or 'reachable'} ({milliseconds:.0f} ms)", code)


def _check_account(transport: Transport, base_url: str, key: str) -> Iterator[CheckResult]:
    try:
        status = rate_limit_status(transport, base_url, key)
        limits, usage = dict(status["limits"]), dict(status.get("current_usage") or {})
    except (errors.InvalidResponseError, TypeError, ValueError, KeyError):
        yield CheckResult("account", "the service does not report its limits; the documented ones apply")
    except errors.AuthenticationError as error:
        yield CheckResult("account", error_text(error), ExitCode.WRONG_USE)
    except errors.ValenceError as error:
        yield CheckResult("account", error_text(error), ExitCode.STOPPED)
    else:
        yield CheckResult("account", f"policy {status.get('policy_name', 'unnamed')}; the key is accepted")
        for name, limit in limits.items():
            used = f", {usage[name]:,} used" if isinstance(usage.get(name), int) else ""
            yield CheckResult("", f"  {name.replace('_', ' ')}: {_format_limit(limit)}{used}")


def _check_cache(settings: Settings) -> CheckResult:
    directory = state_directory(settings)
    cache = ResultCache(directory)
    about = cache.info()
    cache.close()
    if about["path"] is None:
        return CheckResult("cache", f"{directory} is not writable. Set VALENCE_CACHE_DIR.", ExitCode.WRONG_USE)
    return CheckResult("cache", f"{directory}: {about['answers']:,} answers, {size(about['bytes'])}")


def _extra_status(extra: str, package: str, purpose: str) -> str:
    version = _version(package)
    if version:
        return f"{package} {version}"
    return f'not installed ({purpose}): pip install "valence-integrations[{extra}]"'


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _format_limit(limit: Any) -> str:
    return f"{limit:,}" if isinstance(limit, (int, float)) else str(limit)
