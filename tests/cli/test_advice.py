"""What the command line says of errors: its own options, never Python's keywords, without looking at any words."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import Run, clip
from valence_integrations import Engine, Settings, errors
from valence_integrations.cli.advice import described
from valence_integrations.cli.journal import Journal
from valence_integrations.cli.rows import Row
from valence_integrations.results import EmotionPrediction
from valence_integrations.sandbox import Sandbox

SOURCE = Path(errors.__file__).parent.parent

#: How Python names the settings that are options or environment variables here.
KEYWORDS = re.compile(
    r"\b(?:short_audio|long_audio|max_calls|base_url|min_confidence|on_error|audio_column|discrete_path|api_key)\b"
    r"|\b(?:concurrency|model|emotions|timeout|cache)=|\bNone\b"
)


def raised(**settings: object) -> errors.ValenceError:
    with pytest.raises(errors.ValenceError) as caught:
        _ = Settings(**settings).columns
    return caught.value


@pytest.mark.parametrize(
    ("settings", "python", "here"),
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
def test_settings_in_both_languages(settings: dict[str, object], python: str, here: str) -> None:
    error = raised(**settings)
    assert (str(error), described(error)) == (python, here)
    assert error.setting == ("emotions" if "model" in settings else next(iter(settings)))


def test_an_environment_variable_is_named_as_it_is(monkeypatch: pytest.MonkeyPatch, run: Run, clips: Path) -> None:
    monkeypatch.setenv("VALENCE_MAX_CALLS", "many")
    error = raised()
    assert (error.code, error.setting) == ("invalid_environment", "max_calls")
    said = "The environment variable VALENCE_MAX_CALLS is 'many', which is not a whole number. Change or unset it."
    assert str(error) == said
    assert run("annotate", "calls", "-o", "o.csv", "--sandbox").err == f"valence: {said}\n"


@pytest.mark.parametrize("code", errors.CODES)
def test_no_remedy_has_a_keyword_of_python(code: str) -> None:
    """The library's remedy of each code, as Python words it, is said in options."""
    remedies = {
        "audio_too_short": 'Use short_audio="pad".',
        "emotions_unknown": 'Pass emotions=("angry", ...).',
        "read_timeout": "Raise timeout=(connect, read).",
        "budget_exceeded": "Raise max_calls.",
    }
    error = errors.ItemError("it failed.", code=code, setting="max_calls", remedy=remedies.get(code, "Do this."))
    assert not KEYWORDS.search(described(error))
    assert described(error).startswith("it failed.")


def test_an_error_without_a_remedy_gets_none() -> None:
    assert described(errors.AudioTooShortError("2 s.").named("a.wav")) == "a.wav: 2 s."
    told = errors.AudioTooShortError("2 s.", remedy='Use short_audio="pad".').named("a.wav")
    assert described(told) == "a.wav: 2 s. Use --short pad, repeat or skip, or drop it."


def test_the_service_s_own_words_are_never_changed(run: Run, clips: Path, here: Path) -> None:
    said = 'use long_audio="chunk", max_calls or base_url'
    error = errors.BadRequestError(f"the service refuses the request (HTTP 422: {said}).", remedy="Check the audio.")
    assert described(error) == str(error)


def test_of_a_budget(run: Run, clips: Path, account: Sandbox) -> None:
    ended = run("annotate", "calls", "-o", "o.csv", "-q", "--concurrency", "1", "--max-calls", "1")
    assert ended.err.splitlines()[-1] == (
        "valence: the budget of 1 call is spent. What is done is kept; raise --max-calls and run again to go on."
    )
    with Engine(Settings(max_calls=1, cache=False)) as engine, pytest.raises(errors.BudgetExceededError) as caught:
        engine.predict_many([clip(1), clip(2), clip(3)])
    assert (caught.value.code, caught.value.setting) == ("budget_exceeded", "max_calls")
    assert str(caught.value).endswith("raise max_calls and run again to go on.")


def test_of_a_long_item_that_fails(run: Run, here: Path, account: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def poll(_: object, request_id: str) -> None:
        said = "the service could not process it."
        remedy = 'Check the audio, or try long_audio="chunk".'
        raise errors.AsynchFailedError(said, remedy=remedy, request_id=request_id)

    monkeypatch.setattr("valence_integrations._service.asynch.AsynchClient.poll", poll)
    (here / "long.wav").write_bytes(clip(1, 20.0))
    (here / "short.wav").write_bytes(clip(1))
    ended = run("annotate", "short.wav", "long.wav", "-o", "o.jsonl", "-q", "--json")
    assert ended.code == 1
    (failure,) = json.loads(ended.out)["failures"]
    assert (failure["code"], failure["type"]) == ("asynch_failed", "AsynchFailedError")
    assert failure["error"].endswith(". Check the audio, or try --long chunk.")
    assert f"  {failure['error']}\n" in ended.err
    assert json.loads((here / "o.jsonl").read_text().splitlines()[1])["emotion_error"] == failure["error"]


def test_the_partial_file_keeps_all_of_an_error(here: Path) -> None:
    row = Row("a.wav", "a.wav", {})
    error = errors.AudioNotFoundError("gone.", code="audio_open_failed", setting="model", remedy="Find it.")
    with Journal(here / "x.partial.jsonl", "service", Settings()) as journal:
        journal.add(row, EmotionPrediction(error=error.named("calls/a.wav")))
        found = journal.find(row)
    assert found is not None
    assert type(found.error) is errors.AudioNotFoundError
    assert vars(found.error) == vars(error)
    assert str(found.error) == "calls/a.wav: gone. Find it."


def test_an_emotion_with_the_name_of_a_column(run: Run, clips: Path, account: Sandbox) -> None:
    ended = run("annotate", "calls", "-o", "o.csv", "--model", "mine", "--emotions", "sad,error_code")
    assert ended.code == 2
    assert ended.err.startswith("valence: these emotions would give a CSV file two columns 'emotion_error_code'.")
    assert account.calls == 0


def test_nothing_reads_our_own_english() -> None:
    """Regular expressions are for names of files only, and no message is searched for words."""
    using = [
        str(path.relative_to(SOURCE))
        for folder in ("cli", "report")
        for path in sorted((SOURCE / folder).rglob("*.py"))
        if re.search(r"^import re$|^from re import", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert using == ["cli/audiofolder.py"]
