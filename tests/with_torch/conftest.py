"""Shared by the tests that need torch: a sandbox, and a tiny genuine audio classifier that needs no download."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import transformers
from transformers import Pipeline, Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForSequenceClassification

from valence_integrations import register_pipeline
from valence_integrations.sandbox import Sandbox

EMOTIONS = ("angry", "happy", "neutral", "sad")


@pytest.fixture(scope="session")
def service() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture(autouse=True)
def environment(service: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALENCE_API_BASE_URL", service.url)
    monkeypatch.setenv("VALENCE_API_KEY", service.api_key)
    register_pipeline()


@pytest.fixture(scope="session")
def genuine() -> Pipeline:
    """Make an `AudioClassificationPipeline` with a Wav2Vec2 of a few thousand random weights."""
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(16, 16),
        conv_stride=(10, 8),
        conv_kernel=(10, 8),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        classifier_proj_size=8,
        id2label=dict(enumerate(EMOTIONS)),
        label2id={emotion: number for number, emotion in enumerate(EMOTIONS)},
    )
    model = Wav2Vec2ForSequenceClassification(config).eval()
    return transformers.pipeline(
        "audio-classification", model=model, feature_extractor=Wav2Vec2FeatureExtractor(), device=-1
    )
