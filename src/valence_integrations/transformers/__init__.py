"""Called like ``transformers.pipeline("audio-classification")``; needs neither `transformers` nor torch.

For the genuine ``transformers.pipeline``, which does need them, there are `register_pipeline` and `ValenceModel`.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from valence_integrations.errors import MissingDependencyError
from valence_integrations.transformers._pipeline import ValenceEmotionPipeline

if TYPE_CHECKING:
    from valence_integrations.transformers._registered import ValenceModel as ValenceModel

__all__ = ["ValenceEmotionPipeline", "register_pipeline"]

ValenceEmotionPipeline.__module__ = __name__


def register_pipeline() -> None:
    """Make ``transformers.pipeline("valence-emotion", model=ValenceModel(...))`` work, in this process.

    Nothing is sent or fetched, and it may be called again.

    Raises
    ------
    MissingDependencyError
        If `transformers` or torch is not installed.

    See Also
    --------
    ValenceModel : The model to give.

    Examples
    --------
    ::

        from transformers import pipeline
        from valence_integrations import ValenceModel, register_pipeline

        register_pipeline()
        classify = pipeline("valence-emotion", model=ValenceModel(), top_k=2)
        classify("call.wav")
    """
    _genuine("register_pipeline()").register()


def __getattr__(name: str) -> object:
    """Make `ValenceModel` when it is first used: it is made of torch's and transformers' classes (PEP 562)."""
    if name != "ValenceModel":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _genuine(name).ValenceModel


def _genuine(what: str) -> ModuleType:
    try:
        from valence_integrations.transformers import _registered
    except ImportError as error:
        raise MissingDependencyError(
            f"{what} needs transformers and torch.",
            remedy='Install them: pip install "valence-integrations[transformers]" torch',
        ) from error

    return _registered
