"""Error messages of the command line name options, never Python keywords, and are chosen by code."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import Run, clip
from valence_integrations import Engine, Settings, errors
from valence_integrations.cli.advice import error_text
from valence_integrations.cli.journal import Journal
from valence_integrations.cli.rows import Row
from valence_integrations.results import EmotionPrediction
from valence_integrations.sandbox import Sandbox

SOURCE = Path(errors.__file__).parent.parent

#: Python names of settings that are options or environment variables on the command line.
KEYWORDS = re.compile(
    r"\b(?:short_audio|long_audio|max_calls|base_url|min_confidence|on_error|audio_column|discrete_path|api_key)\b"
    r"|\b(?:concurrency|model|emotions|timeout|cache)=|\bNone\b"
)


def raised(**settings: object) -> errors.ValenceError:
    with pytest.raises(errors.ValenceError) as caught:
        _ = Settings(**settings).columns
    return caught.value


@pytest.mark.parametrize(
    ("settings", "python", "command_line"),
    [
        (
            {"max_calls": 0},
            "max_calls must be a whole number of at least 1, not 0. None is also accepted.",
            "--max-calls must be a whole number of at least 1, not 0.",
        ),
        (
            {"min_confidence": 3},
            "min_confidence must be a number between 0 and 1, not 3. None is also accepted.",
            "--min-confidence must be a number between 0 and 1, not 3.",
        ),
        (
            {"long_audio": "x"},
            "long_audio must be one of 'asynch', 'chunk', 'truncate', 'skip', 'error', not 'x'.",
            "--long must be one of 'asynch', 'chunk', 'truncate', 'skip', 'error', not 'x'.",
        ),
        (
            {"model": "mine"},
            "The emotions of the model 'mine' are unknown. "
            'Pass emotions=("angry", ...); 4emotions and 7emotions need none.',
            "The emotions of the model 'mine' are unknown. Name them: --emotions angry,happy,...",
        ),
        (
            {"discrete_path": "x"},
            "discrete_path must start with \"/\", not 'x'.",
            "VALENCE_DISCRETE_PATH must start with \"/\", not 'x'.",
        ),
        (
            {"base_url": "http://a.b"},
            "base_url must be https://: 'http://a.b' would send the key unencrypted (http:// is for 127.0.0.1).",
            "--base-url must be https://: 'http://a.b' would send the key unencrypted (http:// is for 127.0.0.1).",
        ),
        (
            {"timeout": 3},
            "timeout must be two positive numbers, (connect, read), not 3.",
            "timeout must be two positive numbers, (connect, read), not 3.",
        ),
    ],
)
def test_settings_errors_in_python_and_on_the_command_line(
    settings: dict[str, object], python: str, command_line: str
) -> None:
    error = raised(**settings)
    assert (str(error), error_text(error)) == (python, command_line)
    assert error.setting == ("emotions" if "model" in settings else next(iter(settings)))


def test_invalid_environment_variable_is_named(monkeypatch: pytest.MonkeyPatch, run: Run, clips: Path) -> None:
    monkeypatch.setenv("VALENCE_MAX_CALLS", "many")
    error = raised()
    assert (error.code, error.setting) == ("invalid_environment", "max_calls")
    message = "The environment variable VALENCE_MAX_CALLS is 'many', which is not a whole number. Change or unset it."
    assert str(error) == message
    assert run("annotate", "calls", "-o", "o.csv", "--sandbox").err == f"valence: {message}\n"


@pytest.mark.parametrize("code", errors.CODES)
def test_remedy_contains_no_python_keyword(code: str) -> None:
    """Remedies in terms of Python are replaced by remedies in terms of options."""
    remedies = {
        "audio_too_short": 'Use short_audio="pad".',
        "emotions_unknown": 'Pass emotions=("angry", ...).',
        "read_timeout": "Raise timeout=(connect, read).",
        "budget_exceeded": "Raise max_calls.",
    }
    error = errors.ItemError("it failed.", code=code, setting="max_calls", remedy=remedies.get(code, "Do this."))
    assert not KEYWORDS.search(error_text(error))
    assert error_text(error).startswith("it failed.")


def test_error_without_a_remedy_gets_none() -> None:
    assert error_text(errors.AudioTooShortError("2 s.").named("a.wav")) == "a.wav: 2 s."
    error = errors.AudioTooShortError("2 s.", remedy='Use short_audio="pad".').named("a.wav")
    assert error_text(error) == "a.wav: 2 s. Use --short pad, repeat or skip, or drop it."


def test_message_of_the_service_is_not_changed(run: Run, clips: Path, here: Path) -> None:
    message = 'use long_audio="chunk", max_calls or base_url'
    error = errors.BadRequestError(f"the service refuses the request (HTTP 422: {message}).", remedy="Check the audio.")
    assert error_text(error) == str(error)


def test_budget_error_names_the_option(run: Run, clips: Path, account: Sandbox) -> None:
    result = run("annotate", "calls", "-o", "o.csv", "-q", "--concurrency", "1", "--max-calls", "1")
    assert result.err.splitlines()[-1] == (
        "valence: the budget of 1 call is spent. Finished items are kept; raise --max-calls and run again to continue."
    )
    with Engine(Settings(max_calls=1, cache=False)) as engine, pytest.raises(errors.BudgetExceededError) as caught:
        engine.predict_many([clip(1), clip(2), clip(3)])
    assert (caught.value.code, caught.value.setting) == ("budget_exceeded", "max_calls")
    assert str(caught.value).endswith("raise max_calls and run again to go on.")


def test_failed_long_item_names_the_option(
    run: Run, here: Path, account: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poll(_: object, request_id: str) -> None:
        message = "the service could not process it."
        remedy = 'Check the audio, or try long_audio="chunk".'
        raise errors.AsynchFailedError(message, remedy=remedy, request_id=request_id)

    monkeypatch.setattr("valence_integrations._service.asynch.AsynchClient.poll", poll)
    (here / "long.wav").write_bytes(clip(1, 20.0))
    (here / "short.wav").write_bytes(clip(1))
    result = run("annotate", "short.wav", "long.wav", "-o", "o.jsonl", "-q", "--json")
    assert result.code == 1
    (failure,) = json.loads(result.out)["failures"]
    assert (failure["code"], failure["type"]) == ("asynch_failed", "AsynchFailedError")
    assert failure["error"].endswith(". Check the audio, or try --long chunk.")
    assert f"  {failure['error']}\n" in result.err
    assert json.loads((here / "o.jsonl").read_text().splitlines()[1])["emotion_error"] == failure["error"]


def test_partial_file_keeps_every_field_of_an_error(here: Path) -> None:
    row = Row("a.wav", "a.wav", {})
    error = errors.AudioNotFoundError("gone.", code="audio_open_failed", setting="model", remedy="Find it.")
    with Journal(here / "x.partial.jsonl", "service", Settings()) as journal:
        journal.add(row, EmotionPrediction(error=error.named("calls/a.wav")))
        found = journal.find(row)
    assert found is not None
    assert type(found.error) is errors.AudioNotFoundError
    assert vars(found.error) == vars(error)
    assert str(found.error) == "calls/a.wav: gone. Find it."


def test_emotion_with_the_name_of_a_column_is_rejected(run: Run, clips: Path, account: Sandbox) -> None:
    result = run("annotate", "calls", "-o", "o.csv", "--model", "mine", "--emotions", "sad,error_code")
    assert result.code == 2
    assert result.err.startswith("valence: these emotions would create two CSV columns 'emotion_error_code'.")
    assert account.calls == 0


def test_no_code_parses_messages() -> None:
    """Regular expressions are used only for file names, never for messages."""
    using = [
        str(path.relative_to(SOURCE))
        for folder in ("cli", "report")
        for path in sorted((SOURCE / folder).rglob("*.py"))
        if re.search(r"^import re$|^from re import", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert using == ["cli/audiofolder.py"]
