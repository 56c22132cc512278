"""Query the service's health and the account's limits, without a prediction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from valence_integrations._service.transport import Transport
from valence_integrations.settings import Key, revealed

__all__ = ["health", "rate_limit_status"]


def health(transport: Transport, base_url: str) -> str | None:
    """Query the service's health, which needs no key; return its status, such as ``"healthy"``, if there is one.

    Raises
    ------
    ValenceError
        See `Transport.send`.
    """
    answer = _object(transport, base_url, "health", {})
    return str(answer["status"]) if answer.get("status") else None


def rate_limit_status(transport: Transport, base_url: str, api_key: str) -> Mapping[str, Any]:
    """Query the account's limits and their usage.

    Raises
    ------
    ValenceError
        See `Transport.send`.
    """
    return _object(transport, base_url, "status", {"x-api-key": Key(revealed(api_key))})


def _object(transport: Transport, base_url: str, page: str, headers: Mapping[str, str]) -> Mapping[str, Any]:
    answer = transport.send("GET", f"{base_url}/v1/rate-limit/{page}", headers=headers)
    return answer.json_object("the answer about rate limits")
