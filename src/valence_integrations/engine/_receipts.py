"""Upload receipts: request ids of uploads whose result is not stored yet, so that no upload is repeated."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from valence_integrations._cluster.client import ClusterCache
from valence_integrations._service.asynch import KEPT_SECONDS
from valence_integrations._store.cache import ResultCache, cache_key
from valence_integrations.settings import Settings

__all__ = ["Receipt", "UploadReceipts"]


class Receipt(NamedTuple):
    """Request id of an upload, and whether the service confirmed that the upload is complete."""

    request_id: str
    complete: bool


class UploadReceipts:
    """Receipts in the cache, by the digest of the uploaded WAV file.

    Parameters
    ----------
    cache : ResultCache or ClusterCache
        Store of the receipts.
    settings : Settings
        Settings that identify the service.
    clock : callable, optional
        Returns seconds since the epoch.

    Examples
    --------
    >>> from valence_integrations import Settings
    >>> from valence_integrations._store.cache import ResultCache
    >>> from valence_integrations.engine._receipts import UploadReceipts
    >>> receipts = UploadReceipts(ResultCache(None), Settings(api_key="key"))
    >>> receipts.put("digest", "request-1", complete=True)
    >>> receipts.find("digest")
    Receipt(request_id='request-1', complete=True)
    """

    def __init__(
        self, cache: ResultCache | ClusterCache, settings: Settings, clock: Callable[[], float] = time.time
    ) -> None:
        self._cache = cache
        self._settings = settings
        self._clock = clock

    def find(self, digest: str) -> Receipt | None:
        """Return the receipt of an upload whose result the service still has; results expire after 24 hours."""
        receipt = self._cache.get(self._key(digest))
        if receipt is None or self._clock() - receipt["time"] > KEPT_SECONDS:
            return None
        return Receipt(receipt["request_id"], receipt["complete"])

    def put(self, digest: str, request_id: str, *, complete: bool) -> None:
        """Store the receipt of an upload: when it has begun, and when it is complete."""
        self._cache.put(self._key(digest), {"request_id": request_id, "complete": complete, "time": self._clock()})

    def forget(self, digest: str) -> None:
        """Remove a receipt."""
        self._cache.remove(self._key(digest))

    def _key(self, digest: str) -> str:
        return cache_key(self._settings, "upload", digest)
