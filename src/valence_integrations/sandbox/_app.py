"""The ASGI app of the sandbox: the two APIs, the rate-limit endpoints, and JSON errors."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from ._asynch import asynch_routes
from ._discrete import discrete_routes
from ._errors import ApiError
from ._journal import Recorder

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from ._service import Service


def build_app(service: Service) -> ASGIApp:
    """Build the app of one sandbox."""
    app = FastAPI(title="Valence sandbox", openapi_url=None)
    app.include_router(discrete_routes(service))
    app.include_router(asynch_routes(service))

    @app.get("/v1/rate-limit/status")
    async def status(request: Request) -> dict[str, object]:
        service.check_key(request)
        return service.meter.status(time.monotonic())

    @app.get("/v1/rate-limit/health")
    async def health() -> dict[str, object]:
        return {"status": "healthy", "timestamp": int(time.time())}

    @app.exception_handler(ApiError)
    async def api_error(_: Request, error: ApiError) -> Response:
        return JSONResponse(error.body, error.status, error.headers)

    @app.exception_handler(RequestValidationError)
    async def validation_error(_: Request, error: RequestValidationError) -> Response:
        names = ", ".join(str(problem["loc"][-1]) for problem in error.errors())
        return JSONResponse({"error": f"Missing or invalid: {names}", "error_code": "INVALID_REQUEST"}, 400)

    @app.exception_handler(HTTPException)
    async def http_error(_: Request, error: HTTPException) -> Response:
        code = "INVALID_REQUEST" if error.status_code == 400 else "NOT_FOUND"
        return JSONResponse({"error": error.detail, "error_code": code}, error.status_code, error.headers)

    return Recorder(app, service.journal)
