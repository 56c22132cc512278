"""`ValenceEmotionTransformer`: audio columns in, emotion columns out, in scikit-learn's pipelines."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from valence_integrations._audio.routing import LEAST_SECONDS
from valence_integrations.engine import Engine, check_engine, shared_engine, warn_outside, warn_unknown_emotions
from valence_integrations.errors import SettingsError
from valence_integrations.settings import (
    LongAudio,
    OnError,
    Secret,
    Settings,
    ShortAudio,
    changed_settings,
    check_choice,
    check_flag,
)
from valence_integrations.sklearn._compat import check_input_features, output_container
from valence_integrations.sklearn._input import read_column
from valence_integrations.sklearn._output import as_array, as_frame, labels_of, scores_of

if TYPE_CHECKING:
    import os

__all__ = ["ValenceEmotionTransformer"]

Output = Literal["scores", "label", "both"]

#: Parameters that change the answer and that are also settings of an engine.
_SHARED = ("model", "emotions", "sampling_rate", "short_audio", "long_audio", "min_confidence")


class ValenceEmotionTransformer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Transform audio into emotions recognized by the Valence API.

    Parameters
    ----------
    output : {"scores", "label", "both"}, default="scores"
        A column of confidence for each emotion, one column with the item's emotion, or both.
    model : str, optional
        ``"4emotions"``, ``"7emotions"`` or the name of a custom model; by default ``VALENCE_MODEL``, else
        ``"4emotions"``.
    emotions : sequence of str, optional
        Emotions, one column each; required for a custom model only; by default ``VALENCE_EMOTIONS``, else the model's.
    sampling_rate : int, optional
        Rate in Hz of waveforms without one; by default 16000.
    short_audio : {"pad", "repeat", "skip", "error"}, optional
        What to do with items under 5.0 s; by default ``VALENCE_SHORT_AUDIO``, else ``"pad"``.
    long_audio : {"asynch", "chunk", "truncate", "skip", "error"}, optional
        What to do with items over 15 s; by default ``VALENCE_LONG_AUDIO``, else ``"asynch"``.
    min_confidence : float, optional
        An emotion under this confidence becomes None; its scores stay; by default ``VALENCE_MIN_CONFIDENCE``. The
        vendor recommends 0.38.
    on_error : {"raise", "null"}, default="raise"
        What to do with items that fail: raise one error after all others are finished and cached, or return empty
        rows for them and warn once.
    concurrency : int, optional
        Number of simultaneous calls; by default ``VALENCE_CONCURRENCY``, else the account's own limit, else 5.
    cache : bool or path, default=True
        Whether, and in which directory, to cache answers, so that cross-validation pays for each clip once.
    progress : bool, default=False
        Whether to show a progress bar.
    api_key : str, optional
        The account's key; by default ``VALENCE_API_KEY``, read at each call. Clones and copies keep it, but it is
        neither shown nor pickled: worker processes (``n_jobs``), loaded models and steps from
        ``Pipeline(memory=...)`` read the variable.
    base_url : str, optional
        Address of the service; by default ``VALENCE_API_BASE_URL``, else the vendor's address.
    engine : Engine, optional
        An engine to use. Its settings take precedence: of the parameters above only `output`, `on_error` and `progress`
        are used. Giving one of `model` to `min_confidence` another value than the engine's is an error.

    Attributes
    ----------
    n_features_in_ : int
        1 for a column of items; for a 2-D array of numbers, the samples of each waveform.
    feature_names_in_ : ndarray of str, shape (`n_features_in_`,)
        Names of the columns of the DataFrame, or the name of the Series, seen in `fit`; defined only if it has any.

    See Also
    --------
    valence_integrations.Engine : Predictions with their timeline.

    Notes
    -----
    X is a column of items: a list or tuple, a Series of pandas or polars of any type, a DataFrame of one column, an
    array of objects or strings of shape (n_items,) or (n_items, 1), a column of `datasets`. Each item is a path, the
    bytes of a file, a waveform, ``(waveform, sampling_rate)`` or a dict such as `datasets` gives; a missing item
    gets an empty row. Or X is a 2-D array (or a DataFrame) of numbers, shape (n_items, n_samples): one waveform a row.
    Waveforms of different lengths go into a list. A matrix whose rows are shorter than 0.1 s is most likely a table of
    numbers: nothing is sent, a warning says so, and all rows are empty.

    In an empty row, scores are NaN and the label is None. Scores are between 0 and 1 and need not sum to 1; an
    emotion that an answer does not name has 0.0.

    Examples
    --------
    >>> import numpy as np
    >>> from valence_integrations import ValenceEmotionTransformer
    >>> from valence_integrations.sandbox import Sandbox
    >>> hum = np.sin(np.arange(6 * 16_000) * 0.08)
    >>> with Sandbox() as sandbox:
    ...     transformer = ValenceEmotionTransformer(base_url=sandbox.url, api_key=sandbox.api_key, cache=False)
    ...     scores = transformer.fit_transform([hum, hum / 100, None])
    >>> transformer.get_feature_names_out()
    array(['emotion_angry', 'emotion_happy', 'emotion_neutral', 'emotion_sad'],
          dtype=object)
    >>> scores.shape, np.isnan(scores).any(axis=1).tolist()
    ((3, 4), [False, False, True])
    """

    # Makes skrub's ApplyToCols and TableVectorizer pass one column, not a DataFrame.
    __single_column_transformer__ = True

    def __init__(
        self,
        output: Output = "scores",
        model: str | None = None,
        emotions: Sequence[str] | None = None,
        sampling_rate: int | None = None,
        short_audio: ShortAudio | None = None,
        long_audio: LongAudio | None = None,
        min_confidence: float | None = None,
        on_error: OnError = "raise",
        concurrency: int | None = None,
        cache: bool | str | os.PathLike[str] = True,
        progress: bool = False,
        api_key: str | None = None,
        base_url: str | None = None,
        engine: Engine | None = None,
    ) -> None:
        self.output = output
        self.model = model
        self.emotions = emotions
        self.sampling_rate = sampling_rate
        self.short_audio = short_audio
        self.long_audio = long_audio
        self.min_confidence = min_confidence
        self.on_error = on_error
        self.concurrency = concurrency
        self.cache = cache
        self.progress = progress
        self.api_key = api_key
        self.base_url = base_url
        self.engine = engine

    def fit(self, X: Any, y: object = None) -> ValenceEmotionTransformer:  # noqa: ARG002
        """Check the parameters and the form of X. No key is needed, and nothing is sent.

        Parameters
        ----------
        X : array-like of shape (n_items,), (n_items, 1) or (n_items, n_samples)
            Audio; see the notes of the class.
        y : object
            Ignored.

        Returns
        -------
        ValenceEmotionTransformer
            This transformer.

        Raises
        ------
        SettingsError
            If a parameter has an invalid value.
        ValueError, TypeError
            If X is neither a column of items nor a matrix of waveforms.
        """
        _ = self._settings().columns
        self._items(X, reset=True)
        return self

    def transform(self, X: Any) -> Any:
        """Annotate audio.

        Parameters
        ----------
        X : array-like of shape (n_items,), (n_items, 1) or (n_items, n_samples)
            Audio; see the notes of the class.

        Returns
        -------
        ndarray or DataFrame of shape (n_items, n_columns)
            Scores as float64; with ``output="label"`` or ``"both"`` an array of objects, whose last column holds
            strings and None. A DataFrame after ``set_output(transform="pandas")`` or ``"polars"``; its labels are
            Categorical or Enum, with all emotions as categories.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            If X is not of the same kind as in `fit`.
        BatchError
            If items failed and ``on_error="raise"``; it holds every error and all predictions.
        JobError
            If nothing can be annotated: no key, a refused key, a spent budget.

        Warns
        -----
        PartialFailureWarning
            If items failed and ``on_error="null"``.
        UserWarning
            If an emotion has no column, or if X is a matrix whose rows are too short to be speech.
        """
        check_is_fitted(self)
        items = self._items(X, reset=False)
        settings = self._settings()
        engine = shared_engine(settings) if self.engine is None else self.engine
        predictions = engine.predict_many(items, on_error=self.on_error, progress=self.progress)
        columns = settings.columns
        labels = None if self.output == "scores" else labels_of(predictions, columns)
        warn_unknown_emotions(predictions, settings, labelled=labels is not None)
        scores = scores_of(predictions, columns if self.output != "label" else ())
        container = output_container(self)
        if container == "default":
            return as_array(scores, labels)
        # scikit-learn 1.6 would drop the index of a Series.
        index = X.index if hasattr(X, "iloc") else None
        return as_frame(container, self.get_feature_names_out().tolist(), scores, labels, columns, index)

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:
        """Name the columns of the output.

        Parameters
        ----------
        input_features : array-like of str, optional
            Only compared with the names seen in `fit`.

        Returns
        -------
        ndarray of str objects, shape (n_columns,)
            ``emotion_angry`` and so on, and ``emotion`` for the label; ``{column}_angry`` and ``{column}_emotion``
            if the column in `fit` had a name.
        """
        check_is_fitted(self)
        check_input_features(self, input_features)
        column = self.feature_names_in_[0] if hasattr(self, "feature_names_in_") and self.n_features_in_ == 1 else None
        names = []
        if self.output != "label":
            names += [f"{column or 'emotion'}_{emotion}" for emotion in self._settings().columns]
        if self.output != "scores":
            names += [f"{column}_emotion" if column else "emotion"]
        return np.array(names, dtype=object)

    def _items(self, X: Any, *, reset: bool) -> Sequence[object]:
        """Return the items of X, and check its form against `fit`, or record it with `reset`."""
        column = read_column(X, math.ceil(LEAST_SECONDS * self._settings().sampling_rate))
        if column is None:
            return self._waveforms(X, reset=reset)
        if reset or not column.is_1d:
            validate_data(self, column.table, reset=reset, skip_check_array=True)
            if column.name is not None:
                self.feature_names_in_ = np.array([column.name], dtype=object)
        elif self.n_features_in_ != 1:
            raise ValueError(
                f"X is a column of items, but fit saw one waveform of {self.n_features_in_} samples a row: "
                "give both the same kind of X."
            )
        return column.items

    def _waveforms(self, X: Any, *, reset: bool) -> Sequence[object]:
        matrix = validate_data(self, X, reset=reset)
        if matrix.shape[1] == 1:
            raise ValueError(
                "X has 1 feature(s), so each row would be a waveform of one sample. One waveform is one row: "
                "X.reshape(1, -1)."
            )
        if matrix.dtype.kind not in "iuf":
            raise TypeError(f"The samples of waveforms must be numbers, not {matrix.dtype}.")
        rate = self._settings().sampling_rate
        if matrix.shape[1] >= LEAST_SECONDS * rate:
            return list(matrix)
        if not reset:
            warn_outside(
                UserWarning(
                    f"X is a matrix of numbers with {matrix.shape[1]} columns. As a waveform, a row would have "
                    f"{matrix.shape[1] / rate:.4g} s at {rate} Hz, too short to be speech: nothing was sent, and all "
                    "rows are empty. Choose the column that holds the audio."
                )
            )
        return [None] * len(matrix)

    def _settings(self) -> Settings:
        """Settings in effect: the engine's, or those of the parameters."""
        check_choice("output", self.output, get_args(Output))
        check_choice("on_error", self.on_error, get_args(OnError))
        check_flag("progress", self.progress)
        check_engine(self.engine)
        shared = self._given(*_SHARED)
        if self.engine is None:
            return Settings(**shared, **self._given("concurrency", "cache", "api_key", "base_url"))
        own = changed_settings(self.engine.settings, **shared)
        for name in shared:
            theirs = getattr(self.engine.settings, name)
            if getattr(own, name) != theirs:
                raise SettingsError(
                    f"{name} is {getattr(own, name)!r}, but the engine's is {theirs!r}.",
                    code="settings_conflict",
                    setting=name,
                    remedy=f"Set it in the engine, Engine(Settings({name}=...)), or give no engine.",
                )
        return self.engine.settings

    def _given(self, *names: str) -> dict[str, Any]:
        """Parameters that are not None; for the others, the environment or the default of `Settings` counts."""
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    # The key never leaves this process: pickle, joblib and skops use `__getstate__`, which leaves it out. Within the
    # process, get_params (and therefore clone) and copies keep it, as a `Secret`, whose text is a mask.

    def __setattr__(self, name: str, value: object) -> None:
        if name == "api_key" and isinstance(value, str) and not isinstance(value, Secret):
            value = Secret(value)
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "api_key": None}

    def __copy__(self) -> ValenceEmotionTransformer:
        copied = type(self).__new__(type(self))
        copied.__dict__.update(self.__dict__)
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> ValenceEmotionTransformer:
        copied = copy.copy(self)
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return copied
