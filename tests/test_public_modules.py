"""What is public says so: its module's name, its annotations, and what its pickles name."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pickle
import re
import typing
from typing import Any

import numpy as np
import pandas as pd
import pytest

from valence_integrations import (
    EmotionPrediction,
    EmotionSegment,
    Engine,
    Settings,
    ValenceAnnotator,
    ValenceEmotionPipeline,
    ValenceEmotionTransformer,
    errors,
    valence_annotate,
)
from valence_integrations.engine import Segmented
from valence_integrations.sandbox import Faults, Policy
from valence_integrations.settings import RateLimits

FRAMEWORKS = ["datasets", "ray", "sklearn", "transformers"]
OTHERS = ["engine", "errors", "report", "results", "sandbox", "settings"]
MODULES = ["valence_integrations", *(f"valence_integrations.{name}" for name in (*FRAMEWORKS, *OTHERS))]
PUBLIC = {
    f"{module}.{name}": getattr(importlib.import_module(module), name)
    for module in MODULES
    for name in importlib.import_module(module).__all__
}
DEFINED = {name: thing for name, thing in PUBLIC.items() if inspect.isclass(thing) or inspect.isfunction(thing)}
DATACLASSES = {name: thing for name, thing in DEFINED.items() if dataclasses.is_dataclass(thing)}


def has_private_part(module: str) -> bool:
    return any(part.startswith("_") for part in module.split("."))


def test_what_is_looked_at() -> None:
    assert len(DEFINED) > 50
    assert {thing.__name__ for thing in DATACLASSES.values()} >= {
        "EmotionPrediction",
        "EmotionSegment",
        "Estimate",
        "Faults",
        "Policy",
        "RateLimits",
        "RequestRecord",
        "Segmented",
        "Settings",
        "Stats",
    }


@pytest.mark.parametrize("name", DEFINED)
def test_it_says_that_it_comes_from_a_public_module(name: str) -> None:
    thing = DEFINED[name]
    assert not has_private_part(thing.__module__)
    assert getattr(importlib.import_module(thing.__module__), thing.__name__) is thing


@pytest.mark.parametrize("name", DATACLASSES)
def test_its_annotations_can_be_read(name: str) -> None:
    """As pydantic, cattrs and typer read them."""
    hints = typing.get_type_hints(DATACLASSES[name])
    assert {field.name for field in dataclasses.fields(DATACLASSES[name])} <= hints.keys()
    assert not any(isinstance(hint, str) for hint in hints.values())


SEGMENT = EmotionSegment(0.0, 6.0, "sad", 0.5, {"sad": 0.5, "happy": 0.25})
PREDICTION = EmotionPrediction.from_segments([SEGMENT], source="discrete", duration=6.0, model="4emotions")
NOT_FOUND = errors.AudioNotFoundError("there is no such file").named("a.wav")

INSTANCES: list[Any] = [
    Engine(Settings(model="7emotions", limits=RateLimits(requests_per_day=7))),
    Settings(emotions=("calm", "nervous"), model="mine"),
    PREDICTION,
    EmotionPrediction(error=NOT_FOUND),
    errors.PartialFailureWarning({3: NOT_FOUND}, 4),
    Engine(Settings(cache=False)).estimate([b"junk", None]),
    Segmented("a.wav", [{"start": 0, "end": 1}]),
    valence_annotate,
    ValenceAnnotator("speech", "mood", model="7emotions", segments_column="turns"),
    ValenceEmotionTransformer(api_key="secret", engine=Engine()),
    ValenceEmotionTransformer(emotions=["happy"]).fit([None]),
    ValenceEmotionPipeline(top_k=2, return_timestamps=True),
    Faults(script=["500"]),
    Policy.standard(),
]


def raised() -> list[errors.ValenceError]:
    """One error of each class that is public."""
    made: list[errors.ValenceError] = [errors.BatchError({3: NOT_FOUND}, [PREDICTION])]
    for name in errors.__all__:
        kind = getattr(errors, name)
        if issubclass(kind, errors.ValenceError) and kind is not errors.BatchError:
            made.append(kind("what is wrong, and what to do"))
    return made


@pytest.mark.parametrize("instance", [*INSTANCES, *raised()], ids=lambda made: type(made).__name__)
def test_its_pickles_name_no_private_module(instance: Any) -> None:
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        data = pickle.dumps(instance, protocol)
        assert type(instance).__module__.encode() in data
        assert b"._" not in data
        assert type(pickle.loads(data)) is type(instance)


def test_a_fitted_transformer_names_no_private_module_of_ours() -> None:
    """numpy's arrays name one of numpy's."""
    for X in (pd.DataFrame({"call": [None]}), pd.Series([None], name="call"), np.zeros((2, 80_000))):
        data = pickle.dumps(ValenceEmotionTransformer().fit(X))
        named = set(re.findall(rb"valence_integrations[.\w]*", data))
        assert named == {b"valence_integrations.sklearn"}
