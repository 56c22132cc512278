"""An audio-classification pipeline that needs neither `transformers` nor torch.

For the genuine ``transformers.pipeline``, which needs both, use `register_pipeline` and `ValenceModel`.
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
    """Register the task of ``transformers.pipeline("valence-emotion", model=ValenceModel(...))`` in this process.

    It sends and downloads nothing, and may be called repeatedly.

    Raises
    ------
    MissingDependencyError
        If `transformers` or torch is not installed.

    See Also
    --------
    ValenceModel : The model to pass.

    Examples
    --------
    ::

        from transformers import pipeline
        from valence_integrations import ValenceModel, register_pipeline

        register_pipeline()
        classify = pipeline("valence-emotion", model=ValenceModel(), top_k=2)
        classify("call.wav")
    """
    _import_registered("register_pipeline()").register()


def __getattr__(name: str) -> object:
    """Import `ValenceModel` when it is first used, because it needs torch and transformers (PEP 562)."""
    if name != "ValenceModel":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _import_registered(name).ValenceModel


def _import_registered(what: str) -> ModuleType:
    try:
        from valence_integrations.transformers import _registered
    except ImportError as error:
        raise MissingDependencyError(
            f"{what} needs transformers and torch.",
            remedy='Install them: pip install "valence-integrations[transformers]" torch',
        ) from error

    return _registered
