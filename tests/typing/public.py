"""The public face as type checkers see it: `make check` has mypy and pyright read this file, and nothing runs it.

A call that must be refused carries an ignore, which is itself an error where nothing is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import assert_type

from valence_integrations import (
    EmotionPrediction,
    EmotionSegment,
    Engine,
    Settings,
    ValenceAnnotator,
    ValenceEmotionPipeline,
    ValenceEmotionTransformer,
    __version__,
    annotate_dataset,
    errors,
    register_pipeline,
    valence_annotate,
)
from valence_integrations.engine import Estimate, Stats
from valence_integrations.report import write_report
from valence_integrations.sandbox import Faults, Policy, RequestRecord, Sandbox
from valence_integrations.settings import RateLimits

version: str = __version__


def settings() -> None:
    made = Settings(
        model="7emotions",
        short_audio="repeat",
        long_audio="chunk",
        limits=RateLimits(requests_per_second=50, requests_per_day=None),
        cache=Path("answers"),
        min_confidence=0.38,
    )
    assert_type(made.columns, tuple[str, ...])
    assert_type(Settings.from_env(max_calls=10), Settings)
    Settings(short_audio="louder")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Settings(latency=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    made.model = "4emotions"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def engine(waveform: npt.NDArray[np.float32]) -> None:
    with Engine(Settings()) as engine:
        assert_type(engine, Engine)
        assert_type(engine.predict((waveform, 16_000)), EmotionPrediction)
        assert_type(engine.predict_many([waveform, "clip.wav", b"RIFF", None]), list[EmotionPrediction])
        assert_type(engine.iter_predict(iter([waveform]), on_error="null"), Iterator[EmotionPrediction])
        assert_type(engine.estimate([waveform]), Estimate)
        assert_type(engine.stats, Stats)
        assert_type(engine.stats.calls, int)
        engine.predict_many([], on_error="ignore")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def results(prediction: EmotionPrediction) -> None:
    assert_type(prediction.emotion, str | None)
    assert_type(prediction.confidence, float)
    assert_type(prediction.scores, dict[str, float])
    assert_type(prediction.segments, tuple[EmotionSegment, ...])
    assert_type(prediction.error, errors.ValenceError | None)
    assert_type([(segment.start, segment.emotion) for segment in prediction.segments], list[tuple[float, str | None]])
    assert_type(prediction.to_textgrid(), str)
    write_report("report.html", [(Path("clip.wav"), prediction)], settings=Settings())


def failures() -> None:
    try:
        Engine().predict("clip.wav")
    except errors.BatchError as error:
        assert_type(error.errors, dict[int, errors.ValenceError])
    except (errors.ItemError, errors.JobError) as error:
        assert_type(str(error), str)


def adapters(clips: list[str]) -> None:
    transformer = ValenceEmotionTransformer(output="both", on_error="null", engine=Engine())
    assert_type(transformer.fit(clips), ValenceEmotionTransformer)
    assert_type(transformer.get_feature_names_out(), npt.NDArray[np.object_])
    ValenceEmotionTransformer(output="probabilities")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    assert_type(valence_annotate, ValenceAnnotator)
    assert_type(annotate_dataset(clips, prefix="voice"), list[str])

    pipeline = ValenceEmotionPipeline(top_k=1)
    answer: list[dict[str, Any]] = pipeline("clip.wav")
    assert_type(answer[0]["label"], Any)
    assert_type(register_pipeline(), None)


def sandbox() -> None:
    with Sandbox(latency=(0.1, 0.5), faults=Faults(script=["500"]), policy=Policy.standard()) as running:
        assert_type(running, Sandbox)
        assert_type(running.url, str)
        assert_type(running.calls, int)
        assert_type(running.requests, list[RequestRecord])
    Sandbox(answers="dead")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
