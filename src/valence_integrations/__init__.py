"""Valence speech-emotion recognition for scikit-learn, Hugging Face datasets and transformers-style pipelines."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from valence_integrations import errors
from valence_integrations._version import __version__

if TYPE_CHECKING:
    from valence_integrations.datasets import ValenceAnnotator, annotate_dataset, valence_annotate
    from valence_integrations.engine import Engine
    from valence_integrations.results import EmotionPrediction, EmotionSegment
    from valence_integrations.settings import Settings
    from valence_integrations.sklearn import ValenceEmotionTransformer
    from valence_integrations.transformers import ValenceEmotionPipeline, register_pipeline
    from valence_integrations.transformers import ValenceModel as ValenceModel

# Without ValenceModel, which needs torch: a star import would fail where torch is not installed.
__all__ = [
    "EmotionPrediction",
    "EmotionSegment",
    "Engine",
    "Settings",
    "ValenceAnnotator",
    "ValenceEmotionPipeline",
    "ValenceEmotionTransformer",
    "__version__",
    "annotate_dataset",
    "errors",
    "register_pipeline",
    "valence_annotate",
]

_MODULES = {
    "EmotionPrediction": "results",
    "EmotionSegment": "results",
    "Engine": "engine",
    "Settings": "settings",
    "ValenceAnnotator": "datasets",
    "ValenceEmotionPipeline": "transformers",
    "ValenceEmotionTransformer": "sklearn",
    "ValenceModel": "transformers",
    "annotate_dataset": "datasets",
    "register_pipeline": "transformers",
    "valence_annotate": "datasets",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
