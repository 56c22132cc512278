from __future__ import annotations

from pathlib import Path

import pytest

from valence_integrations import Settings
from valence_integrations._store.cache import ResultCache
from valence_integrations.errors import SettingsError
from valence_integrations.settings._cache_limits import CacheLimits, cache_limits

AGE, SIZE = "VALENCE_CACHE_MAX_AGE_DAYS", "VALENCE_CACHE_MAX_MB"


@pytest.mark.parametrize(
    ("age", "size", "limits"), [(" ", "", (None, None)), ("30", " 0.5 ", (30.0, 0.5)), ("0", "1e308", (0.0, 1e308))]
)
def test_values(age: str, size: str, limits: tuple[float | None, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_limits() == CacheLimits(None, None)
    monkeypatch.setenv(AGE, age)
    monkeypatch.setenv(SIZE, size)
    assert cache_limits() == limits


@pytest.mark.parametrize("text", ["30d", "-1", "nan", "inf", "1e999", "1,5", "ten"])
@pytest.mark.parametrize("variable", [AGE, SIZE])
def test_invalid_value_is_an_error_before_any_call(
    variable: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings()
    assert settings.cache is True
    monkeypatch.setenv(variable, text)
    for configure in (Settings, lambda: Settings(cache=tmp_path), lambda: ResultCache(tmp_path)):
        with pytest.raises(SettingsError) as caught:
            configure()
        error = caught.value
        assert (error.code, error.setting) == ("invalid_environment", variable.removeprefix("VALENCE_").lower())
        assert variable in str(error)
        assert repr(text) in str(error)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("variable", "text"), [(AGE, "1e308"), (SIZE, "1e308")])
def test_largest_values_remove_nothing(
    variable: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ResultCache(tmp_path).put("a", {"emotion": "sad"})
    monkeypatch.setenv(variable, text)
    assert ResultCache(tmp_path).get("a") == {"emotion": "sad"}


def test_variable_that_changes_later_breaks_no_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ResultCache(tmp_path)
    monkeypatch.setenv(AGE, "30d")
    cache.put("a", {"emotion": "sad"})
    assert cache.get("a") == {"emotion": "sad"}
