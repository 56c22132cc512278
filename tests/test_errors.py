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

CLASSES: list[type[errors.ValenceError]] = [
    getattr(errors, name) for name in errors.__all__ if not name.endswith("Warning")
]
PAGE = Path(__file__).parent.parent / "docs" / "errors.md"
SOURCE = Path(valence_integrations.__file__).parent

#: Keyword arguments that a class accepts in addition to the common ones.
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

COPIES: dict[str, Callable[[Any], Any]] = {
    **{f"pickle {protocol}": lambda error, p=protocol: pickle.loads(pickle.dumps(error, p)) for protocol in (0, 2, 5)},
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "dill": lambda error: dill.loads(dill.dumps(error)),
}


def make_error(cls: type[errors.ValenceError], *, all_fields: bool) -> errors.ValenceError:
    """Create an error with every field set, or with only a message."""
    if cls is errors.BatchError:
        failed = {3: errors.UnreadableAudioError("odd").named("b.wav")}
        return errors.BatchError(failed, [EmotionPrediction(), EmotionPrediction(emotion="sad")] if all_fields else ())
    if not all_fields:
        return cls("something happened.")
    fields: Any = FIELDS.get(cls.__name__, {})
    error = cls("something happened.", code="other", setting="model", remedy="Do this.", **fields)
    return error.named("a.wav") if isinstance(error, errors.ItemError) else error


def comparable(value: object) -> object:
    """Convert to comparable values: exceptions compare by identity, and NaN is unequal to itself."""
    if isinstance(value, errors.ValenceError):
        return (type(value), str(value), comparable(vars(value)))
    if isinstance(value, EmotionPrediction):
        return repr(value)
    if isinstance(value, dict):
        return {key: comparable(part) for key, part in value.items()}
    return [comparable(part) for part in value] if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_is_a_valence_error(cls: type[Exception]) -> None:
    assert issubclass(cls, errors.ValenceError)
    assert cls.__name__ in (errors.__doc__ or "")
    assert cls.__module__ == "valence_integrations.errors"


@pytest.mark.parametrize("copy_error", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("all_fields", [False, True], ids=["message only", "all fields"])
@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_pickle_and_copy_keep_every_field(
    cls: type[errors.ValenceError], all_fields: bool, copy_error: Callable[[Any], Any]
) -> None:
    error = make_error(cls, all_fields=all_fields)
    copied = copy_error(error)
    assert type(copied) is cls
    assert (str(copied), copied.headline) == (str(error), error.headline)
    for name in ("code", "setting", "message", "remedy", "args", *vars(error), *FIELDS.get(cls.__name__, ())):
        assert comparable(getattr(copied, name)) == comparable(getattr(error, name)), name
    assert comparable(vars(copied)) == comparable(vars(error))
    assert getattr(copied, "item", None) == ("a.wav" if all_fields and issubclass(cls, errors.ItemError) else None)


def test_error_from_a_worker_process_keeps_every_field() -> None:
    (copied,) = joblib.Parallel(n_jobs=2)(
        joblib.delayed(copy.copy)(make_error(cls, all_fields=True)) for cls in (errors.AudioTooShortError,)
    )
    assert str(copied) == "a.wav: something happened. Do this."
    assert (copied.code, copied.setting, copied.min_duration) == ("other", "model", 4.5)


class TestText:
    def test_text_is_message_and_remedy(self) -> None:
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

    def test_item_error_names_its_item_once(self) -> None:
        error = errors.UnreadableAudioError("it is damaged.", remedy="Copy it.").named("a.wav").named("b.wav")
        assert str(error) == "a.wav: it is damaged. Copy it."
        assert (error.headline, error.message, error.item) == ("a.wav: it is damaged.", "it is damaged.", "a.wav")

    def test_text_starts_with_the_invalid_setting(self) -> None:
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
        assert message.endswith('\nFix or drop these items, or pass on_error="null" to get empty rows for them.')


def test_standard_base_classes() -> None:
    assert issubclass(errors.SettingsError, ValueError)
    assert issubclass(errors.UnreadableAudioError, ValueError)
    assert issubclass(errors.AudioNotFoundError, FileNotFoundError)
    assert issubclass(errors.MissingDependencyError, ImportError)
    assert 'pip install "valence-integrations[av]"' in str(errors.MissingDependencyError.of("Reading M4A", "av"))


def test_batch_error_counts_its_codes() -> None:
    failed = [errors.AudioNotFoundError("x"), errors.ServerError("x"), errors.AudioNotFoundError("x")]
    batch = errors.BatchError(dict(enumerate(failed)))
    assert batch.codes == Counter(audio_not_found=2, server_error=1)
    assert (batch.code, batch.setting) == ("batch_failed", "on_error")


class TestCodes:
    """Class codes, raised codes, `CODES` and the table in docs/errors.md agree."""

    def test_codes_are_snake_case_and_unique(self) -> None:
        assert len(set(errors.CODES)) == len(errors.CODES)
        assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in errors.CODES)

    def test_every_class_has_a_code(self) -> None:
        assert {cls.code for cls in CLASSES} <= set(errors.CODES)
        grouping = {"ValenceError", "ItemError", "AudioError", "CallError", "AsynchError", "JobError"}
        own = [cls.code for cls in CLASSES if cls.__name__ not in grouping]
        assert len(set(own)) == len(own)
        assert {cls.code for cls in CLASSES if cls.__name__ in grouping} == {"other"}

    def test_raised_codes_and_listed_codes_are_the_same(self) -> None:
        used = {code for path in SOURCE.rglob("*.py") for code in _codes_in(path)}
        by_class = {cls.code for cls in CLASSES}
        assert used <= set(errors.CODES)
        assert set(errors.CODES) == used | by_class

    def test_documentation_lists_every_code(self) -> None:
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
    """Yield the codes in ``code="..."``, ``code: Code = ...`` and ``cast("Code", ...)`` expressions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case (
                ast.keyword(arg="code", value=value)
                | ast.AnnAssign(annotation=ast.Name(id="Code"), value=ast.expr() as value)
                | ast.Call(func=ast.Name(id="cast"), args=[ast.Constant(value="Code"), value])
            ):
                texts = [part.value for part in ast.walk(value) if isinstance(part, ast.Constant)]
                yield from (text for text in texts if isinstance(text, str) and re.fullmatch(r"[a-z]+(_[a-z]+)+", text))
