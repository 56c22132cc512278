"""The vendor's SDK, made safe to use in a library.

``valenceai`` configures the root logger when it is imported, calls without a timeout, opens a connection for each call,
sends the key to redirects, trusts every answer, and treats every failed poll as "not ready". Its upload is the vendor's
only supported way to the AsynchAPI, so its code runs unchanged, in a private copy of its modules whose ``requests`` is
this library's `Transport`, which also checks the answers to the start of an upload and to polls. The ``valenceai`` that
a user imports is not modified.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import requests

from valence_integrations._service.answer import Answer
from valence_integrations._service.asynch_answers import check_completed, check_initiated, check_state
from valence_integrations._service.transport import Transport

__all__ = ["SdkProgress", "sdk_client"]

#: Paths of the SDK's calls whose answers are checked.
_STATUS = "/v1/asynch/emotion/status/"
_INITIATE, _COMPLETE = "/v1/asynch/emotion/upload/initiate", "/v1/asynch/emotion/upload/complete"


class SdkProgress(threading.local):
    """What the SDK does not tell its caller, in the thread of the call.

    Attributes
    ----------
    begun : callable
        Called with the request id of an upload before any audio is sent.
    state : str
        The state in the last answer to a poll.
    """

    def __init__(self) -> None:
        self.begun: Callable[[str], object] = str
        self.state = ""


class _Requests:
    """Replaces ``requests`` in the SDK's modules."""

    exceptions = requests.exceptions

    def __init__(self, transport: Transport, progress: SdkProgress) -> None:
        self._transport = transport
        self._progress = progress

    def get(self, url: str, **kwargs: Any) -> Answer:
        answer = self._transport.send("GET", url, **kwargs)
        if _STATUS in url:
            self._progress.state = check_state(answer, url.rpartition("/")[2])
        return answer

    def post(self, url: str, **kwargs: Any) -> Answer:
        answer = self._transport.send("POST", url, **kwargs)
        if url.endswith(_INITIATE):
            request_id, parts = check_initiated(answer, kwargs["params"]["part_count"])
            for part in parts:
                self._transport.check_url(part)
            self._progress.begun(request_id)
        elif url.endswith(_COMPLETE):
            check_completed(answer)
        return answer

    def put(self, url: str, **kwargs: Any) -> Answer:
        return self._transport.send("PUT", url, **kwargs)


def sdk_client(transport: Transport, api_key: str, base_url: str, progress: SdkProgress) -> Any:
    """Create a ``valenceai.ValenceClient`` that sends through `transport`, and note its progress."""
    with _root_logger_untouched():
        importlib.import_module("valenceai")
        rate_limit, client = _private_copy("valenceai.rate_limit"), _private_copy("valenceai.client")
    rate_limit.requests = client.requests = _Requests(transport, progress)  # type: ignore[attr-defined]
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
