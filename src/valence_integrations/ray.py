"""Ray Data: audio columns in, emotion columns out, on every machine of a cluster.

::

    import ray
    from valence_integrations.ray import annotate_ray_dataset

    ray.init(runtime_env={"env_vars": {"VALENCE_API_KEY": ...}})
    ds = ray.data.read_binary_files("s3://bucket/calls/", include_paths=True)
    annotate_ray_dataset(ds, "bytes").drop_columns(["bytes"]).write_parquet("s3://bucket/emotions/")

The workers of all nodes keep the account's limits together: one small actor on the cluster's first node gives out
permits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, get_args

from valence_integrations.engine import Engine, Segmented
from valence_integrations.errors import MissingDependencyError, SettingsError
from valence_integrations.settings import OnError, Settings, ShortSegments, check_choice

if TYPE_CHECKING:
    import os

    import pyarrow as pa

    from valence_integrations._datasets_columns import Columns

__all__ = ["ValenceActor", "annotate_ray_dataset"]

T = TypeVar("T")
Scores = Literal["struct", "columns"]

#: The answers of the whole cluster in one place.
SHARED = "shared"

#: Rows of a batch. Within a batch, calls are made side by side, and its end is waited for.
_BATCH_SIZE = 64

#: CPUs that a worker is taken to use: it waits for the network most of the time.
_NUM_CPUS = 0.5

#: Workers at the most, unless told otherwise.
_MAX_WORKERS = 8


class ValenceActor:
    """A callable class for ``ray.data.Dataset.map_batches`` that adds the emotions which the Valence API hears.

    It takes batches in the formats of numpy, pandas and pyarrow, and gives tables of Arrow, as only those have types
    that do not depend on what the rows hold. The rows of a batch are sent side by side.

    Parameters
    ----------
    audio_column : str, default="audio"
        The column with the audio: paths that every node can read, bytes of files (``"bytes"`` after
        ``read_binary_files``), structs of bytes and path as `datasets` writes them, or waveforms (``"amplitude"``
        after ``read_audio``).
    prefix : str, default="emotion"
        Name of the label's column, and start of the other columns' names.
    on_error : {"null", "raise"}, default="null"
        What to do about rows that fail: fill their error column, or raise after the other rows of the batch are
        finished and kept in the cache.
    scores : {"struct", "columns"}, default="struct"
        Whether the scores are one column, or one for each emotion: ``emotion_angry``...
    sampling_rate_column : str, default="sample_rate"
        The column with the rates in Hz of waveforms, if there is one; ``read_audio`` makes it under this name.
        Waveforms without it have the rate `sampling_rate`.
    segments_column, short_segments
        As for `ValenceAnnotator`.
    cache : bool, path or "shared", default=True
        Where answers are kept: True for each node's own cache directory [``VALENCE_CACHE_DIR`` on that node], a
        directory of that name on each node, False for nowhere, and ``"shared"`` for the cache directory of the
        cluster's first node, for all of them.
    **settings
        As for `Settings`: `model`, `emotions`, `long_audio`, `concurrency`, `limits`, `base_url`... `concurrency` and
        `limits` hold for the whole cluster; `max_calls` and `max_audio_seconds` for each worker. What is not given is
        read from the worker's environment.

    Raises
    ------
    SettingsError
        If a setting has a value that cannot be, and for `api_key`: arguments are pickled, and stored by Ray. The key
        comes from ``VALENCE_API_KEY`` in the workers' environment.

    See Also
    --------
    annotate_ray_dataset : The same, with what is good for most.

    Notes
    -----
    The columns and their types are those of `ValenceAnnotator` with ``labels="string"``.

    Permits for calls come from one actor for each account, named in the namespace ``"valence"``, on the cluster's
    first node. It takes no CPU, and outlives the job, as the limits of a day do. Its files are those of any other
    process on that node, so that those are counted, too, and a restart forgets nothing. Without Ray, the limits
    and the cache are this machine's.

    Examples
    --------
    Outside of Ray, too:

    >>> import os
    >>> import pyarrow as pa
    >>> from valence_integrations.ray import ValenceActor
    >>> from valence_integrations.sandbox import Sandbox
    >>> batch = pa.table({"audio": ["examples/audio/ruth_angry.ogg", None]})
    >>> with Sandbox() as sandbox:
    ...     os.environ["VALENCE_API_KEY"] = sandbox.api_key
    ...     table = ValenceActor(base_url=sandbox.url)(batch)
    >>> table["emotion_source"].to_pylist()
    ['discrete', None]
    """

    def __init__(
        self,
        audio_column: str = "audio",
        prefix: str = "emotion",
        *,
        on_error: OnError = "null",
        scores: Scores = "struct",
        sampling_rate_column: str = "sample_rate",
        segments_column: str | None = None,
        short_segments: ShortSegments = "pad",
        cache: bool | str | os.PathLike[str] = True,
        **settings: Any,
    ) -> None:
        check_choice("on_error", on_error, get_args(OnError))
        check_choice("scores", scores, get_args(Scores))
        check_choice("short_segments", short_segments, get_args(ShortSegments))
        if settings.keys() & {"api_key", "engine"}:
            raise SettingsError(
                "api_key and engine cannot be arguments here: Ray pickles and stores them. Set VALENCE_API_KEY in the "
                'environment of the nodes, or ray.init(runtime_env={"env_vars": {"VALENCE_API_KEY": ...}}).'
            )
        self.audio_column = audio_column
        self.prefix = prefix
        self.on_error: OnError = on_error
        self.scores: Scores = scores
        self.sampling_rate_column = sampling_rate_column
        self.segments_column = segments_column
        self.short_segments: ShortSegments = short_segments
        self.shares_answers = cache == SHARED
        self.settings = Settings(**settings, cache=True if self.shares_answers else cache)
        _ = self.settings.columns

    def __call__(self, batch: Any) -> pa.Table:
        """Annotate a batch.

        Parameters
        ----------
        batch : dict of numpy.ndarray, pandas.DataFrame or pyarrow.Table
            Rows.

        Returns
        -------
        pyarrow.Table
            The rows with the new columns.

        Raises
        ------
        SettingsError
            If there is no such column.
        BatchError
            If rows failed, under ``on_error="raise"``.
        JobError
            If nothing can be annotated: no key, a refused key, a spent budget.
        MissingDependencyError
            If Ray is not installed.
        """
        try:
            from valence_integrations._datasets_columns import joined
            from valence_integrations._ray_batches import read_items, read_segments, table_of
        except ImportError as error:
            raise MissingDependencyError.of("ValenceActor", "ray") from error

        columns = self._columns()
        table = table_of(batch)
        items = read_items(table, self.audio_column, self.sampling_rate_column)
        if self.segments_column is not None:
            segments = read_segments(table, self.segments_column)
            items = [Segmented(*pair, self.short_segments) for pair in zip(items, segments, strict=True)]
        return joined(table, columns.of(self.engine.predict_many(items, self.on_error)))

    @cached_property
    def engine(self) -> Engine:
        """The engine of this process."""
        from ray import is_initialized

        from valence_integrations._ray_limiter import remote

        if not is_initialized():
            return Engine(self.settings)
        return Engine(self.settings, remote=remote(self.settings, shares_answers=self.shares_answers))

    def _columns(self) -> Columns:
        from valence_integrations._datasets_columns import Columns

        columns = Columns(self.prefix, self.settings.columns, scores=self.scores)
        return columns.beside(self.audio_column, self.segments_column)


def annotate_ray_dataset(
    ds: T,
    audio_column: str = "audio",
    prefix: str = "emotion",
    *,
    batch_size: int = _BATCH_SIZE,
    workers: int | tuple[int, int] = (1, _MAX_WORKERS),
    num_cpus: float = _NUM_CPUS,
    ray_remote_args: Mapping[str, Any] | None = None,
    **settings: Any,
) -> T:
    """Add the emotions which the Valence API hears in an audio column.

    Like all of Ray Data it is lazy: calls are made when the rows are asked for. Audio goes from the node that has it
    to the service, and not through the driver.

    Parameters
    ----------
    ds : ray.data.Dataset
        With audio as paths that every node can read, bytes of files, structs of `datasets`, or waveforms.
    audio_column, prefix
        As for `ValenceActor`, whose notes tell the columns.
    batch_size : int, default=64
        Rows that are annotated together.
    workers : int or (int, int), default=(1, 8)
        Processes; two numbers for as many as there is work for, between them.
    num_cpus : float, default=0.5
        CPUs that Ray sets aside for each. Compressed audio of many hours needs more than WAV files.
    ray_remote_args : dict, optional
        Other options of the workers, as for ``map_batches``: `runtime_env`, `label_selector`, `memory`...
    **settings
        As for `ValenceActor`. A setting that is not given is read from the environment here, in the driver: only the
        key and the cache directory are those of each node.

    Returns
    -------
    ray.data.Dataset
        With the new columns.

    Raises
    ------
    TypeError
        If `ds` is no dataset of Ray.
    SettingsError
        If there is no such column, or a setting has a value that cannot be.
    MissingDependencyError
        If Ray is not installed.

    Examples
    --------
    >>> import ray
    >>> from valence_integrations.ray import annotate_ray_dataset
    >>> ds = annotate_ray_dataset(ray.data.read_binary_files("examples/audio"), "bytes")
    >>> ds = ds.select_columns(["emotion", "emotion_confidence"])  # nothing is sent yet
    """
    try:
        from ray.data import ActorPoolStrategy, Dataset

        from valence_integrations._ray_batches import check_column
    except ImportError as error:
        raise MissingDependencyError.of("annotate_ray_dataset", "ray") from error

    if not isinstance(ds, Dataset):
        raise TypeError(f"annotate_ray_dataset takes a ray.data.Dataset, not {type(ds)}.")
    actor = ValenceActor(audio_column, prefix, **settings)
    _ = actor._columns()
    fewest, most = (workers, workers) if isinstance(workers, int) else workers
    known = ds.columns(fetch_if_missing=False)
    if known is not None:
        check_column(audio_column, known)
        if actor.segments_column is not None:
            check_column(actor.segments_column, known, "segments")
    resolved = {spec.name: getattr(actor.settings, spec.name) for spec in fields(Settings) if spec.name != "api_key"}
    done = ds.map_batches(
        ValenceActor,
        fn_constructor_kwargs={"audio_column": audio_column, "prefix": prefix, **resolved, **settings},
        batch_format="pyarrow",
        batch_size=batch_size,
        compute=ActorPoolStrategy(min_size=fewest, max_size=most),
        num_cpus=num_cpus,
        **(ray_remote_args or {}),
    )
    return cast("T", done)
