"""scikit-learn's own checks of estimators, over real HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from sklearn.utils import estimator_checks as checks
from sklearn.utils import get_tags

from valence_integrations import ValenceEmotionTransformer
from valence_integrations.sandbox import Sandbox

RUN_ALL = """
import json
from sklearn.utils.estimator_checks import check_estimator
from valence_integrations import ValenceEmotionTransformer

results = check_estimator(ValenceEmotionTransformer(), on_skip=None, on_fail=None)
print(json.dumps([(one["check_name"], one["status"], str(one["exception"])) for one in results]))
"""

NOT_RUN_BY_CHECK_ESTIMATOR = [
    "check_dataframe_column_names_consistency",
    "check_estimator_cloneable",
    "check_get_feature_names_out_error",
    "check_global_output_transform_pandas",
    "check_global_set_output_transform_polars",
    "check_n_features_in_after_fitting",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_set_output_transform_polars",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with Sandbox() as sandbox:
        yield {
            "VALENCE_API_BASE_URL": sandbox.url,
            "VALENCE_API_KEY": sandbox.api_key,
            "VALENCE_CACHE_DIR": str(tmp_path_factory.mktemp("cache")),
            "VALENCE_STATE_DIR": str(tmp_path_factory.mktemp("state")),
        }


def test_check_estimator_runs_and_passes_all_its_checks(service):
    # SCIPY_ARRAY_API must be set before scipy is imported; without it a check is skipped.
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL],
        env={**os.environ, **service, "SCIPY_ARRAY_API": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    assert [result for result in results if result[1] != "passed"] == []
    assert len(results) >= 46


def test_estimator_does_not_override_tags():
    class Plain(checks.TransformerMixin, checks.BaseEstimator):
        pass

    assert get_tags(ValenceEmotionTransformer()) == get_tags(Plain())


@pytest.mark.filterwarnings("ignore:X is a matrix of numbers:UserWarning")
@pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning")
@pytest.mark.filterwarnings("ignore:X has feature names:UserWarning")
@pytest.mark.parametrize("name", NOT_RUN_BY_CHECK_ESTIMATOR)
def test_check_skipped_by_check_estimator(name, service, monkeypatch):
    for variable, value in service.items():
        monkeypatch.setenv(variable, value)
    getattr(checks, name)("ValenceEmotionTransformer", ValenceEmotionTransformer())
