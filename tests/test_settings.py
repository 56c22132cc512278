from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import pprint
from pathlib import Path

import joblib
import numpy as np
import pytest

from valence_integrations import Settings, errors
from valence_integrations._store.cache import cache_key
from valence_integrations.settings import RateLimits, Secret, changed_settings, given_key, revealed

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
        "VALENCE_MAX_BILLED_ATTEMPTS": "1",
    }.items():
        monkeypatch.setenv(name, value)
    for settings in (Settings(), Settings.from_env()):
        assert settings.api_key == KEY
        assert settings.max_billed_attempts == 1
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


SPELLINGS = {
    "https://api.getvalenceai.com": [
        "HTTPS://API.GetValenceAI.com/",
        "https://api.getvalenceai.com:443",
        "https://api.getvalenceai.com:",
        "https://api.getvalenceai.com//",
        "https://api.getvalenceai.com/./",
    ],
    "https://a.b/v2/eu": ["https://a.b//v2//eu/", "https://A.B:0443/v2/./x/../eu"],
    "http://127.0.0.1": ["http://127.0.0.1:80/", "HTTP://127.0.0.1"],
    "http://[::1]:9": ["http://[0:0:0:0:0:0:0:1]:9/"],
    "https://a.b:8443": ["https://a.b:8443/"],
}


@pytest.mark.parametrize(("url", "spelling"), [(url, each) for url, all_ in SPELLINGS.items() for each in all_])
def test_spellings_of_an_address_are_one_setting(url: str, spelling: str) -> None:
    assert Settings(base_url=spelling) == Settings(base_url=url)
    assert Settings(base_url=spelling).base_url == url


def test_addresses_of_one_service_share_answers() -> None:
    local = [Settings(base_url=f"http://{host}:8000/") for host in ("localhost", "127.0.0.1", "[::1]", "LOCALHOST")]
    assert {settings.service for settings in local} == {"http://localhost:8000"}
    assert len({cache_key(settings, "discrete", "0") for settings in local}) == 1
    assert local[1].base_url == "http://127.0.0.1:8000"
    assert Settings(base_url="https://a.b.").service == Settings(base_url="https://a.b").service == "https://a.b"
    others = ("http://localhost:8001", "https://localhost:8000", "http://localhost:8000/v2", "http://127.0.0.2:8000")
    assert len({Settings(base_url=url).service for url in others} - {local[0].service}) == len(others)


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
        "https://a.b?",
        "https://a.b#x",
        "https://@a.b",
        "https://",
        "https:///path",
        "https://:443",
        "https://a.b:99999",
        "https://a.b:0",
        "https://a.b:port",
        "https://a..b",
        "https://[::1",
        "https://[x::y]",
        "https://a .b",
        " https://a.b",
        "https://a.b\n",
        "https://a.b\\c",
        "",
        None,
        8000,
        b"https://a.b",
    ],
)
def test_unsafe_base_url_is_rejected(url: object) -> None:
    with pytest.raises(errors.SettingsError, match=r"^base_url must") as caught:
        Settings(base_url=url)
    assert (caught.value.code, caught.value.setting) == ("invalid_setting", "base_url")


@pytest.mark.parametrize("url", ["ftp://user:pass-word@a.b", "https://user:pass-word@a.b:99999"])
def test_a_password_in_an_address_is_not_shown(url: str) -> None:
    with pytest.raises(errors.SettingsError) as caught:
        Settings(base_url=url)
    assert "pass-word" not in str(caught.value)


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
        ("max_billed_attempts", 0),
        ("max_billed_attempts", None),
        ("max_calls", -1),
        ("max_audio_seconds", -1.0),
        ("limits", 10),
        ("timeout", 30),
        ("timeout", (5, 0)),
        ("timeout", (5, float("nan"))),
        ("timeout", (5, float("inf"))),
        ("timeout", (True, 30)),
        ("timeout", ("5", "30")),
        ("timeout", (5, 30, 60)),
        ("timeout", "ab"),
        ("timeout", None),
        ("discrete_path", "emotionprediction"),
        ("discrete_path", None),
        ("discrete_path", "/a b"),
        ("discrete_path", "/a?model=x"),
        ("short_audio", ["pad"]),
        ("short_audio", np.array(["pad"])),
        ("model", None),
        ("model", ["4emotions"]),
        ("model", "  "),
        ("emotions", 4),
        ("emotions", [["happy"]]),
        ("emotions", ["happy", None]),
        ("emotions", {"happy", "sad"}),
        ("emotions", ["joy", "anger"]),
        ("sampling_rate", 16_000.5),
        ("sampling_rate", 16),
        ("sampling_rate", 16_000_000),
        ("sampling_rate", True),
        ("min_confidence", float("nan")),
        ("min_confidence", True),
        ("min_confidence", [0.38]),
        ("concurrency", "x"),
        ("concurrency", "5"),
        ("concurrency", 2.0),
        ("concurrency", np.bool_(True)),
        ("max_attempts", float("nan")),
        ("max_calls", [1]),
        ("max_audio_seconds", 10**400),
        ("max_audio_seconds", float("nan")),
        ("max_audio_seconds", float("inf")),
        ("limits", "none"),
        ("limits", np.zeros(2)),
        ("cache", 3),
        ("cache", None),
        ("cache", ""),
        ("cache", b"cache"),
        ("cache", "a\0b"),
        ("cache", ["cache"]),
        ("api_key", 3),
        ("api_key", ["key"]),
    ],
    ids=repr,
)
def test_invalid_value_is_named(name: str, value: object) -> None:
    with pytest.raises(errors.SettingsError, match=f"^{name} must") as caught:
        Settings(**{name: value})
    assert (caught.value.code, caught.value.setting) == ("invalid_setting", name)


