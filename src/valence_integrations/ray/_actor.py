"""`ValenceActor`: a callable class for ``ray.data.Dataset.map_batches``."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

from valence_integrations.engine import Engine, Segmented
from valence_integrations.errors import MissingDependencyError, SettingsError
from valence_integrations.settings import OnError, Settings, ShortSegments, check_choice

if TYPE_CHECKING:
    import os

    import pyarrow as pa

    from valence_integrations._arrow.columns import Columns

__all__ = ["ValenceActor"]

Scores = Literal["struct", "columns"]

#: One cache for the whole cluster.
SHARED = "shared"


class ValenceActor:
    """A callable class for ``ray.data.Dataset.map_batches`` that adds emotions recognized by the Valence API.

    It accepts batches of numpy, pandas and pyarrow, and returns Arrow tables, whose types do not depend on the values
    in the rows. The rows of a batch are sent in parallel.

    Parameters
    ----------
    audio_column : str, default="audio"
        The column with the audio: paths that every node can read, bytes of files (``"bytes"`` after
        ``read_binary_files``), structs of bytes and path as `datasets` writes them, or waveforms (``"amplitude"``
        after ``read_audio``).
    prefix : str, default="emotion"
        Name of the label column, and prefix of the other columns' names.
    on_error : {"null", "raise"}, default="null"
        What to do with rows that fail: fill their error column, or raise after the other rows of the batch are
        finished and cached.
    scores : {"struct", "columns"}, default="struct"
        Whether the scores are one column, or one for each emotion: ``emotion_angry``...
    sampling_rate_column : str, default="sample_rate"
        The column with the rates in Hz of waveforms, if there is one; ``read_audio`` makes it under this name.
        Waveforms without it have the rate `sampling_rate`.
    segments_column, short_segments
        As for `ValenceAnnotator`.
    cache : bool, path or "shared", default=True
        Where answers are cached: True for each node's own cache directory [``VALENCE_CACHE_DIR`` on that node], a
        path for that directory on each node, False for no cache, and ``"shared"`` for one cache directory on the
        cluster's first node.
    **settings
        As for `Settings`: `model`, `emotions`, `long_audio`, `concurrency`, `limits`, `base_url`... `concurrency` and
        `limits` apply to the whole cluster; `max_calls` and `max_audio_seconds` to each worker. Settings that are not
        given are read from the worker's environment.

    Raises
    ------
    SettingsError
        If a setting has an invalid value, or if `api_key` is given: Ray pickles and stores arguments. Set
        ``VALENCE_API_KEY`` in the workers' environment instead.

    See Also
    --------
    annotate_ray_dataset : Annotate a whole dataset with sensible defaults.

    Notes
    -----
    The columns and their types are those of `ValenceAnnotator` with ``labels="string"``.

    Permits for calls come from one actor for each account, named in the namespace ``"valence"``, on the cluster's
    first node. It reserves no CPU and outlives the job, because daily limits do. It shares its files with the other
    processes on that node, so that their calls are counted too and a restart loses nothing. Without Ray, the limits
    and the cache are those of this machine.

    Examples
    --------
    It also works without Ray:

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
        if refused := settings.keys() & {"api_key", "engine"}:
            raise SettingsError(
                "is not accepted here, because Ray pickles and stores arguments.",
                setting=min(refused),
                remedy="Set VALENCE_API_KEY in the environment of the nodes, or "
                'ray.init(runtime_env={"env_vars": {"VALENCE_API_KEY": ...}}).',
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
            If the audio or segments column is missing.
        BatchError
            If rows failed and ``on_error="raise"``.
        JobError
            If nothing can be annotated: no key, a refused key, a spent budget.
        MissingDependencyError
            If Ray is not installed.
        """
        try:
            from valence_integrations._arrow.tables import joined
            from valence_integrations.ray._batches import read_items, read_segments, table_of
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

        from valence_integrations.ray._limiter import cluster_client

        if not is_initialized():
            return Engine(self.settings)
        return Engine(self.settings, cluster=cluster_client(self.settings, shares_answers=self.shares_answers))

    def _columns(self) -> Columns:
        from valence_integrations._arrow.columns import Columns

        columns = Columns(self.prefix, self.settings.columns, scores=self.scores)
        return columns.check_collisions(self.audio_column, self.segments_column)
