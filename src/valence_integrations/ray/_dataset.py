"""`annotate_ray_dataset`: whole datasets of Ray Data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar, cast

from valence_integrations.errors import MissingDependencyError
from valence_integrations.ray._actor import ValenceActor
from valence_integrations.settings import Settings

__all__ = ["annotate_ray_dataset"]

T = TypeVar("T")

#: Rows of a batch. The calls of a batch are made in parallel; the next batch waits for its end.
_BATCH_SIZE = 64


#: CPUs reserved for a worker, which mostly waits for the network.
_NUM_CPUS = 0.5


#: Default maximum number of workers.
_MAX_WORKERS = 8


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
    """Add emotions recognized by the Valence API to a dataset with an audio column.

    Like all of Ray Data it is lazy: calls are made when rows are consumed. Audio is sent to the service by the node
    that holds it, not by the driver.

    Parameters
    ----------
    ds : ray.data.Dataset
        With audio as paths that every node can read, bytes of files, structs of `datasets`, or waveforms.
    audio_column, prefix
        As for `ValenceActor`, whose notes list the columns.
    batch_size : int, default=64
        Rows that are annotated together.
    workers : int or (int, int), default=(1, 8)
        Number of worker processes, or the (minimum, maximum) for autoscaling.
    num_cpus : float, default=0.5
        CPUs that Ray reserves for each worker. Many hours of compressed audio need more than WAV files.
    ray_remote_args : dict, optional
        Other options of the workers, as for ``map_batches``: `runtime_env`, `label_selector`, `memory`...
    **settings
        As for `ValenceActor`. A setting that is not given is read from the driver's environment; only the key and
        the cache directory are read on each node.

    Returns
    -------
    ray.data.Dataset
        The dataset with the new columns.

    Raises
    ------
    TypeError
        If `ds` is not a Ray dataset.
    SettingsError
        If a column is missing, or a setting has an invalid value.
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

        from valence_integrations.ray._batches import check_column
    except ImportError as error:
        raise MissingDependencyError.of("annotate_ray_dataset", "ray") from error

    if not isinstance(ds, Dataset):
        raise TypeError(f"annotate_ray_dataset takes a ray.data.Dataset, not {type(ds)}.")
    actor = ValenceActor(audio_column, prefix, **settings)
    _ = actor._columns()
    min_size, max_size = (workers, workers) if isinstance(workers, int) else workers
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
        compute=ActorPoolStrategy(min_size=min_size, max_size=max_size),
        num_cpus=num_cpus,
        **(ray_remote_args or {}),
    )
    return cast("T", done)
