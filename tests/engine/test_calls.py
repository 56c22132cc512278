"""What is paid is kept first, and waiting for others takes no thread."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import voice
from tests.service.peers import Peer
from valence_integrations import Engine, errors
from valence_integrations._audio.open import open_clip
from valence_integrations._service.asynch import temporary_wav
from valence_integrations._store.cache import ResultCache, cache_key
from valence_integrations.engine._process import ProcessResources
from valence_integrations.engine._recipes import file_digest
from valence_integrations.sandbox import Sandbox

MakeEngine = Callable[..., Engine]


def answer(content: object) -> bytes:
    body = json.dumps(content).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def test_answer_is_kept_before_anything_else_is_done_with_it(
    make_engine: MakeEngine, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:

        def fail(_: ProcessResources) -> None:
            raise ZeroDivisionError

        patch.setattr(ProcessResources, "record_success", fail)
        with pytest.raises(ZeroDivisionError):
            make_engine().predict(voice(6.0))
    prediction = make_engine().predict(voice(6.0))
    assert (prediction.cached, sandbox.calls) == (True, 1)


def test_unreadable_answer_is_kept_and_not_paid_again(make_engine: MakeEngine) -> None:
    with Peer(answer({"mood": "fair"})) as peer:
        for _ in range(2):
            engine = make_engine(base_url=peer.url, limits=None)
            with pytest.raises(errors.InvalidResponseError, match="cannot parse"):
                engine.predict(voice(6.0))
        assert len(peer.requests) == 1


def test_answer_with_nan_is_kept(make_engine: MakeEngine) -> None:
    body = b'{"main_emotion": "sad", "confidence": NaN}'
    with Peer(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)) as peer:
        for _ in range(2):
            with pytest.raises(errors.InvalidResponseError):
                make_engine(base_url=peer.url, limits=None).predict(voice(6.0))
        assert len(peer.requests) == 1


def test_items_of_another_process_leave_the_threads_free(
    make_engine: MakeEngine, sandbox: Sandbox, tmp_path: Path
) -> None:
    engine = make_engine(cache=tmp_path, concurrency=1)
    calls = [voice(20.0, seed=seed) for seed in range(12)]
    keys = []
    for call in calls:
        clip = open_clip(call)
        assert clip is not None
        with temporary_wav(clip) as wav:
            keys.append(cache_key(engine.settings, "asynch", file_digest(wav)))
    other = ResultCache(tmp_path)
    assert all(other.claim(key) for key in keys)

    predictions = []
    job = threading.Thread(
        target=lambda: predictions.extend(engine.predict_many([*calls, voice(6.0, seed=1), voice(6.0, seed=2)]))
    )
    job.start()
    while sandbox.calls < 2:
        job.join(0.01)
        assert job.is_alive()
    assert sandbox.uploads == 0
    other.put(
        keys[0], {"response": {"emotions": [{"start_time": 0, "end_time": 20, "emotion": "sad", "confidence": 1}]}}
    )
    for key in keys[1:]:
        other.release(key)
    job.join(60)
    assert [prediction.cached for prediction in predictions] == [True] + [False] * 13
    assert sandbox.uploads == 11


def test_settings_of_the_answer_are_those_of_now(make_engine: MakeEngine, sandbox: Sandbox) -> None:
    first = make_engine().predict(voice(6.0))
    again = make_engine(min_confidence=1.0).predict(voice(6.0))
    assert first.emotion is not None
    assert (again.emotion, again.scores, again.cached) == (None, first.scores, True)
