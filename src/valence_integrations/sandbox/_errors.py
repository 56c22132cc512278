"""The exception for error responses; the app turns it into the service's JSON error."""

from __future__ import annotations


class ApiError(Exception):
    """An HTTP error response: status, `error`, `error_code` and further fields."""

    def __init__(
        self, status: int, code: str, message: str, *, retry_after: int | None = None, **fields: float | int | str
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        self.body: dict[str, float | int | str] = {"error": message, "error_code": code, **fields}
