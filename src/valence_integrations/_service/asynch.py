"""The AsynchAPI: upload long items with the vendor's SDK, and poll all jobs from one thread."""

from __future__ import annotations

import heapq
import itertools
import math
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from valence_integrations import errors
from valence_integrations._audio.clip import Clip
from valence_integrations._limits.ledger import MAX_HOLD_SECONDS
from valence_integrations._service.answers import read_timeline
from valence_integrations._service.sdk import sdk_client
from valence_integrations._service.transport import Transport
from valence_integrations.settings import Settings

__all__ = ["KEPT_SECONDS", "AsynchClient", "Poller", "deadline_seconds", "temporary_wav"]

#: Seconds from the upload to the first poll, the backoff factor, and the longest wait between polls.
FIRST_POLL, BACKOFF, LONGEST_WAIT = 1.0, 1.5, 5.0

#: The service looks for new uploads every ~10 s, then takes 1 to 5 s for each minute of audio [SDK readme].
#: The timeout is twelve times the former plus four times the maximum of the latter.
DEADLINE_BASE, DEADLINE_PER_MINUTE = 120.0, 20.0

#: Refusals in a row, of whatever kind, after which a job is no longer polled.
_MAX_REFUSALS = 3

_CHECK = "Check base_url; if it is correct, report this."

#: The service deletes results after 24 hours [quickstart].
KEPT_SECONDS = 24 * 3600.0


def deadline_seconds(duration: float) -> float:
    """Timeout in seconds for the job of an item of `duration` seconds."""
    return DEADLINE_BASE + DEADLINE_PER_MINUTE * duration / 60


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
        self._current = _Current()

    def _sdk(self) -> Any:
        """Return the SDK's client; ``valenceai`` must not be imported before the first call."""
        key = self._settings.require_key()
        if key not in self._clients:
            self._clients[key] = sdk_client(self._transport, key, self._settings.base_url, self._on_answer)
        return self._clients[key].asynch

    def upload(self, wav: Path, begun: Callable[[str], None] | None = None) -> str:
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

        self._current.begun = begun
        try:
            return str(sdk.upload(str(wav)))
        except FileSizeLimitExceededError as error:
            raise errors.FileTooLargeError(
                f"{error}.",
                remedy='Use long_audio="chunk", or cut it.',
                max_size_mb=error.max_size_mb,
                actual_size_mb=error.actual_size_mb,
            ) from None
        except UploadError as error:
            (cause,) = error.args or (error,)
            if isinstance(cause, errors.ValenceError):
                raise cause from None
            raise errors.NetworkError(
                f"part of the upload failed: {cause!r}.", remedy="Check the network, and run again."
            ) from None
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise errors.InvalidResponseError(
                f"cannot parse the answer to the upload: {error!r}.", remedy=_CHECK
            ) from None
        except RuntimeError as error:  # the SDK sends the parts from threads of its own
            raise _no_threads(error) from None
        finally:
            self._current.begun = None

    def is_complete(self, request_id: str) -> bool:
        """Return whether an upload that was begun is complete: the service processes it, or has done so.

        Raises
        ------
        ValenceError
            If the service repeatedly does not say.
        """
        for refusals in itertools.count(1):
            try:
                return self.poll(request_id) is not None or _state(self._current.response) != "initiated"
            except errors.AsynchFailedError:
                return False
            except errors.ItemError as error:
                if refusals == _MAX_REFUSALS:
                    if _is_unknown(error):
                        return False
                    raise
                time.sleep(FIRST_POLL)
        raise AssertionError("unreachable")

    def poll(self, request_id: str) -> dict[str, Any] | None:
        """Poll a job once; return its result, or None if it is not ready.

        Raises
        ------
        AsynchFailedError
            If the service says that the job failed.
        InvalidResponseError
            If the result cannot be read.
        ValenceError
            See `Transport.send`.
        """
        sdk = self._sdk()
        from valenceai import PredictionError

        try:
            result = sdk.emotions(request_id, max_attempts=1, interval_seconds=0)
        except PredictionError as error:
            # The SDK raises the same type for "failed" and "not ready"; only the text differs.
            if "failed during processing" not in str(error):
                return None
            raise errors.AsynchFailedError(
                f"the service could not process it (request {request_id}).",
                remedy='Check the audio, or try long_audio="chunk".',
                request_id=request_id,
            ) from None
        except (AttributeError, TypeError, ValueError, RecursionError) as error:
            raise errors.InvalidResponseError(
                f"cannot parse the status of the job: {error!r}.", remedy=_CHECK
            ) from None
        read_timeline(result, math.inf)
        return dict(result)

    def _on_answer(self, response: requests.Response) -> None:
        self._current.response = response
        if self._current.begun is not None:
            request_id = _json_object(response).get("request_id")
            if isinstance(request_id, str):
                self._current.begun(request_id)
                self._current.begun = None
        # The SDK does not read the answer to the last step, which a proxy or a captive portal may have sent.
        if response.request.method == "POST" and response.content.lstrip().startswith(b"<"):
            raise errors.InvalidResponseError("the answer to the upload is a web page.", remedy=_CHECK)


class _Current(threading.local):
    """What a thread does with the SDK, which tells neither the request id of an unfinished upload nor its state."""

    begun: Callable[[str], None] | None = None
    response: requests.Response | None = None


def _state(response: requests.Response | None) -> object:
    return None if response is None else _json_object(response).get("status")


