from __future__ import annotations

import copy
import pickle

import pytest

from valence_integrations import EmotionPrediction, errors

CLASSES = [getattr(errors, name) for name in errors.__all__]

RICH = [
    errors.AudioTooShortError("short", min_duration=4.5, actual_duration=2.5),
    errors.AudioTooLongError("long", max_duration=15.0, actual_duration=20.0),
    errors.FileTooLargeError("large", max_size_mb=6.0, actual_size_mb=7.5),
    errors.BadRequestError("bad", status_code=422, error_code="ODD"),
    errors.RateLimitError("many", status_code=429, retry_after=3.0),
    errors.ServerError("down", status_code=503, retry_after=1.0),
    errors.NetworkError("cut", sent=False),
    errors.AsynchTimeoutError("late", request_id="r-1"),
    errors.UnreadableAudioError("odd").named("a.wav"),
    errors.AudioNotFoundError("gone").named("a.wav"),
    errors.BatchError({3: errors.UnreadableAudioError("odd")}, [EmotionPrediction(), EmotionPrediction(emotion="sad")]),
    errors.MissingDependencyError.of("Reading M4A", "av"),
]


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_is_one_of_ours(cls: type[Exception]) -> None:
    assert issubclass(cls, errors.ValenceError)
    assert cls.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize("error", RICH, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("travel", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy])
def test_survives_pickling_with_all_it_carries(error: errors.ValenceError, travel) -> None:
    back = travel(error)
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert {k: str(v) for k, v in vars(back).items()} == {k: str(v) for k, v in vars(error).items()}


def test_an_item_error_names_its_item_once() -> None:
    error = errors.UnreadableAudioError("it is damaged.").named("a.wav").named("b.wav")
    assert str(error) == "a.wav: it is damaged."
    assert error.item == "a.wav"


def test_batch_error_lists_every_failed_index_and_a_remedy() -> None:
    failed = {index: errors.UnreadableAudioError("odd").named(f"{index}.wav") for index in range(0, 60, 2)}
    message = str(errors.BatchError(failed, [EmotionPrediction()] * 60))
    assert message.startswith("30 of 60 items failed")
    assert "item 0: 0.wav: odd" in message
    assert all(str(index) in message for index in failed)
    assert 'on_error="null"' in message


def test_standard_bases() -> None:
    assert issubclass(errors.SettingsError, ValueError)
    assert issubclass(errors.UnreadableAudioError, ValueError)
    assert issubclass(errors.AudioNotFoundError, FileNotFoundError)
    assert issubclass(errors.MissingDependencyError, ImportError)
    assert 'pip install "valence-integrations[av]"' in str(errors.MissingDependencyError.of("Reading M4A", "av"))
