"""The AsynchAPI: upload long items, and ask for their results, with the vendor's SDK."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from valence_integrations import errors
from valence_integrations._audio.clip import Clip
from valence_integrations._service import poller
from valence_integrations._service.answers import read_timeline
from valence_integrations._service.poller import MAX_REFUSALS, no_threads
from valence_integrations._service.sdk import SdkProgress, sdk_client
from valence_integrations._service.transport import Transport
from valence_integrations.settings import Settings

__all__ = ["KEPT_SECONDS", "AsynchClient", "temporary_wav"]

_CHECK = "Check base_url; if it is correct, report this."

#: The service deletes results after 24 hours [quickstart].
KEPT_SECONDS = 24 * 3600.0


class AsynchClient:
    """Calls the AsynchAPI through the vendor's SDK.

    Parameters
    ----------
    settings : Settings
        Address of the service, and the key.
    transport : Transport
        Sends the requests.
    """

    def __init__(self, settings: Settings, transport: Transport) -> None:
        self._settings = settings
        self._transport = transport
        self._clients: dict[str, Any] = {}
        self._progress = SdkProgress()

    def _sdk(self) -> Any:
        """Return the SDK's client; ``valenceai`` must not be imported before the first call."""
        key = self._settings.require_key()
        if key not in self._clients:
            self._clients[key] = sdk_client(self._transport, key, self._settings.base_url, self._progress)
        return self._clients[key].asynch

    def upload(self, wav: Path, begun: Callable[[str], object] = str) -> str:
        """Upload a WAV file without retries; return its request id.

        Parameters
        ----------
        wav : Path
            The file.
        begun : callable, optional
            Called with the request id as soon as the service has said it, before any audio is sent.

        Raises
        ------
        ValenceError
            See `Transport.send`; `FileTooLargeError` also if the account's policy does not allow the file.
        """
        sdk = self._sdk()
        from valenceai import FileSizeLimitExceededError, UploadError

        failure: errors.ValenceError
        self._progress.begun = begun
        try:
            return str(sdk.upload(str(wav)))
        except errors.ValenceError as error:
            failure = error
        except FileSizeLimitExceededError as error:
            failure = errors.FileTooLargeError(
                f"{error}"[:300] + ".",
                remedy='Use long_audio="chunk", or cut it.',
                max_size_mb=error.max_size_mb,
                actual_size_mb=error.actual_size_mb,
            )
        except UploadError as error:
            (cause,) = error.args or (error,)
            failure = cause if isinstance(cause, errors.ValenceError) else _unexpected(cause)
        except RuntimeError as error:  # the SDK sends the parts from threads of its own
            failure = no_threads(error)
        except Exception as error:
            failure = _unexpected(error)
        raise failure.with_traceback(None)

    def is_complete(self, request_id: str) -> bool:
        """Return whether an upload that was begun is complete: the service processes it, or has done so.

        Raises
        ------
        ValenceError
            If the service repeatedly does not say.
        """
        refusals: list[errors.ValenceError] = []
        while len(refusals) < MAX_REFUSALS:
            if refusals:
                time.sleep(poller.FIRST_POLL)
            try:
                return self.poll(request_id) is not None or self._progress.state != "initiated"
            except errors.AsynchFailedError:
                return False
            except errors.ValenceError as error:
                refusals.append(error)
        if all(error.code == "upload_unknown" for error in refusals):
            return False
        raise refusals[-1]

    def poll(self, request_id: str) -> dict[str, Any] | None:
        """Poll a job once; return its result, or None if it is not ready.

        Only `AsynchFailedError` says that the job failed. All other errors are about this poll: the job may be
        processed, or finished, and the next poll may return its result.

        Raises
        ------
        AsynchFailedError
            If the service says ``failed`` (code ``asynch_failed``).
        BadRequestError
            With the code ``upload_unknown`` if the service does not know the request: it answers 404, 410 or the error
            code ``NOT_FOUND``. With another code, or as another `ItemError`, if it refuses the poll otherwise.
        InvalidResponseError
            If the answer cannot be parsed, has an unknown status, or says ``completed`` without a readable timeline.
        ValenceError
            See `Transport.send`.
        """
        sdk = self._sdk()
        from valenceai import PredictionError

        failure: errors.ValenceError
        try:
            result = dict(sdk.emotions(request_id, max_attempts=1, interval_seconds=0))
            read_timeline(result, math.inf)
        except PredictionError:
            # The job is unfinished: all else that the SDK raises this for, `check_state` has raised before.
            return None
        except errors.AsynchFailedError as error:
            error.request_id = request_id
            failure = error
        except errors.BadRequestError as error:
            failure = _unknown(error, request_id) if _is_unknown(error) else error
        except errors.ValenceError as error:
            failure = error
        except Exception as error:
            failure = _unexpected(error)
        else:
            return result
        raise failure.with_traceback(None)


def _is_unknown(error: errors.BadRequestError) -> bool:
    return error.status_code in (404, 410) or error.error_code == "NOT_FOUND"


def _unknown(error: errors.BadRequestError, request_id: str) -> errors.BadRequestError:
    return errors.BadRequestError(
        f"the service does not know the request {request_id}: {error.message}",
        status_code=error.status_code,
        error_code=error.error_code,
        code="upload_unknown",
        remedy="Results are kept for 24 hours at most.",
    )


def _unexpected(error: BaseException) -> errors.InvalidResponseError:
    """Return the error for an exception of the SDK, which is that of reading an answer."""
    return errors.InvalidResponseError(f"the SDK cannot use the answer: {error!r}"[:300] + ".", remedy=_CHECK)


@contextmanager
def temporary_wav(clip: Clip) -> Iterator[Path]:
    """Write a clip to a temporary WAV file with a neutral name, which is always deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix="valence-") as directory:
        path = Path(directory) / "audio.wav"
        clip.save(path)
        yield path
