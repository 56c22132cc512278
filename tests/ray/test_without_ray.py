"""Behavior where Ray is not installed; all other tests are in tests/with_ray."""

from __future__ import annotations

import sys

import pytest

from valence_integrations.errors import MissingDependencyError, SettingsError
from valence_integrations.ray import ValenceActor, annotate_ray_dataset


@pytest.fixture(autouse=True)
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.data", None)
    monkeypatch.delitem(sys.modules, "valence_integrations.ray._batches", raising=False)


def test_missing_ray_error_names_extra() -> None:
    with pytest.raises(MissingDependencyError, match=r"annotate_ray_dataset .*valence-integrations\[ray\]"):
        annotate_ray_dataset(object())
    with pytest.raises(MissingDependencyError, match=r"ValenceActor .*valence-integrations\[ray\]"):
        ValenceActor()({"audio": []})


def test_settings_are_checked_without_ray() -> None:
    with pytest.raises(SettingsError, match="VALENCE_API_KEY"):
        ValenceActor(api_key="abc")
    with pytest.raises(SettingsError, match="scores must be one of"):
        ValenceActor(scores="list")
    with pytest.raises(SettingsError, match="The emotions of the model 'mine' are unknown"):
        ValenceActor(model="mine")
