"""The private functions of scikit-learn that the transformer needs; nothing else here imports a private name of it.

Both are the same in scikit-learn 1.6 and 1.9, the oldest and the newest that are tested; neither has a public
counterpart:

- ``sklearn.utils._set_output._get_output_config`` (since 1.2) merges the ``set_output`` of an estimator with the
  global ``transform_output``. `set_output` itself would wrap what `transform` returns, but a frame of scores and
  labels has columns of two types, which cannot go through one array.
- ``sklearn.utils.validation._check_feature_names_in`` (since 1.0) compares the `input_features` of
  ``get_feature_names_out`` with what `fit` saw. Publicly there are only mixins, which also decide the names.

scikit-learn 1.6 is the oldest version for another reason: ``sklearn.utils.validation.validate_data`` became public
there.
"""

from __future__ import annotations

from typing import Any

from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import _check_feature_names_in

__all__ = ["check_input_features", "output_container"]


def output_container(estimator: Any) -> str:
    """Return what the estimator's `transform` should give: "default", "pandas" or "polars"."""
    return str(_get_output_config("transform", estimator)["dense"])


def check_input_features(estimator: Any, input_features: Any) -> None:
    """Check that `input_features` are those that `fit` saw.

    Raises
    ------
    ValueError
        If they are not, or are not as many.
    """
    _check_feature_names_in(estimator, input_features)