def test_numbers_and_names_of_numpy_are_accepted() -> None:
    settings = Settings(
        concurrency=np.int64(3),
        sampling_rate=np.int32(8_000),
        min_confidence=np.float32(0.5),
        max_audio_seconds=np.int16(60),
        timeout=np.array([2.0, 8.0]),
        model=np.str_("7emotions"),
        emotions=np.array(["happy", "sad"]),
        limits=RateLimits(requests_per_second=np.int64(50)),
    )
    assert settings == Settings(
        concurrency=3,
        sampling_rate=8_000,
        min_confidence=0.5,
        max_audio_seconds=60.0,
        timeout=(2.0, 8.0),
        model="7emotions",
        emotions=("happy", "sad"),
        limits=RateLimits(requests_per_second=50),
    )
    assert {type(value) for value in vars(settings).values()} <= {bool, float, int, str, tuple, RateLimits, type(None)}
    assert type(settings.timeout[0]) is float
    assert Settings(cache="answers").cache == Path("answers")


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("VALENCE_CONCURRENCY", "0", "concurrency must be a whole number of at least 1, not 0"),
        ("VALENCE_CONCURRENCY", "2.5", "is '2.5', which is not a whole number"),
        ("VALENCE_MAX_CALLS", "-1", "max_calls must be a whole number"),
        ("VALENCE_MIN_CONFIDENCE", "nan", "min_confidence must be a number between 0 and 1, not nan"),
        ("VALENCE_MIN_CONFIDENCE", "38", "min_confidence must be a number between 0 and 1"),
        ("VALENCE_SHORT_AUDIO", "stretch", "short_audio must be one of 'pad'"),
        ("VALENCE_LONG_AUDIO", "Chunk", "long_audio must be one of 'asynch'"),
        ("VALENCE_EMOTIONS", "happy,,sad", "emotions must be distinct, non-empty names"),
        ("VALENCE_API_BASE_URL", "https://a.b:99999", "base_url must have a valid host and a port"),
        ("VALENCE_API_BASE_URL", "api.getvalenceai.com", "base_url must look like"),
        ("VALENCE_DISCRETE_PATH", "emotion", "discrete_path must start with"),
    ],
)
def test_invalid_value_from_the_environment_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, problem: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(errors.SettingsError, match=f"^The environment variable {variable} .*{problem}") as caught:
        Settings()
    assert caught.value.code == "invalid_environment"
    assert caught.value.setting == variable.removeprefix("VALENCE_").removeprefix("API_").lower()


def test_an_impossible_key_in_the_environment_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALENCE_API_KEY", "key\nkäy")
    for read in (lambda: Settings().require_key(), Settings.from_env):
        with pytest.raises(errors.SettingsError, match="printable ASCII") as caught:
            read()
        assert "käy" not in str(caught.value)
    with pytest.raises(errors.SettingsError, match=r"^The environment variable VALENCE_API_KEY is invalid: api_key"):
        Settings().require_key()
    monkeypatch.setenv("VALENCE_API_KEY", "  ")
    assert Settings.from_env().api_key is None


@pytest.mark.parametrize("source", ["argument", "environment"])
def test_no_view_of_the_settings_shows_the_key(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALENCE_API_KEY", KEY)
    settings = Settings(api_key=KEY) if source == "argument" else Settings()
    views = {
        "repr": repr(settings),
        "str": str(settings),
        "format": f"{settings}",
        "vars": repr(vars(settings)),
        "asdict": repr(dataclasses.asdict(settings)),
        "astuple": repr(dataclasses.astuple(settings)),
        "json": json.dumps(dataclasses.asdict(settings), default=str),
        "pprint": pprint.pformat(settings),
        "getattr": f"{settings.api_key} {settings.api_key!r} {settings.api_key:>20}",
    }
    assert [name for name, text in views.items() if KEY in text] == []
    assert "***" in views["asdict"]
    assert KEY.encode() not in pickle.dumps(settings) + pickle.dumps(dataclasses.asdict(settings))
    assert settings.require_key() == KEY
    assert repr(settings.require_key()) == "'***'"


def test_a_secret_equals_its_key_and_shows_a_mask() -> None:
    secret = Secret(KEY)
    assert (secret, hash(secret)) == (KEY, hash(KEY))
    assert KEY == secret == Secret(secret)
    assert secret != "***"
    assert {KEY: 1}[secret] == 1
    assert revealed(secret) == revealed(KEY) == KEY
    texts = [str(secret), repr(secret), f"{secret}", json.dumps(secret), secret + "", secret.upper()]
    assert [text for text in texts if KEY in text.lower()] == []
    assert json.dumps({"api_key": secret}) == '{"api_key": "***"}'
    assert copy.deepcopy(secret) is copy.copy(secret) is secret
    assert pickle.loads(pickle.dumps(secret)) is None
    assert joblib.hash(Secret("one")) == joblib.hash(Secret("two"))


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
