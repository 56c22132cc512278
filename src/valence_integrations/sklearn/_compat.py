"""Private functions of scikit-learn that the transformer needs; no other module here imports private names of it.

Both are the same in scikit-learn 1.6 and 1.9, the oldest and the newest that are tested; neither has a public
counterpart:

- ``sklearn.utils._set_output._get_output_config`` (since 1.2) merges the ``set_output`` of an estimator with the
  global ``transform_output``. `set_output` itself would wrap the array that `transform` returns, but a frame of scores
  and labels has columns of two types, which one array cannot hold.
- ``sklearn.utils.validation._check_feature_names_in`` (since 1.0) compares the `input_features` of
  ``get_feature_names_out`` with those seen in `fit`. The public mixins would also choose the names.

scikit-learn 1.6 is the oldest version for another reason: ``sklearn.utils.validation.validate_data`` became public
there.
"""

from __future__ import annotations

from typing import Any

from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import _check_feature_names_in

__all__ = ["check_input_features", "output_container"]


def output_container(estimator: Any) -> str:
    """Return the container of the estimator's `transform` output: "default", "pandas" or "polars"."""
    return str(_get_output_config("transform", estimator)["dense"])


def check_input_features(estimator: Any, input_features: Any) -> None:
    """Check that `input_features` match those seen in `fit`.

    Raises
    ------
    ValueError
        If their names or their number differ.
    """
    _check_feature_names_in(estimator, input_features)
