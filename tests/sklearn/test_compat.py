"""Private names of scikit-learn are imported in one module only, and behave as its docstring says."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import sklearn

import valence_integrations
from valence_integrations import ValenceEmotionTransformer
from valence_integrations.sklearn import _compat

SOURCE = Path(valence_integrations.__file__).parent


def private_names(code: str) -> Iterator[str]:
    """Find private names of scikit-learn that a module imports or accesses."""
    for node in ast.walk(ast.parse(code)):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Attribute):
            names = [ast.unparse(node)]
        for name in names:
            top, *parts = name.split(".")
            if top == "sklearn" and any(part.startswith("_") for part in parts):
                yield name


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("from sklearn.utils._set_output import x", ["sklearn.utils._set_output.x"]),
        ("def f():\n    from sklearn.utils.validation import _a, b", ["sklearn.utils.validation._a"]),
        ("import sklearn._config", ["sklearn._config"]),
        ("import sklearn\nsklearn.utils._tags", ["sklearn.utils._tags"]),
        ("from sklearn.base import BaseEstimator\nfrom valence_integrations.sklearn._input import x", []),
    ],
)
def test_detection_of_private_names(code: str, found: list[str]) -> None:
    assert list(private_names(code)) == found


def test_private_names_are_imported_in_one_module_only() -> None:
    modules = sorted(SOURCE.rglob("*.py"))
    assert len(modules) > 100
    users = {path.relative_to(SOURCE).as_posix() for path in modules if list(private_names(path.read_text("utf-8")))}
    assert users == {"sklearn/_compat.py"}


def test_container_of_estimator_and_global_config() -> None:
    transformer = ValenceEmotionTransformer()
    assert _compat.output_container(transformer) == "default"
    with sklearn.config_context(transform_output="polars"):
        assert _compat.output_container(transformer) == "polars"
        assert _compat.output_container(transformer.set_output(transform="pandas")) == "pandas"


def test_input_features_must_match_fit() -> None:
    transformer = ValenceEmotionTransformer().fit(pd.DataFrame({"call": ["a.wav"]}))
    for features in (None, ["call"]):
        _compat.check_input_features(transformer, features)
    for features in (["speech"], ["call", "age"]):
        with pytest.raises(ValueError, match="not equal to feature_names_in_"):
            _compat.check_input_features(transformer, features)
    with pytest.raises(ValueError, match="length equal to number of features"):
        _compat.check_input_features(transformer.fit(["a.wav"]), ["call", "age"])
