"""The engine: items in, predictions out; in order, side by side, each distinct clip paid once."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any, get_args

import numpy as np

from valence_integrations._cluster.client import ClusterClient
from valence_integrations.engine._estimate import Estimate, estimate
from valence_integrations.engine._exit import INTERRUPT_SECONDS
from valence_integrations.engine._job import Job
from valence_integrations.engine._process import ProcessResources
from valence_integrations.engine._progress import Progress
from valence_integrations.engine._run import run
from valence_integrations.engine._stats import Stats
from valence_integrations.errors import BatchError, ValenceError
from valence_integrations.results import EmotionPrediction
from valence_integrations.settings import DEFAULT_CONCURRENCY, OnError, Settings, check_choice

__all__ = ["Engine"]

#: Items begun ahead of the one that is waited for, for each call under way at once: few where the consumer may stop
#: early, more where everything is wanted and one slow item should not hold up the others.
_AHEAD_LAZY, _AHEAD_ALL = 4, 32

#: One line for each event that matters. Never the key, audio, or an answer.
_log = logging.getLogger("valence_integrations")
_log.addHandler(logging.NullHandler())


class Engine:
    """Annotates audio with emotions.

    An engine can be pickled and shared: what it carries is its settings, without the key. Sockets and threads are
    made anew in each process.

    Parameters
    ----------
    settings : Settings, optional
        By default ``Settings()``, which reads the environment.
    cluster : ClusterClient, optional
        The way to those on other machines with whom limits, and perhaps answers, are shared. It stays in this process.

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
        self.settings = settings if settings is not None else Settings()
        self._cluster = cluster
        self._resources_by_pid: dict[int, ProcessResources] = {}
        self._stats: dict[int, Stats] = {}

    @property
    def stats(self) -> Stats:
        """Counters of this engine in this process."""
        return self._stats.setdefault(os.getpid(), Stats())

    def predict(self, item: object) -> EmotionPrediction:
        """Annotate one item.

        Parameters
        ----------
        item : object
            Audio in any form: a path, the bytes of a file, a file object, a waveform,
            ``(waveform, sampling_rate)``, a dict such as `datasets` gives.

        Returns
        -------
        EmotionPrediction
            An empty one for a missing item, and for one that is skipped because of its length.

        Raises
        ------
        ItemError
            If the item cannot be annotated.
        JobError
            If nothing can: no key, a refused key, a spent budget.
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
        """Annotate items, side by side.

        Parameters
        ----------
        items : iterable
            Items as for `predict`. An iterator is read bit by bit.
        on_error : {"raise", "null"}, default="raise"
            What to do about items that fail: raise one error after all others are finished, or give empty
            predictions whose ``error`` is set.
        progress : bool or Progress, default=False
            Whether to show a progress bar; or one that several calls share.

        Returns
        -------
        list of EmotionPrediction
            One for each item, in order.

        Raises
        ------
        BatchError
            If items failed, under ``on_error="raise"``. It carries every error, and all predictions.
        JobError
            As soon as nothing can be annotated any more.
        """
        failed: dict[int, ValenceError] = {}
        predictions = list(self._iterate(items, on_error, progress, _AHEAD_ALL, failed))
        if failed:
            raise BatchError(failed, predictions)
        return predictions

    def iter_predict(
        self,
        items: Iterable[object],
        on_error: OnError = "raise",
        progress: bool = False,
        *,
        ahead: int = _AHEAD_LAZY,
    ) -> Iterator[EmotionPrediction]:
        """Annotate items lazily: predictions come in order, and only a few items are begun ahead of them.

        Parameters
        ----------
        items, on_error, progress
            As for `predict_many`.
        ahead : int, default=4
            Items begun ahead of the one that is waited for, for each call under way at once. More of them keep one
            slow item from holding up the others, and are paid for if the rest is not wanted.

        Yields
        ------
        EmotionPrediction
            One for each item; a failed one has its ``error`` set.

        Raises
        ------
        BatchError
            After the last item, if items failed, under ``on_error="raise"``.
        JobError
            As soon as nothing can be annotated any more.
        """
        failed: dict[int, ValenceError] = {}
        predictions = self._iterate(items, on_error, progress, ahead, failed)

        def iterate() -> Iterator[EmotionPrediction]:
            yield from predictions
            if failed:
                raise BatchError(failed)

        return iterate()

    def progress(self, total: int | None = None) -> Progress:
        """Show a progress bar for several calls of `predict_many` together, until it is closed.

        Parameters
        ----------
        total : int, optional
            Items of all the calls.

        Returns
        -------
        Progress
            For their ``progress=``.
        """
        return Progress(total, self.stats, windows=lambda: self._resources.windows, show=True)

    def estimate(self, items: Iterable[object]) -> Estimate:
        """Tell what a job will take, without a call: calls, minutes, bytes, and the time that the limits allow.

        Files are read, but not decoded. A WAV file that the service takes as it is, or a waveform, is known for sure:
        it is looked up in the cache as it would be sent. So is a file that was sent before. Of any other file the
        header tells the length, its bytes which files are the same, and nothing whether its answer is in the cache:
        it is taken as to be paid, and counted as ``undecoded``. A long one that is to be cut is taken as a call for
        every 14 s. `Segmented` audio is decoded, so its segments are known for sure.

        The time is what is left if no call is slow, none fails, and nobody else uses the account: that of
        ``Settings.limits``, and for ``"auto"`` of the documented standard policy, as asking for the account's own
        would be a call.

        Parameters
        ----------
        items : iterable
            Items as for `predict_many`. An iterator is used up.

        Returns
        -------
        Estimate
            Printed, it is a table.

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
        """Close connections and end threads of this process; the engine can be used again."""
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
        """This process's tools: a fork does not inherit them."""
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
    ) -> Iterator[EmotionPrediction]:
        check_choice("on_error", on_error, get_args(OnError))
        _check_items(items)
        ahead *= self.settings.concurrency or DEFAULT_CONCURRENCY
        total = len(items) if isinstance(items, Sized) else None
        return run(self._resources, iter(items), total, progress, ahead, failed if on_error == "raise" else {})


def _check_items(items: object) -> None:
    """A single item where many are wanted would be taken for the items it consists of."""
    single = isinstance(items, (str, bytes, bytearray, memoryview, os.PathLike, Mapping)) or hasattr(items, "read")
    numbers = isinstance(items, np.ndarray) and items.ndim == 1 and items.dtype.kind in "iuf"
    if single or numbers or not isinstance(items, Iterable):
        raise TypeError(
            f"items must be many, such as a list of paths, not one {type(items).__name__}; "
            "for one item use predict(item)."
        )
