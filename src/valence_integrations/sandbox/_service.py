"""State and helpers shared by the routes: settings, key check, policy and faults."""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi.responses import JSONResponse

from ._errors import ApiError
from ._faults import WIRE_FAULTS, Faults
from ._wire import faulty_response

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from concurrent.futures import Executor

    from fastapi import Request, Response

    from ._journal import Journal, RequestRecord
    from ._policy import Meter, Policy

T = TypeVar("T")


@dataclass
class Service:
    """The state of one running sandbox. Except for the journal, only the server's event loop may use it."""

    api_key: str
    faults: Faults
    latency: tuple[float, float]
    answers: str
    timeline: str
    asynch_pickup: float
    asynch_seconds_per_minute: float
    storage_url: str
    policy: Policy | None
    meter: Meter
    journal: Journal
    pool: Executor
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def check_key(self, request: Request) -> None:
        """Refuse a missing or wrong key with a 401."""
        key = request.headers.get("x-api-key")
        if key is None:
            raise ApiError(401, "UNAUTHORIZED", "API key is missing: send it in the x-api-key header")
        if not secrets.compare_digest(key.encode(), self.api_key.encode()):
            raise ApiError(401, "UNAUTHORIZED", "API key is not valid")

    def admit(self, request: Request) -> None:
        """Count the request under the policy until it is answered, or refuse it with a 429."""
        self.meter.admit(record_of(request).time, content_length(request))
        request.state.closing.callback(self.meter.release)

    def next_number(self) -> int:
        """Return the number of the next request that may get a fault."""
        return next(self._numbers)

    async def compute(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a function in the pool."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, function, *arguments)

    async def deliver(
        self, number: int, request: Request, answer: Callable[[], Awaitable[Response]], due: float = 0.0
    ) -> Response:
        """Send the answer or the fault of this number, not before `due`, a time of ``time.perf_counter()``."""
        kind = self.faults.kind(number)
        if kind == "ok":
            try:
                response = await answer()
            except ApiError:
                await _sleep_until(due)
                raise
            await _sleep_until(due)
            return response
        record_of(request).fault = kind
        await _sleep_until(due)
        if kind in WIRE_FAULTS:
            return await faulty_response(kind, answer, self.faults.slow_seconds, self.storage_url)
        status = int(kind)
        retry_after = self.faults.retry_after if status in {429, 503} else None
        raise ApiError(
            status, _code(status), f"{_code(status)}: a fault that the sandbox was asked for", retry_after=retry_after
        )

    async def deliver_asynch(self, request: Request, answer: Callable[[], Awaitable[Response]]) -> Response:
        """Answer a call of the AsynchAPI, which gets faults only if ``Faults.asynch`` is set."""
        if self.faults.asynch:
            return await self.deliver(self.next_number(), request, answer)
        return await answer()


async def _sleep_until(due: float) -> None:
    await asyncio.sleep(max(due - time.perf_counter(), 0.0))


def record_of(request: Request) -> RequestRecord:
    """Return the journal's record of a request."""
    record: RequestRecord = request.state.record
    return record


def content_length(request: Request) -> int:
    """Return the Content-Length of the body in bytes, 0 if unknown."""
    return int(request.headers.get("content-length", 0))


def json_answer(content: object) -> Response:
    """Return a 200 with JSON."""
    return JSONResponse(content)


def parse_json(body: bytes) -> Any:
    """Parse a JSON body, or refuse it with a 400."""
    try:
        return json.loads(body)
    except ValueError:
        raise ApiError(400, "INVALID_REQUEST", "The body is not valid JSON") from None


def _code(status: int) -> str:
    try:
        return HTTPStatus(status).name
    except ValueError:
        return f"HTTP_{status}"
