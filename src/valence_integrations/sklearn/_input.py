"""Read the transformer's X: a column of items, or a matrix of waveforms."""

from __future__ import annotations

import numbers
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse

from valence_integrations._audio.missing import is_missing

_REMEDY = (
    "The transformer takes one column of audio: give X['audio'] or X[['audio']], or put it into a ColumnTransformer, "
    "such as make_column_transformer((ValenceEmotionTransformer(), 'audio'))."
)


@dataclass(frozen=True)
class Column:
    """A column of items, one a row.

    Attributes
    ----------
    items : sequence
        What the rows hold.
    table : DataFrame or ndarray
        The column in two dimensions, where scikit-learn reads the number and names of the features.
    is_1d : bool
        Whether X has one dimension; its name, if any, is then not compared with the one seen in `fit`.
    name : str or None
        Name of a Series, which scikit-learn does not record.
    """

    items: Sequence[object]
    table: Any
    is_1d: bool = False
    name: str | None = None


def read_column(X: Any, least: int) -> Column | None:
    """Read X; return None if it is not a column of items, so that it must be a matrix of numbers.

    A list of lists is a column of waveforms, unless all of them are equally long and have fewer than `least` samples.

    Raises
    ------
    ValueError, TypeError
        If X is neither. The items are not checked.
    """
    if issparse(X):
        return None
    if isinstance(X, (str, bytes, bytearray, memoryview, os.PathLike, Mapping)) or hasattr(X, "read"):
        raise TypeError(f"X must be a column of items, such as a list of paths, not one {type(X).__name__}: give [X].")
    if hasattr(X, "to_frame"):
        named = isinstance(X.name, str) and X.name != ""
        return _from_items(list(X), X.name if named else None)
    if hasattr(X, "columns") and hasattr(X, "dtypes"):
        return _from_frame(X)
    if hasattr(X, "column_name") and type(getattr(X, "features", None)).__name__ == "Audio":
        X = _undecoded(X)
    if isinstance(X, Sequence):
        return None if _is_table(X, least) else _from_items(list(X))
    if hasattr(X, "__array__"):
        return _from_array(np.asarray(X))
    raise TypeError(
        f"X must be a list, a Series, a DataFrame of one column or an array, not a {type(X).__name__}; "
        "if it can be iterated over, give list(X)."
    )


def _is_table(X: Sequence[Any], least: int) -> bool:
    return (
        all(isinstance(row, (list, tuple)) and 1 < len(row) == len(X[0]) < least for row in X)
        and len(X) > 0
        and all(isinstance(value, numbers.Real) for row in X for value in row)
    )


def _from_items(items: list[object], name: str | None = None) -> Column:
    _reject_numbers(items)
    return Column(items, np.empty((len(items), 1), dtype=object), is_1d=True, name=name)


def _from_frame(X: Any) -> Column | None:
    if X.shape[1] == 1:
        items = list(X[X.columns[0]])
        _reject_numbers(items)
        return Column(items, X)
    if not all(_is_numeric(dtype) for dtype in X.dtypes):
        raise ValueError(f"X has {X.shape[1]} columns: {', '.join(map(str, X.columns))}. {_REMEDY}")
    return None


def _from_array(X: npt.NDArray[Any]) -> Column | None:
    if X.dtype.kind == "S":
        raise TypeError(
            "X has numpy's dtype S, which drops the NUL bytes at the end of a file: give a list of bytes, "
            "or np.array(files, dtype=object)."
        )
    if X.dtype.kind not in "OUT":
        return None
    if X.ndim == 1:
        return _from_items(X.tolist())
    if X.ndim == 2 and X.shape[1] == 1:
        items = X[:, 0].tolist()
        _reject_numbers(items)
        return Column(items, X)
    try:
        X.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{error}. X has the shape {X.shape}. {_REMEDY}") from None
    return None


def _undecoded(column: Any) -> Any:
    """Turn a `datasets` column of audio into bytes and paths, which need no decoder."""
    raw = column.source.cast_column(column.column_name, replace(column.features, decode=False))
    return raw[column.column_name]


def _is_numeric(dtype: Any) -> bool:
    """Whether a dtype of pandas or polars is numeric."""
    return bool(dtype.is_numeric()) if hasattr(dtype, "is_numeric") else dtype.kind in "iuf"


def _reject_numbers(items: Sequence[object]) -> None:
    """Raise ValueError if all items are numbers, apart from missing ones."""
    found = False
    for item in items:
        if is_missing(item):
            continue
        if not isinstance(item, numbers.Real):
            return
        found = True
    if found:
        raise ValueError(
            "X is a column of numbers; a single number is not audio. Reshape your data: if the numbers are one "
            "waveform, give [X]; if rows are waveforms, give a 2-D array. Or choose the column that holds the audio."
        )
