"""Shared engines: whose key they use, and whose limits."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import clips, voice
from valence_integrations import (
    Engine,
    Settings,
    ValenceAnnotator,
    ValenceEmotionPipeline,
    ValenceEmotionTransformer,
    errors,
    valence_annotate,
)
from valence_integrations.engine import shared_engine
from valence_integrations.sandbox import Policy, Sandbox
from valence_integrations.settings import given_key

GIVEN = "sk-given"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with Sandbox(api_key="one", policy=Policy(requests_per_minute=50)) as running:
        monkeypatch.setenv("VALENCE_API_BASE_URL", running.url)
        yield running


def test_the_same_settings_and_key_share_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shared_engine(Settings(api_key="a")) is shared_engine(Settings(api_key=" a\n"))
    assert shared_engine(Settings(api_key="a")) is not shared_engine(Settings(api_key="b"))
    assert shared_engine(Settings(api_key="a")) is not shared_engine(Settings(api_key="a", model="7emotions"))
    from_environment = shared_engine(Settings())
    monkeypatch.setenv("VALENCE_API_KEY", "a")
    assert shared_engine(Settings()) is from_environment


@pytest.mark.parametrize("first", ["environment", "given"])
def test_the_environment_and_a_given_key_never_share_an_engine(first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALENCE_API_KEY", "a")
    made = {"environment": Settings(), "given": Settings(api_key="a")}
    if first == "given":
        made = dict(reversed(made.items()))
    engines = {source: shared_engine(settings) for source, settings in made.items()}
    monkeypatch.setenv("VALENCE_API_KEY", "b")
    assert {source: engine.settings.api_key for source, engine in engines.items()} == {"environment": "b", "given": "a"}
    monkeypatch.delenv("VALENCE_API_KEY")
    assert {source: engine.settings.api_key for source, engine in engines.items()} == {
        "environment": None,
        "given": "a",
    }


def test_a_port_that_comes_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next service at an address gets the key that its own callers gave, not what an earlier one left behind."""
    files = clips(2)
    with Sandbox(api_key="one") as first:
        monkeypatch.setenv("VALENCE_API_KEY", "one")
        ValenceEmotionTransformer(base_url=first.url).fit_transform(files[:1])
        port, url = int(first.url.rpartition(":")[2]), first.url
    monkeypatch.delenv("VALENCE_API_KEY")
    with Sandbox(api_key="one", port=port) as second:
        assert second.url == url
        assert ValenceEmotionTransformer(base_url=url, api_key="one").fit_transform(files[1:]).shape == (1, 4)
        with pytest.raises(errors.MissingKeyError):
            ValenceEmotionTransformer(base_url=url).fit_transform(clips(3)[2:])
        assert second.calls == 1


def test_what_is_loaded_from_a_pickle_has_no_engine_with_a_given_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALENCE_API_KEY", GIVEN)
    annotator, pipeline = ValenceAnnotator(api_key=GIVEN), ValenceEmotionPipeline(api_key=GIVEN)
    loaded = [pickle.loads(pickle.dumps(made)) for made in (annotator, pipeline, annotator.engine)]
    monkeypatch.setenv("VALENCE_API_KEY", "other")
    for made in loaded:
        settings = made.settings if isinstance(made, Engine) else made.engine.settings
        assert (given_key(settings), settings.api_key) == (None, "other")
    assert annotator.engine.settings.api_key == GIVEN
    again = ValenceAnnotator(api_key="other")
    assert again.engine is not loaded[0].engine
    assert given_key(again.engine.settings) == "other"


def test_a_pickled_transformer_calls_with_the_key_of_the_environment(
    service: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = clips(3)
    monkeypatch.setenv("VALENCE_API_KEY", "one")
    given = ValenceEmotionTransformer(api_key="one").fit(files)
    given.transform(files[:1])
    loaded = pickle.loads(pickle.dumps(given))
    loaded.transform(files[1:2])
    monkeypatch.setenv("VALENCE_API_KEY", "wrong")
    given.transform(files[:1])
    with pytest.raises(errors.AuthenticationError):
        loaded.transform(files[2:])


def test_other_settings_for_one_call_keep_the_source_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VALENCE_API_KEY", "one")
    for annotator, source in ((valence_annotate, None), (ValenceAnnotator(api_key=GIVEN), GIVEN)):
        changed = annotator._changed({"model": "7emotions"}).engine
        assert changed.settings.model == "7emotions"
        assert given_key(changed.settings) == source
    monkeypatch.setenv("VALENCE_API_KEY", "two")
    assert valence_annotate._changed({"model": "7emotions"}).engine.settings.api_key == "two"


def test_another_model_for_one_call_keeps_the_source_of_the_key(
    service: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    classify = ValenceEmotionPipeline()
    monkeypatch.setenv("VALENCE_API_KEY", "wrong")
    with pytest.raises(errors.AuthenticationError):
        classify.audio_classification(voice(5.0), model="7emotions")
    monkeypatch.setenv("VALENCE_API_KEY", "one")
    assert len(classify.audio_classification(voice(5.0), model="7emotions")) == 7


def test_an_engine_of_the_environment_takes_the_limits_of_the_new_key(
    service: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each key has a ledger of its own, and its account is asked for its own policy."""
    items = clips(3)
    engine = shared_engine(Settings(cache=tmp_path))

    def policies_asked() -> list[int | None]:
        return [request.status for request in service.requests if request.path.endswith("/rate-limit/status")]

    monkeypatch.setenv("VALENCE_API_KEY", "old")
    with pytest.raises(errors.AuthenticationError):
        engine.predict(items[0])
    assert policies_asked() == [401]
    assert len(list((tmp_path / "state").glob("limits-*.sqlite3"))) == 1
    monkeypatch.setenv("VALENCE_API_KEY", "one")
    engine.predict(items[0])
    engine.predict(items[1])
    assert policies_asked() == [401, 200]
    assert len(list((tmp_path / "state").glob("limits-*.sqlite3"))) == 2
    monkeypatch.setenv("VALENCE_API_KEY", "old")
    with pytest.raises(errors.AuthenticationError):
        engine.predict(items[2])
    assert policies_asked() == [401, 200]
    assert len(list((tmp_path / "state").glob("limits-*.sqlite3"))) == 2


def test_the_windows_shown_are_those_of_the_key_in_use(service: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = shared_engine(Settings())
    monkeypatch.setenv("VALENCE_API_KEY", "one")
    engine.predict(voice(5.0))
    assert [window.count for window in engine._resources.windows] == [50]
    monkeypatch.setenv("VALENCE_API_KEY", "new")
    assert engine._resources.windows == ()
    with pytest.raises(errors.AuthenticationError):
        engine.predict(voice(6.0))
    # The new account does not tell its policy: the documented one counts, not that of the old account.
    assert [window.count for window in engine._resources.windows] == [10, 100, 1_000, 10_000, 20]
