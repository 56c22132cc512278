"""The engine: annotate items concurrently and in order; pay for each distinct clip once."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sized
from typing import Any, get_args

import numpy as np

from valence_integrations._cluster.client import ClusterClient
from valence_integrations.engine._estimate import Estimate, estimate
from valence_integrations.engine._exit import INTERRUPT_SECONDS
from valence_integrations.engine._job import Job
from valence_integrations.engine._process import ProcessResources
from valence_integrations.engine._progress import Progress
from valence_integrations.engine._run import OnDone, run
from valence_integrations.engine._stats import Stats
from valence_integrations.engine._taken import taken_one_by_one
from valence_integrations.engine._warnings import warn_partial_failure
from valence_integrations.errors import BatchError, SettingsError, ValenceError
from valence_integrations.results import EmotionPrediction
from valence_integrations.settings import DEFAULT_CONCURRENCY, OnError, Settings, check_choice, check_count, check_flag

__all__ = ["Engine"]

#: Items started ahead of the awaited one, per simultaneous call: few where the consumer may stop early, more where all
#: items are needed and one slow item should not delay the others.
_AHEAD_LAZY, _AHEAD_ALL = 4, 32

#: Never log the key, audio, or an answer.
_log = logging.getLogger("valence_integrations")
_log.addHandler(logging.NullHandler())


class Engine:
    """Annotate audio with emotions.

    An engine can be pickled and shared. The pickle contains the settings without the API key. Each process opens its
    own sockets and threads.

    Parameters
    ----------
    settings : Settings, optional
        By default ``Settings()``, which reads the environment.
    cluster : ClusterClient, optional
        Client of a cluster whose machines share rate limits and, optionally, answers. An engine with a cluster cannot
        be pickled.

    Examples
    --------
    >>> from valence_integrations import Engine, Settings
    >>> from valence_integrations.sandbox import Sandbox
    >>> import numpy as np
    >>> waveform = np.sin(np.arange(6 * 16_000) * 0.08)
    >>> with Sandbox() as sandbox:
    ...     settings = Settings(base_url=sandbox.url, api_key=sandbox.api_key, cache=False)
    ...     with Engine(settings) as engine:
    ...         prediction = engine.predict(waveform)
    >>> prediction.source, prediction.duration
    ('discrete', 6.0)
    """

    def __init__(self, settings: Settings | None = None, *, cluster: ClusterClient | None = None) -> None:
        if not isinstance(settings, Settings | None):
            raise SettingsError(f"must be a Settings or None, not {settings!r}.", setting="settings")
        self.settings = settings if settings is not None else Settings()
        self._cluster = cluster
        self._resources_by_pid: dict[int, ProcessResources] = {}
        self._stats: dict[int, Stats] = {}

    @property
    def stats(self) -> Stats:
        """Counters of this engine in the current process."""
        return self._stats.setdefault(os.getpid(), Stats())

    def predict(self, item: object) -> EmotionPrediction:
        """Annotate one item.

        Parameters
        ----------
        item : object
            Audio in any supported form: a path, the bytes of a file, a file object, a waveform,
            ``(waveform, sampling_rate)``, or a dict as in `datasets`.

        Returns
        -------
        EmotionPrediction
            Empty for a missing item and for one that is skipped because of its length.

        Raises
        ------
        ItemError
            If the item cannot be annotated.
        JobError
            If no item can be annotated: no API key, an invalid key, an exhausted budget.
        """
        job = Job(self._resources)
        try:
            prediction = job.wait(job.submit(item))
        except KeyboardInterrupt:
            job.stop()
            job.drain(INTERRUPT_SECONDS)
            raise
        finally:
            job.stop()
        if prediction.error is not None:
            raise prediction.error
        return prediction

    def predict_many(
        self, items: Iterable[object], on_error: OnError = "raise", progress: bool | Progress = False
    ) -> list[EmotionPrediction]:
        """Annotate items concurrently.

        Parameters
        ----------
        items : iterable
            Items as for `predict`. An iterator is read lazily; what it yields may be changed when it is asked for the
            next item, so a generator can refill one buffer.
        on_error : {"raise", "null"}, default="raise"
            How to handle items that fail: raise one error after all other items are finished, or return empty
            predictions with ``error`` set, and warn once.
        progress : bool or Progress, default=False
            Whether to show a progress bar, or a bar shared by several calls.

        Returns
        -------
        list of EmotionPrediction
            One for each item, in order.

        Raises
        ------
        BatchError
            If items failed and ``on_error="raise"``. Carries all errors and all predictions.
        JobError
            As soon as no further item can be annotated.

        Warns
        -----
        PartialFailureWarning
            At the end, if items failed and ``on_error="null"``.
        """
        failed: dict[int, ValenceError] = {}
        predictions = list(self._iterate(items, on_error, progress, _AHEAD_ALL, failed))
        if failed and on_error == "raise":
            raise BatchError(failed, predictions)
        warn_partial_failure(failed, len(predictions))
        return predictions

    def iter_predict(
        self,
        items: Iterable[object],
        on_error: OnError = "raise",
        progress: bool = False,
        *,
        ahead: int = _AHEAD_LAZY,
        on_done: OnDone | None = None,
    ) -> Iterator[EmotionPrediction]:
        """Annotate items lazily and yield predictions in order.

        Parameters
        ----------
        items, on_error, progress
            As for `predict_many`.
        ahead : int, default=4
            Items to start ahead of the awaited one, per simultaneous call; 1 at least. With a larger value, one slow
            item delays the others less, but more items are paid for if you stop early.
        on_done : callable, optional
            Called with the position and the prediction of each item as soon as it is finished: in any order, from any
            thread, and also for items that are finished while a job stops. It must not raise.

        Yields
        ------
        EmotionPrediction
            One per item; a failed item has ``error`` set.

        Raises
        ------
        BatchError
            After the last item, if items failed and ``on_error="raise"``.
        JobError
            As soon as no further item can be annotated.
        SettingsError
            If a parameter has an invalid value.

        Warns
        -----
        PartialFailureWarning
            After the last item, if items failed and ``on_error="null"``.
        """
        failed: dict[int, ValenceError] = {}
        predictions = self._iterate(items, on_error, progress, ahead, failed, on_done)

        def iterate() -> Iterator[EmotionPrediction]:
            total = yield from predictions
            if failed and on_error == "raise":
                raise BatchError(failed)
            warn_partial_failure(failed, total)

        return iterate()

    def progress(self, total: int | None = None) -> Progress:
        """Show one progress bar for several calls of `predict_many`, until it is closed.

        Parameters
        ----------
        total : int, optional
            Total number of items over all calls.

        Returns
        -------
        Progress
            Pass it as ``progress=``.
        """
        return Progress(total, self.stats, windows=lambda: self._resources.windows, show=True)

    def estimate(self, items: Iterable[object]) -> Estimate:
        """Estimate calls, minutes, bytes and time of a job, without calling the service.

        Files are read, but not decoded. The estimate is exact for waveforms, for WAV files that are sent unchanged,
        and for files that were sent before: they are looked up in the cache. For any other file, the length comes from
        the header, and files with equal bytes count once. It is counted as billable, because only decoding could tell
        whether its answer is in the cache, and as ``undecoded``. A long file to be cut counts as one call per 14 s.
        `Segmented` audio is decoded, so its estimate is exact.

        The time assumes that no call is slow or fails and that nobody else uses the account. It follows from
        ``Settings.limits``. For ``"auto"``, the documented standard policy is used, because reading the account's
        policy would take a call.

        Parameters
        ----------
        items : iterable
            Items as for `predict_many`. An iterator is consumed.

        Returns
        -------
        Estimate
            ``print`` shows it as a table.

        Examples
        --------
        >>> import numpy as np
        >>> from valence_integrations import Engine, Settings
        >>> from valence_integrations.sandbox import Sandbox
        >>> waveforms = [np.sin(np.arange(6 * 16_000) * step) for step in (0.07, 0.08, 0.08)]
        >>> with Sandbox() as sandbox:
        ...     engine = Engine(Settings(base_url=sandbox.url, api_key=sandbox.api_key, cache=False))
        ...     estimate = engine.estimate([*waveforms, None])
        ...     sandbox.calls
        0
        >>> estimate.items, estimate.missing, estimate.distinct, estimate.calls, estimate.audio_minutes
        (4, 1, 2, 2, 0.2)
        """
        _check_items(items)
        return estimate(items, self._resources)

    def close(self) -> None:
        """Close the connections and threads of this process. The engine can be used again."""
        resources = self._resources_by_pid.pop(os.getpid(), None)
        if resources is not None:
            resources.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Engine({self.settings!r})"

    def __getstate__(self) -> dict[str, Any]:
        if self._cluster is not None:
            raise TypeError("An engine of a cluster stays in its process: make another where one is needed.")
        return {"settings": self.settings}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Engine.__init__(self, state["settings"])

    def __copy__(self) -> Engine:
        return self

    def __deepcopy__(self, memo: object) -> Engine:
        return self

    def __sklearn_clone__(self) -> Engine:
        return self

    @property
    def _resources(self) -> ProcessResources:
        """Resources of the current process; a fork gets its own."""
        pid = os.getpid()
        resources = self._resources_by_pid.get(pid)
        if resources is None:
            resources = self._resources_by_pid.setdefault(
                pid, ProcessResources(self.settings, self.stats, self._cluster)
            )
        return resources

    def _iterate(
        self,
        items: Iterable[object],
        on_error: OnError,
        progress: bool | Progress,
        ahead: int,
        failed: dict[int, ValenceError],
        on_done: OnDone | None = None,
    ) -> Generator[EmotionPrediction, None, int]:
        check_choice("on_error", on_error, get_args(OnError))
        check_count("ahead", ahead)
        if not isinstance(progress, Progress):
            check_flag("progress", progress)
        _check_items(items)
        ahead *= self.settings.concurrency or DEFAULT_CONCURRENCY
        total = len(items) if isinstance(items, Sized) else None
        return run(self._resources, taken_one_by_one(items), total, progress, ahead, failed, on_done)


def _check_items(items: object) -> None:
    """Refuse a single item, whose elements would otherwise be read as items."""
    single = isinstance(items, (str, bytes, bytearray, memoryview, os.PathLike, Mapping)) or hasattr(items, "read")
    numbers = isinstance(items, np.ndarray) and items.ndim == 1 and items.dtype.kind in "iuf"
    if single or numbers or not isinstance(items, Iterable):
        raise TypeError(
            f"items must be many, such as a list of paths, not one {type(items).__name__}; "
            "for one item use predict(item)."
        )
