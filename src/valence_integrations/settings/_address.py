"""Addresses of the service: one spelling for each, and which of them are the same service."""

from __future__ import annotations

import ipaddress
import posixpath
import re
from functools import lru_cache
from urllib.parse import SplitResult, urlsplit, urlunsplit

from valence_integrations.errors import SettingsError

__all__ = ["DEFAULT_BASE_URL", "service_identity", "validate_path", "validate_url"]

#: Address of the service [vendor's quickstart].
DEFAULT_BASE_URL = "https://api.getvalenceai.com"

#: White space, control characters, and others that no URL contains; `urlsplit` would drop some of them.
_NOT_IN_URLS = re.compile(r"[\s\x00-\x1f\x7f\\<>\"^`{|}]")

_DEFAULT_PORTS = {"http": 80, "https": 443}

#: Names of this machine's loopback interface.
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def validate_url(url: object) -> str:
    """Return the address in its normal form: lower case, without the default port and superfluous slashes.

    Raises
    ------
    SettingsError
        If it is not the address of a service. Users and passwords in it are not shown.
    """
    if not isinstance(url, str):
        raise _invalid(f"must look like {DEFAULT_BASE_URL!r}, not {url!r}.")
    if "@" in url or "?" in url or "#" in url:
        raise _invalid("must be a URL without user, query or fragment.")
    if _NOT_IN_URLS.search(url):
        raise _invalid(f"must be a URL without spaces and other characters that URLs do not have, not {url!r}.")
    try:
        parts = urlsplit(url)
        host, port = _normal_host(parts), parts.port
    except ValueError:
        raise _invalid(f"must have a valid host and a port between 1 and 65535, not {url!r}.") from None
    if parts.scheme not in _DEFAULT_PORTS or not host:
        raise _invalid(f"must look like {DEFAULT_BASE_URL!r}, not {url!r}.")
    if port == 0:
        raise _invalid(f"must have a port between 1 and 65535, not {url!r}.")
    if parts.scheme == "http" and not _is_loopback(host):
        raise _invalid(f"must be https://: {url!r} would send the key unencrypted (http:// is for 127.0.0.1).")
    path = posixpath.normpath("/" + parts.path.strip("/")).rstrip("/")
    return urlunsplit((parts.scheme, _location(parts.scheme, host, port), path, "", ""))


@lru_cache(maxsize=64)
def service_identity(base_url: str) -> str:
    """Return the same text for each address of one service, for cache keys and accounts.

    ``localhost``, ``127.0.0.1`` and ``[::1]`` are one machine, and a dot at the end of a host name has no meaning.
    """
    parts = urlsplit(validate_url(base_url))
    host = (parts.hostname or "").rstrip(".")
    if host in _LOOPBACK:
        host = _LOOPBACK[0]
    return urlunsplit((parts.scheme, _location(parts.scheme, host, parts.port), parts.path, "", ""))


def validate_path(path: object) -> str:
    """Check the path of an API.

    Raises
    ------
    SettingsError
        If it is not a path.
    """
    if not isinstance(path, str) or not path.startswith("/"):
        raise SettingsError(f'must start with "/", not {path!r}.', setting="discrete_path")
    if "?" in path or "#" in path or _NOT_IN_URLS.search(path):
        raise SettingsError(f"must be a path without query or spaces, not {path!r}.", setting="discrete_path")
    return path


def _invalid(message: str) -> SettingsError:
    return SettingsError(message, setting="base_url")


def _normal_host(parts: SplitResult) -> str:
    """Host in lower case, or an IP address in its shortest form; ValueError if it is neither."""
    host = parts.hostname or ""
    if ":" in host:
        return str(ipaddress.ip_address(host))
    host.encode("idna")
    return host


def _location(scheme: str, host: str, port: int | None) -> str:
    host = f"[{host}]" if ":" in host else host
    return host if port in (None, _DEFAULT_PORTS[scheme]) else f"{host}:{port}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
