from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from valence_integrations import Settings, errors
from valence_integrations.settings import RateLimits, changed_settings, given_key

KEY = "sk-very-secret"


def test_default_settings() -> None:
    settings = Settings()
    assert settings.base_url == "https://api.getvalenceai.com"
    assert settings.discrete_path == "/emotionprediction"
    assert (settings.model, settings.payload, settings.sampling_rate) == ("4emotions", "multipart", 16_000)
    assert (settings.short_audio, settings.long_audio) == ("pad", "asynch")
    assert (settings.concurrency, settings.limits, settings.timeout) == (None, "auto", (5.0, 30.0))
    assert (settings.max_attempts, settings.cache) == (5, True)
    assert settings.columns == ("angry", "happy", "neutral", "sad")


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "VALENCE_API_KEY": KEY,
        "VALENCE_API_BASE_URL": "https://eu.example.com/",
        "VALENCE_MODEL": "custom",
        "VALENCE_EMOTIONS": "calm, nervous",
        "VALENCE_LONG_AUDIO": "chunk",
        "VALENCE_MIN_CONFIDENCE": "0.38",
        "VALENCE_CONCURRENCY": "7",
    }.items():
        monkeypatch.setenv(name, value)
    for settings in (Settings(), Settings.from_env()):
        assert settings.api_key == KEY
        assert settings.base_url == "https://eu.example.com"
        assert settings.columns == ("calm", "nervous")
        assert (settings.model, settings.long_audio) == ("custom", "chunk")
        assert (settings.min_confidence, settings.concurrency) == (0.38, 7)
    assert Settings.from_env(model="7emotions", emotions=None).columns[0] == "angry"


def test_invalid_environment_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALENCE_CONCURRENCY", "many")
    with pytest.raises(errors.SettingsError, match="VALENCE_CONCURRENCY is 'many'"):
        Settings()


def test_key_is_read_at_call_time(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings()
    with pytest.raises(errors.MissingKeyError, match=r"VALENCE_API_KEY.*api_key.*Sandbox"):
        settings.require_key()
    monkeypatch.setenv("VALENCE_API_KEY", f" {KEY}\n")
    assert settings.require_key() == KEY
    assert Settings(api_key="other").require_key() == "other"


def test_key_is_excluded_from_repr_pickle_hash_and_comparison() -> None:
    settings = Settings(api_key=KEY)
    assert KEY not in repr(settings)
    assert KEY.encode() not in pickle.dumps(settings)
    assert pickle.loads(pickle.dumps(settings)).api_key is None
    assert settings == Settings()
    assert hash(settings) == hash(Settings())
    for same in (copy.copy(settings), copy.deepcopy(settings), dataclasses.replace(settings, model="7emotions")):
        assert same.api_key == KEY


@pytest.mark.parametrize("key", [3, "käy", "a\nb"])
def test_invalid_key_is_rejected_without_showing_it(key: object) -> None:
    with pytest.raises(errors.SettingsError, match="api_key") as caught:
        Settings(api_key=key)
    assert str(key) not in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://localhost:1", "http://[::1]:9", "https://a.b/c/"])
def test_safe_base_url_is_accepted(url: str) -> None:
    assert Settings(base_url=url).base_url == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "http://api.getvalenceai.com",
        "http://localhost.evil.com",
        "http://10.0.0.1",
        "ftp://a.b",
        "api.b",
        "https://u:p@a.b",
        "https://a.b?x=1",
    ],
)
def test_unsafe_base_url_is_rejected(url: str) -> None:
    with pytest.raises(errors.SettingsError, match="base_url"):
        Settings(base_url=url)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("short_audio", "stretch"),
        ("long_audio", "pad"),
        ("payload", "xml"),
        ("model", ""),
        ("emotions", "happy"),
        ("emotions", []),
        ("emotions", ["happy", "happy"]),
        ("sampling_rate", 0),
        ("sampling_rate", "16k"),
        ("min_confidence", 38),
        ("min_confidence", "high"),
        ("concurrency", 0),
        ("concurrency", True),
        ("max_attempts", None),
        ("max_calls", -1),
        ("max_audio_seconds", -1.0),
        ("limits", 10),
        ("timeout", 30),
        ("timeout", (5, 0)),
        ("discrete_path", "emotionprediction"),
    ],
)
def test_invalid_value_is_named(name: str, value: object) -> None:
    with pytest.raises(errors.SettingsError, match=name):
        Settings(**{name: value})


def test_custom_model_requires_emotions() -> None:
    with pytest.raises(errors.SettingsError, match=r"emotions=\("):
        _ = Settings(model="mine").columns
    assert Settings(model="mine", emotions=["nervous", "calm"]).columns == ("nervous", "calm")


def test_rate_limits_default_to_the_documented_policy() -> None:
    limits = RateLimits()
    assert (limits.requests_per_second, limits.requests_per_day, limits.max_concurrent_requests) == (10, 10_000, 5)
    with pytest.raises(errors.SettingsError, match="requests_per_minute"):
        RateLimits(requests_per_minute=0)


def test_changed_settings_keep_the_source_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALENCE_API_KEY", "first")
    from_environment = changed_settings(Settings(), model="7emotions")
    given = changed_settings(Settings(api_key=KEY), model="7emotions")
    assert from_environment == given == Settings(model="7emotions")
    monkeypatch.setenv("VALENCE_API_KEY", "second")
    assert (given_key(from_environment), from_environment.api_key) == (None, "second")
    assert (given_key(given), given.api_key) == (KEY, KEY)
    assert changed_settings(given, api_key="third").api_key == "third"


@pytest.mark.parametrize("api_key", ["", "   ", "\n"])
def test_empty_key_is_refused_and_not_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch, api_key: str) -> None:
    monkeypatch.setenv("VALENCE_API_KEY", "another account's")
    with pytest.raises(errors.SettingsError, match=r"^api_key must not be empty\. Leave it out"):
        Settings(api_key=api_key)
