from __future__ import annotations

import ast
import copy
import pickle
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dill
import joblib
import pytest

import valence_integrations
from valence_integrations import EmotionPrediction, errors

CLASSES: list[type[errors.ValenceError]] = [getattr(errors, name) for name in errors.__all__]
PAGE = Path(__file__).parent.parent / "docs" / "errors.md"
SOURCE = Path(valence_integrations.__file__).parent

#: Keywords that a class takes beside those of all.
FIELDS: dict[str, dict[str, object]] = {
    "AudioTooShortError": {"min_duration": 4.5, "actual_duration": 2.5},
    "AudioTooLongError": {"max_duration": 15.0, "actual_duration": 20.0},
    "FileTooLargeError": {"max_size_mb": 6.0, "actual_size_mb": 7.5},
    "CallError": {"status_code": 418, "error_code": "ODD"},
    "BadRequestError": {"status_code": 422, "error_code": "ODD"},
    "RateLimitError": {"status_code": 429, "error_code": "MANY", "retry_after": 3.0},
    "ServerError": {"status_code": 503, "error_code": None, "retry_after": 1.0},
    "NetworkError": {"sent": False},
    "ReadTimeoutError": {"status_code": None},
    "InvalidResponseError": {"status_code": 200},
    "AsynchError": {"request_id": "r-1"},
    "AsynchFailedError": {"request_id": "r-1"},
    "AsynchExpiredError": {"request_id": "r-1"},
    "AsynchTimeoutError": {"request_id": "r-1"},
}

TRAVELS: dict[str, Callable[[Any], Any]] = {
    **{f"pickle {protocol}": lambda error, p=protocol: pickle.loads(pickle.dumps(error, p)) for protocol in (0, 2, 5)},
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "dill": lambda error: dill.loads(dill.dumps(error)),
}


def made(cls: type[errors.ValenceError], *, rich: bool) -> errors.ValenceError:
    """Make an error with all it can carry, or with next to nothing."""
    if cls is errors.BatchError:
        failed = {3: errors.UnreadableAudioError("odd").named("b.wav")}
        return errors.BatchError(failed, [EmotionPrediction(), EmotionPrediction(emotion="sad")] if rich else ())
    if not rich:
        return cls("something happened.")
    fields: Any = FIELDS.get(cls.__name__, {})
    error = cls("something happened.", code="other", setting="model", remedy="Do this.", **fields)
    return error.named("a.wav") if isinstance(error, errors.ItemError) else error


def plain(value: object) -> object:
    """Exceptions do not compare by value, and NaN does not compare at all."""
    if isinstance(value, errors.ValenceError):
        return (type(value), str(value), plain(vars(value)))
    if isinstance(value, EmotionPrediction):
        return repr(value)
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_is_one_of_ours(cls: type[Exception]) -> None:
    assert issubclass(cls, errors.ValenceError)
    assert cls.__name__ in (errors.__doc__ or "")
    assert cls.__module__ == "valence_integrations.errors"


@pytest.mark.parametrize("travel", TRAVELS.values(), ids=TRAVELS)
@pytest.mark.parametrize("rich", [False, True], ids=["plain", "rich"])
@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_nothing_is_lost_on_the_way(cls: type[errors.ValenceError], rich: bool, travel: Callable[[Any], Any]) -> None:
    error = made(cls, rich=rich)
    back = travel(error)
    assert type(back) is cls
    assert (str(back), back.headline) == (str(error), error.headline)
    for name in ("code", "setting", "message", "remedy", "args", *vars(error), *FIELDS.get(cls.__name__, ())):
        assert plain(getattr(back, name)) == plain(getattr(error, name)), name
    assert plain(vars(back)) == plain(vars(error))
    assert getattr(back, "item", None) == ("a.wav" if rich and issubclass(cls, errors.ItemError) else None)


def test_errors_of_a_worker_process_keep_all() -> None:
    (back,) = joblib.Parallel(n_jobs=2)(
        joblib.delayed(copy.copy)(made(cls, rich=True)) for cls in (errors.AudioTooShortError,)
    )
    assert str(back) == "a.wav: something happened. Do this."
    assert (back.code, back.setting, back.min_duration) == ("other", "model", 4.5)


