"""`ValenceEmotionTransformer`: audio columns in, emotion columns out, in scikit-learn's pipelines."""

from __future__ import annotations

from valence_integrations.sklearn._transformer import ValenceEmotionTransformer

__all__ = ["ValenceEmotionTransformer"]

ValenceEmotionTransformer.__module__ = __name__
