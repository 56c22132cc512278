"""`Sandbox`: a local stand-in for the service, as a context manager."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from ._faults import Faults
from ._journal import Journal, RequestRecord
from ._policy import Meter, Policy

if TYPE_CHECKING:
    from types import TracebackType

    from ._server import Server
    from ._service import Service

_WORKERS = 2


class Sandbox:
    """A local stand-in for the Valence API, served over real HTTP from a thread of this process.

    Its scores come from a small acoustic rule. It is **not an emotion model**, and the ``model_type`` of its answers
    says so.

    Parameters
    ----------
    latency : float or (float, float)
        Seconds from the last byte of a discrete request to its answer, or a range to draw from. This includes the
        sandbox's own processing time of a few milliseconds. Requests wait in parallel.
    faults : Faults, optional
        Faults to inject.
    policy : Policy, optional
        Rate limits to enforce with 429 and Retry-After. By default, none are enforced, and the status shows limits that
        are out of reach. With ``Policy()``, none are enforced, and the status shows no limits.
    api_key : str
        The only valid key.
    host, port : str, int
        Address to listen on; port 0 selects a free port.
    answers : {"live", "readme", "dominant", "list"}
        Shape of the discrete answers: that of the live service, or another one from the vendor's documents and tests.
    timeline : {"segments", "t"}
        Shape of the asynch answers: the current one, or the older ``{"t": "00:05", "emotion", "confidence"}``.
    asynch_pickup : float
        Seconds until the processing of a completed upload starts (the vendor: about 10).
    asynch_seconds_per_minute : float
        Processing time in seconds for a minute of audio (the vendor: 1 to 5).

    Attributes
    ----------
    url, api_key : str
        Base URL and key for a client.

    Examples
    --------
    >>> import requests
    >>> with Sandbox() as sandbox:
    ...     requests.get(sandbox.url + "/v1/rate-limit/health").json()["status"]
    'healthy'
    """

    def __init__(
        self,
        latency: float | tuple[float, float] = 0.0,
        faults: Faults | None = None,
        policy: Policy | None = None,
        api_key: str = "sandbox-key",
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        answers: Literal["live", "readme", "dominant", "list"] = "live",
        timeline: Literal["segments", "t"] = "segments",
        asynch_pickup: float = 0.2,
        asynch_seconds_per_minute: float = 0.2,
    ) -> None:
        _check_extra()
        if answers not in {"live", "readme", "dominant", "list"}:
            raise ValueError(f"answers must be 'live', 'readme', 'dominant' or 'list', not {answers!r}")
        if timeline not in {"segments", "t"}:
            raise ValueError(f"timeline must be 'segments' or 't', not {timeline!r}")
        self.api_key = api_key
        self._latency = latency if isinstance(latency, tuple) else (latency, latency)
        self._faults = faults or Faults()
        self._policy = policy
        self._host = host
        self._port = port
        self._answers = answers
        self._timeline = timeline
        self._asynch_pickup = asynch_pickup
        self._asynch_seconds_per_minute = asynch_seconds_per_minute
        self._journal = Journal()
        self._server: Server | None = None
        self._service: Service | None = None

    def start(self) -> Sandbox:
        """Start serving with an empty record; return once connections are accepted."""
        from ._acoustics import warm_up
        from ._app import build_app
        from ._server import Server
        from ._service import Service

        if self._server is not None:
            raise RuntimeError("the sandbox is running already")
        server = Server(self._host, self._port)
        self._journal = Journal()
        self._pool = ThreadPoolExecutor(_WORKERS, thread_name_prefix="valence-sandbox")
        service = self._service = Service(
            api_key=self.api_key,
            faults=self._faults,
            latency=self._latency,
            answers=self._answers,
            timeline=self._timeline,
            asynch_pickup=self._asynch_pickup,
            asynch_seconds_per_minute=self._asynch_seconds_per_minute,
            storage_url=_url(_storage_host(self._host), server.port),
            policy=self._policy,
            meter=Meter(self._policy),
            journal=self._journal,
            pool=self._pool,
        )
        server.start(build_app(service), self._journal)
        self._server = server
        self._pool.submit(warm_up)
        return self

    def stop(self) -> None:
        """Close every connection and stop. The record remains readable."""
        if self._server is not None:
            self._server.stop()
            self._server = None
            self._pool.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> Sandbox:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"Sandbox({self.url!r})" if self._server is not None else "Sandbox(stopped)"

    @property
    def url(self) -> str:
        """The base URL, without a trailing slash."""
        if self._server is None:
            raise RuntimeError("the sandbox is not running: enter it with 'with', or call start()")
        return _url(self._host, self._server.port)

    @property
    def calls(self) -> int:
        """Number of discrete predictions received, whatever the answer."""
        return self._journal.counters().calls

    @property
    def answered(self) -> int:
        """Number of discrete predictions for which emotions were computed."""
        return self._journal.counters().answered

    @property
    def uploads(self) -> int:
        """Number of uploads initiated."""
        return self._journal.counters().uploads

    @property
    def polls(self) -> int:
        """Number of requests for the status of an upload."""
        return self._journal.counters().polls

    @property
    def connections(self) -> int:
        """Number of TCP connections accepted."""
        return self._journal.counters().connections

    @property
    def bytes_received(self) -> int:
        """Number of bytes received, including headers."""
        return self._journal.counters().bytes_received

    @property
    def max_in_flight(self) -> int:
        """Maximum number of discrete predictions received and not yet answered at one time."""
        return self._journal.counters().max_in_flight

    @property
    def key_leaks(self) -> int:
        """Number of requests that sent an API key to the storage or to the target of a redirect."""
        return self._journal.counters().key_leaks

    @property
    def requests(self) -> list[RequestRecord]:
        """The last 10 000 requests of any kind, oldest first."""
        return self._journal.requests()

    def change_policy(self, policy: Policy | None) -> None:
        """Enforce another policy from now on; requests admitted before count under it too."""
        self._policy = policy
        if self._service is not None:
            self._service.policy = policy
            self._service.meter.change_policy(policy)

    def reset(self) -> None:
        """Clear the record. Faults, policy and uploads are not affected."""
        self._journal.reset()


def _check_extra() -> None:
    for name in ("fastapi", "librosa", "python_multipart", "uvicorn"):
        if find_spec(name) is None:
            raise ImportError(f'the sandbox needs {name}: pip install "valence-integrations[sandbox]"', name=name)


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _storage_host(host: str) -> str:
    """Return another name of this machine: as at the vendor's, uploads go to a different host than API calls."""
    return "127.0.0.1" if host == "localhost" else "localhost"