class TestText:
    def test_message_then_remedy(self) -> None:
        error = errors.ServerError("the service failed.", remedy="Try again later.")
        assert str(error) == "the service failed. Try again later."
        assert (error.message, error.remedy, error.headline) == (
            "the service failed.",
            "Try again later.",
            "the service failed.",
        )
        assert error.args == ("the service failed.",)
        assert str(errors.ServerError("the service failed.")) == "the service failed."
        assert str(errors.ValenceError()) == ""

    def test_an_item_error_names_its_item_once(self) -> None:
        error = errors.UnreadableAudioError("it is damaged.", remedy="Copy it.").named("a.wav").named("b.wav")
        assert str(error) == "a.wav: it is damaged. Copy it."
        assert (error.headline, error.message, error.item) == ("a.wav: it is damaged.", "it is damaged.", "a.wav")

    def test_an_invalid_setting_is_named_in_front(self) -> None:
        error = errors.SettingsError("must be a number.", setting="max_calls")
        assert (str(error), error.message) == ("max_calls must be a number.", "must be a number.")
        assert str(errors.SettingsError("There is no column.", code="column_not_found", setting="x")) == (
            "There is no column."
        )
        assert str(errors.SettingsError("something else.")) == "something else."

    def test_batch_error_lists_every_failed_index_and_a_remedy(self) -> None:
        failed = {index: errors.UnreadableAudioError("odd").named(f"{index}.wav") for index in range(0, 60, 2)}
        message = str(errors.BatchError(failed, [EmotionPrediction()] * 60))
        assert message.startswith("30 of 60 items failed")
        assert "item 0: 0.wav: odd" in message
        assert all(str(index) in message for index in failed)
        assert message.endswith('\nMend or drop these items, or pass on_error="null" to get empty rows for them.')


def test_standard_bases() -> None:
    assert issubclass(errors.SettingsError, ValueError)
    assert issubclass(errors.UnreadableAudioError, ValueError)
    assert issubclass(errors.AudioNotFoundError, FileNotFoundError)
    assert issubclass(errors.MissingDependencyError, ImportError)
    assert 'pip install "valence-integrations[av]"' in str(errors.MissingDependencyError.of("Reading M4A", "av"))


def test_a_batch_counts_its_codes() -> None:
    failed = [errors.AudioNotFoundError("x"), errors.ServerError("x"), errors.AudioNotFoundError("x")]
    batch = errors.BatchError(dict(enumerate(failed)))
    assert batch.codes == Counter(audio_not_found=2, server_error=1)
    assert (batch.code, batch.setting) == ("batch_failed", "on_error")


class TestCodes:
    """The codes of the classes, those that are raised, `CODES` and the table in docs/errors.md are the same."""

    def test_they_are_snake_case_and_differ(self) -> None:
        assert len(set(errors.CODES)) == len(errors.CODES)
        assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in errors.CODES)

    def test_every_class_has_one(self) -> None:
        assert {cls.code for cls in CLASSES} <= set(errors.CODES)
        grouping = {"ValenceError", "ItemError", "AudioError", "CallError", "AsynchError", "JobError"}
        own = [cls.code for cls in CLASSES if cls.__name__ not in grouping]
        assert len(set(own)) == len(own)
        assert {cls.code for cls in CLASSES if cls.__name__ in grouping} == {"other"}

    def test_every_code_that_is_raised_is_listed_and_every_listed_one_is_raised(self) -> None:
        used = {code for path in SOURCE.rglob("*.py") for code in _codes_in(path)}
        by_class = {cls.code for cls in CLASSES}
        assert used <= set(errors.CODES)
        # Raised where calls are made.
        finer = {"endpoint_not_found", "network_unreachable", "tls_failed", "connection_broken"}
        assert set(errors.CODES) - used - by_class <= finer

    def test_the_page_lists_them_all(self) -> None:
        rows = re.findall(
            r"^\| `(\w+)` \| `(\w+)` \| .+? \| (?:`(\w+)`(?:, `\w+`)*|—) \| .+ \|$", PAGE.read_text(), re.MULTILINE
        )
        assert [code for code, _, _ in rows] == list(errors.CODES)
        classes = {cls.__name__: cls for cls in CLASSES}
        for code, name, setting in rows:
            if classes[name].code == code:
                assert setting == (classes[name].setting or setting), code
        assert {cls.code: cls.__name__ for cls in reversed(CLASSES) if cls.code != "other"}.items() <= {
            code: name for code, name, _ in rows
        }.items()


def _codes_in(path: Path) -> Iterator[str]:
    """Every code in a ``code="..."`` of a call, in a ``code: Code = ...`` and in a ``cast("Code", ...)``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case (
                ast.keyword(arg="code", value=value)
                | ast.AnnAssign(annotation=ast.Name(id="Code"), value=ast.expr() as value)
                | ast.Call(func=ast.Name(id="cast"), args=[ast.Constant(value="Code"), value])
            ):
                texts = [part.value for part in ast.walk(value) if isinstance(part, ast.Constant)]
                yield from (text for text in texts if isinstance(text, str) and re.fullmatch(r"[a-z]+(_[a-z]+)+", text))
