"""Rows are never wrong and never silent: warnings of failed items, parameters, and dicts that nobody shares."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import clips, voice
from valence_integrations import Engine, Settings, ValenceEmotionPipeline, errors
from valence_integrations.engine import Segmented, shared_engine, warn_unknown_emotions
from valence_integrations.errors import PartialFailureWarning
from valence_integrations.results import EmotionPrediction, EmotionSegment

TEXT = "2 of 4 items failed: 1 audio_not_found, 1 audio_format_unknown; first: none.wav: "


def mixed() -> list[object]:
    first, second = clips(2)
    return [first, "none.wav", second, b"junk junk junk"]


def test_failures_under_null_warn_once_at_the_end(engine: Engine) -> None:
    with pytest.warns(PartialFailureWarning) as caught:
        found = engine.predict_many(mixed(), on_error="null")
    assert len(caught) == 1
    assert caught[0].filename == __file__
    warning = caught[0].message
    assert isinstance(warning, PartialFailureWarning)
    assert str(warning).startswith(TEXT)
    assert warning.errors == {1: found[1].error, 3: found[3].error}
    assert warning.codes == {"audio_not_found": 1, "audio_format_unknown": 1}
    assert str(pickle.loads(pickle.dumps(warning))) == str(warning)


def test_a_lazy_job_warns_after_its_last_item(engine: Engine) -> None:
    predictions = engine.iter_predict(mixed(), on_error="null")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(4):
            next(predictions)
    with pytest.warns(PartialFailureWarning, match=r"^2 of 4 items failed") as caught:
        assert list(predictions) == []
    assert caught[0].filename == __file__


def test_no_warning_without_failures_or_with_an_exception(engine: Engine) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine.predict_many([clips(1)[0], None], on_error="null")
        with pytest.raises(errors.BatchError):
            engine.predict_many(mixed())
        next(engine.iter_predict(mixed(), on_error="null"))


def test_a_pipeline_warns_of_failures(engine: Engine) -> None:
    classify = ValenceEmotionPipeline(engine=engine, on_error="null")
    with pytest.warns(PartialFailureWarning, match=r"^1 of 1 item failed: 1 audio_not_found; first: none.wav:"):
        assert classify("none.wav") == []
    with pytest.warns(PartialFailureWarning, match="^2 of 4"):
        classify(mixed())
    with pytest.warns(PartialFailureWarning, match="^2 of 4"):
        list(classify(iter(mixed())))


def test_the_class_is_exported() -> None:
    assert errors.PartialFailureWarning is PartialFailureWarning
    assert issubclass(PartialFailureWarning, UserWarning)
    assert PartialFailureWarning.__module__ == "valence_integrations.errors"


@pytest.mark.parametrize("ahead", [0, -1, 1.5, "x", True, None])
def test_ahead_is_checked(ahead: Any, engine: Engine) -> None:
    with pytest.raises(errors.SettingsError, match=r"^ahead must be a whole number of at least 1"):
        engine.iter_predict([], ahead=ahead)


def test_other_parameters_are_checked(engine: Engine) -> None:
    for progress in ("yes", 1, None):
        with pytest.raises(errors.SettingsError, match=r"^progress must be True or False"):
            engine.predict_many([], progress=progress)  # type: ignore[arg-type]
    with pytest.raises(errors.SettingsError, match=r"^on_error must be one of"):
        engine.predict_many([], on_error=["null"])  # type: ignore[arg-type]
    for settings in ({}, "chunk", 3):
        with pytest.raises(errors.SettingsError, match=r"^settings must be a Settings or None"):
            Engine(settings)  # type: ignore[arg-type]


def dicts_of(prediction: EmotionPrediction) -> list[dict[str, float]]:
    return [prediction.scores, *(segment.scores for segment in prediction.segments)]


@pytest.mark.parametrize(
    "items", [[voice(5.0)] * 3, [voice(5.0), None, Segmented(voice(5.0), [{"start": 0, "end": 5}])]]
)
def test_duplicates_share_no_dict(items: list[object], engine: Engine) -> None:
    found = [one for one in [*engine.predict_many(items), engine.predict(items[0])] if one.segments]
    before = dict(found[0].scores)
    dicts = [each for one in found for each in dicts_of(one)]
    assert len(dicts) >= 6
    assert len({id(each) for each in dicts}) == len(dicts)
    found[0].scores.clear()
    found[0].segments[0].scores["happy"] = 99.0
    assert all(one.scores == one.segments[0].scores == before for one in found[1:])
    assert engine.predict(items[0]).scores == before


def test_values_do_not_keep_the_dicts_that_they_are_made_from() -> None:
    scores = {"sad": 0.5}
    segment = EmotionSegment(0.0, 5.0, "sad", 0.5, scores)
    whole, two = EmotionPrediction.from_segments([segment]), EmotionPrediction("sad", 0.5, scores)
    scores["sad"] = segment.scores["sad"] = 9.0
    assert (whole.scores, two.scores) == ({"sad": 0.5}, {"sad": 0.5})


def test_another_cache_directory_is_another_shared_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = shared_engine(Settings())
    monkeypatch.setenv("VALENCE_CACHE_DIR", str(tmp_path / "other"))
    second = shared_engine(Settings())
    assert second is not first
    assert shared_engine(Settings()) is second
    assert shared_engine(Settings(cache=tmp_path / "x")) is shared_engine(Settings(cache=str(tmp_path / "x")))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST"])
def test_one_service_under_several_names_is_paid_once(host: str, sandbox: Any) -> None:
    file = clips(1)[0]
    Engine(Settings(base_url=sandbox.url, api_key=sandbox.api_key)).predict(file)
    other = sandbox.url.replace("127.0.0.1", host).replace("http", "HTTP") + "//"
    found = Engine(Settings(base_url=other, api_key=sandbox.api_key)).predict(file)
    assert (found.cached, sandbox.calls) == (True, 1)


def answered(emotion: str, **scores: float) -> EmotionPrediction:
    return EmotionPrediction(emotion, scores[emotion], scores, source="discrete")


def test_a_column_that_no_answer_names_is_warned_of() -> None:
    settings = Settings(emotions=("happy", "hapy", "sad"))
    answers = [answered("sad", sad=0.8, happy=0.1), answered("happy", sad=0.1, happy=0.9)]
    with pytest.warns(UserWarning, match=r"^No answer names hapy: these columns are 0\. The answers name happy, sad;"):
        warn_unknown_emotions(answers, settings)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_unknown_emotions([answered("sad", sad=0.8)], Settings(emotions=("happy", "sad")))
        warn_unknown_emotions([EmotionPrediction()], settings)


def test_an_emotion_without_a_column_is_warned_of() -> None:
    with pytest.warns(UserWarning, match=r"without a column: calm\. Pass emotions=\('angry', .*'calm'\)"):
        warn_unknown_emotions([answered("calm", calm=0.8, sad=0.1)], Settings())
