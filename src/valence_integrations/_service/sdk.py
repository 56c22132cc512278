"""The vendor's SDK, made safe to use in a library.

``valenceai`` configures the root logger when it is imported, calls without a timeout, opens a connection for each call,
sends the key to redirects, and treats every failed poll as "not ready". Its upload is the vendor's only supported way
to the AsynchAPI, so its code runs unchanged, in a private copy of its modules whose ``requests`` is this library's
`Transport`. The ``valenceai`` that a user imports is not modified.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import requests

from valence_integrations._service.transport import Transport

__all__ = ["sdk_client"]


class _Requests:
    """Replaces ``requests`` in the SDK's modules."""

    exceptions = requests.exceptions

    def __init__(self, transport: Transport, on_answer: Callable[[requests.Response], None]) -> None:
        self._transport = transport
        self._on_answer = on_answer

    def get(self, url: str, **kwargs: Any) -> requests.Response:
        response = self._transport.send("GET", url, **kwargs)
        self._on_answer(response)
        return response

    def post(self, url: str, **kwargs: Any) -> requests.Response:
        response = self._transport.send("POST", url, **kwargs)
        self._on_answer(response)
        return response

    def put(self, url: str, **kwargs: Any) -> requests.Response:
        return self._transport.send("PUT", url, **kwargs)


def sdk_client(
    transport: Transport, api_key: str, base_url: str, on_answer: Callable[[requests.Response], None]
) -> Any:
    """Create a ``valenceai.ValenceClient`` that sends through `transport`.

    `on_answer` is called with each answer of the service, in the thread of the call, before the SDK reads it.
    """
    with _root_logger_untouched():
        importlib.import_module("valenceai")
        rate_limit, client = _private_copy("valenceai.rate_limit"), _private_copy("valenceai.client")
    rate_limit.requests = client.requests = _Requests(transport, on_answer)  # type: ignore[attr-defined]
    rate_limit.logger = client.logger = logging.getLogger("valence_integrations.sdk")  # type: ignore[attr-defined]
    client.RateLimitAPI = rate_limit.RateLimitAPI  # type: ignore[attr-defined]
    return client.ValenceClient(api_key=api_key, base_url=base_url, show_progress=False, comprehensive_output=True)


def _private_copy(name: str) -> ModuleType:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ImportError(f"{name} is missing; reinstall with: pip install 'valenceai>=1.0.5,<2'")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextmanager
def _root_logger_untouched() -> Iterator[None]:
    """Prevent ``logging.basicConfig``, which does nothing while the root logger has a handler."""
    guard = logging.NullHandler()
    root = logging.getLogger()
    root.addHandler(guard)
    try:
        yield
    finally:
        root.removeHandler(guard)