def _json_object(response: requests.Response) -> Mapping[str, Any]:
    try:
        answer = response.json()
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


@contextmanager
def temporary_wav(clip: Clip) -> Iterator[Path]:
    """Write a clip to a temporary WAV file with a neutral name, which is always deleted afterwards."""
    with tempfile.TemporaryDirectory(prefix="valence-") as directory:
        path = Path(directory) / "audio.wav"
        clip.save(path)
        yield path


@dataclass(order=True)
class Pending:
    """A pending job."""

    due: float
    number: int
    request_id: str = field(compare=False)
    deadline: float = field(compare=False)
    wait: float = field(compare=False)
    stopped: Callable[[], bool] = field(compare=False)
    refusals: int = field(default=0, compare=False)
    future: Future[dict[str, Any]] = field(default_factory=Future, compare=False)


class Poller:
    """Polls all pending jobs from one thread, which ends with the last job.

    Parameters
    ----------
    poll : callable
        Polls one job; returns its result, or None if it is not ready.
    clock : callable, optional
        Monotonic clock in seconds.
    """

    def __init__(
        self, poll: Callable[[str], dict[str, Any] | None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._poll = poll
        self._clock = clock
        self._numbers = itertools.count()
        self._pending: list[Pending] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(
        self, request_id: str, duration: float, stopped: Callable[[], bool] = lambda: False
    ) -> Future[dict[str, Any]]:
        """Add a job; the future gets its result, or an exception.

        Parameters
        ----------
        request_id : str
            As returned by the upload.
        duration : float
            Length of the audio in seconds, for the deadline.
        stopped : callable
            Whether the job is no longer needed.
        """
        job = self.pending(request_id, duration, stopped)
        with self._changed:
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="valence-poller", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:
                    raise _no_threads(error) from None
                self._thread = thread
            heapq.heappush(self._pending, job)
            self._changed.notify()
        return job.future

    def close(self) -> None:
        """Look at all jobs now, so that those which are stopped end, and the thread with the last one."""
        with self._changed:
            for job in self._pending:
                job.due = 0.0
            self._changed.notify()

    def join(self, seconds: float) -> None:
        """Wait until the thread has ended, at most some seconds."""
        thread = self._thread
        if thread is not None:
            thread.join(seconds)

    def pending(self, request_id: str, duration: float, stopped: Callable[[], bool]) -> Pending:
        """Create a job and schedule its first poll."""
        now = self._clock()
        deadline = now + deadline_seconds(duration)
        return Pending(now + FIRST_POLL, next(self._numbers), request_id, deadline, FIRST_POLL, stopped)

    def step(self, job: Pending) -> bool:
        """Poll one due job; return whether to poll it again."""
        if job.stopped():
            job.future.cancel()
            return False
        last_error: errors.ValenceError | None = None
        result: dict[str, Any] | None = None
        try:
            result = self._poll(job.request_id)
            job.refusals = 0
        except (errors.NetworkError, errors.ReadTimeoutError, errors.ServerError) as error:
            last_error = error
        except errors.RateLimitError as error:
            last_error = error
            job.wait = min(max(job.wait, error.retry_after or 0.0), MAX_HOLD_SECONDS)
        except errors.AsynchFailedError as error:
            job.future.set_exception(error)
            return False
        except errors.ValenceError as error:
            last_error = error
            job.refusals += 1
            if job.refusals >= _MAX_REFUSALS:
                job.future.set_exception(_expired(job, error) if _is_unknown(error) else error)
                return False
        except BaseException as error:
            job.future.set_exception(error)
            return False
        if result is not None:
            job.future.set_result(result)
            return False
        now = self._clock()
        if now >= job.deadline:
            job.future.set_exception(_timed_out(job, last_error))
            return False
        job.due = min(now + job.wait, job.deadline)
        job.wait = min(job.wait * BACKOFF, LONGEST_WAIT)
        return True

    def _work(self) -> None:
        while True:
            with self._changed:
                while self._pending and (wait := self._pending[0].due - self._clock()) > 0:
                    self._changed.wait(wait)
                if not self._pending:
                    self._thread = None
                    return
                job = heapq.heappop(self._pending)
            if self.step(job):
                with self._changed:
                    heapq.heappush(self._pending, job)


def _is_unknown(error: errors.ValenceError) -> bool:
    return isinstance(error, errors.CallError) and error.status_code == 404


def _no_threads(error: RuntimeError) -> errors.JobError:
    return errors.JobError(
        f"no thread can be started for an upload: {error}.",
        code="no_threads",
        remedy="Close other programs, or raise the limit of processes, and run again: what is uploaded is not "
        "uploaded again.",
    )


def _expired(job: Pending, error: errors.ValenceError) -> errors.AsynchExpiredError:
    return errors.AsynchExpiredError(
        f"the service does not know the request {job.request_id} ({error.headline.rstrip('.')}). It keeps results for "
        "24 hours at most.",
        remedy="Send the item again.",
        request_id=job.request_id,
    )


def _timed_out(job: Pending, last_error: errors.ValenceError | None) -> errors.AsynchTimeoutError:
    last = f"; the last poll failed: {last_error.headline.rstrip('.')}" if last_error else ""
    return errors.AsynchTimeoutError(
        f"the job (request {job.request_id}) was not finished in time{last}.",
        remedy="Run again within 24 hours: with a cache, the same job is then polled again, and nothing is uploaded.",
        request_id=job.request_id,
    )
