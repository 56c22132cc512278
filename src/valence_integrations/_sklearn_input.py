"""What the transformer's X may be, read into items: one object a row."""
# ruff: noqa: N803, N806

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.sparse import issparse  # type: ignore[import-untyped]
from sklearn.utils.validation import check_array

_REMEDY = (
    "The transformer takes one column of audio: give X['audio'] or X[['audio']], or put it into a ColumnTransformer, "
    "such as make_column_transformer((ValenceEmotionTransformer(), 'audio'))."
)


@dataclass(frozen=True)
class Rows:
    """The rows of an X.

    Attributes
    ----------
    items : sequence
        One item a row.
    table : DataFrame or ndarray
        Two-dimensional: what scikit-learn counts and names the features of.
    form : {"column", "table", "matrix"}
        A one-dimensional X, a two-dimensional one with one column of items, or numbers, one waveform a row.
    """

    items: Sequence[object]
    table: Any
    form: Literal["column", "table", "matrix"]


def read_rows(X: Any) -> Rows:
    """Read an X of any kind.

    Raises
    ------
    ValueError, TypeError
        If X as a whole is no column of items and no matrix of waveforms. Items are not looked into.
    """
    if issparse(X):
        check_array(X)
    if isinstance(X, (str, bytes, bytearray, memoryview, os.PathLike, Mapping)) or hasattr(X, "read"):
        raise TypeError(f"X must be a column of items, such as a list of paths, not one {type(X).__name__}: give [X].")
    if hasattr(X, "to_frame"):
        named = isinstance(X.name, str) and X.name != ""
        return _column(list(X), X.to_frame() if named else None)
    if hasattr(X, "columns") and hasattr(X, "dtypes"):
        return _frame(X)
    if hasattr(X, "column_name") and type(getattr(X, "features", None)).__name__ == "Audio":
        X = _undecoded(X)
    if isinstance(X, Sequence):
        return _column(list(X))
    if hasattr(X, "__array__"):
        return _array(np.asarray(X))
    raise TypeError(
        f"X must be a list, a Series, a DataFrame of one column or an array, not a {type(X).__name__}; "
        "if it can be iterated over, give list(X)."
    )


def _column(items: list[object], table: Any = None) -> Rows:
    if _all_numbers(items):
        raise ValueError(
            "X is a column of numbers, and a number alone is no audio. Reshape your data: if the numbers are one "
            "waveform, give [X]; if rows are waveforms, give a 2-D array. Or choose the column that holds the audio."
        )
    return Rows(items, np.empty((len(items), 1), dtype=object) if table is None else table, "column")


def _frame(X: Any) -> Rows:
    if X.shape[1] == 1:
        return replace(_column(list(X[X.columns[0]]), X), form="table")
    if not all(_is_numeric(dtype) for dtype in X.dtypes):
        raise ValueError(f"X has {X.shape[1]} columns: {', '.join(map(str, X.columns))}. {_REMEDY}")
    return Rows(list(_matrix(X)), X, "matrix")


def _array(X: npt.NDArray[Any]) -> Rows:
    if X.dtype.kind == "S":
        raise TypeError(
            "X has numpy's dtype S, which drops the NUL bytes at the end of a file: give a list of bytes, "
            "or np.array(files, dtype=object)."
        )
    if X.dtype.kind in "OUT":
        if X.ndim == 1:
            return _column(X.tolist())
        if X.ndim == 2 and X.shape[1] == 1:
            return replace(_column(X[:, 0].tolist(), X), form="table")
        try:
            X = X.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{error}. X has the shape {X.shape}. {_REMEDY}") from None
    matrix = _matrix(X)
    return Rows(list(matrix), matrix, "matrix")


def _matrix(X: Any) -> npt.NDArray[Any]:
    """One waveform a row."""
    matrix: npt.NDArray[Any] = check_array(X, estimator="ValenceEmotionTransformer")
    if matrix.dtype.kind not in "iuf":
        raise TypeError(f"The samples of waveforms must be numbers, not {matrix.dtype}.")
    return matrix


def _undecoded(column: Any) -> Any:
    """Turn a `datasets` column of audio into bytes and paths, which need no decoder to be installed."""
    raw = column.source.cast_column(column.column_name, replace(column.features, decode=False))
    return raw[column.column_name]


def _is_numeric(dtype: Any) -> bool:
    """Whether a dtype of pandas or polars is a number's."""
    return bool(dtype.is_numeric()) if hasattr(dtype, "is_numeric") else dtype.kind in "iuf"


def _all_numbers(items: Sequence[object]) -> bool:
    """Whether there are numbers, and nothing else but missing items."""
    found = False
    for item in items:
        if item is None or type(item).__name__ == "NAType":
            continue
        if not isinstance(item, numbers.Real):
            return False
        found = found or not math.isnan(item)
    return found
