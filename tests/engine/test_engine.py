from __future__ import annotations

import copy
import gc
import io
import logging
import math
import multiprocessing
import pickle
import re
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from itertools import count, pairwise
from pathlib import Path
from types import SimpleNamespace

import joblib
import numpy as np
import pytest

from tests.conftest import EXAMPLES, voice
from valence_integrations import Engine, Settings, errors
from valence_integrations._audio import wav
from valence_integrations.sandbox import Faults, Policy, Sandbox

MakeEngine = Callable[..., Engine]
EMOTIONS = {"angry", "happy", "neutral", "sad"}


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("valence_integrations._service.retry.WAIT_INITIAL", 0.01)
    monkeypatch.setattr("valence_integrations._service.retry.WAIT_JITTER", 0.01)
    monkeypatch.setattr("valence_integrations._service.poller.FIRST_POLL", 0.05)


def file_of(wave: np.ndarray, rate: int = 16_000) -> bytes:
    return wav.encode(np.rint(wave * 30_000).astype(np.int16), rate)


def voices(number: int, seconds: float = 5.0) -> list[bytes]:
    return [file_of(voice(seconds, 8_000, seed), 8_000) for seed in range(number)]


def scores_alone(engine: Engine, items: list[bytes]) -> list[dict[str, float]]:
    return [engine.predict(item).scores for item in items]


class TestPredict:
    def test_clip_within_the_discrete_range(self, sandbox: Sandbox, engine: Engine) -> None:
        prediction = engine.predict(voice(6.0))
        assert (prediction.source, prediction.duration, prediction.padded) == ("discrete", 6.0, False)
        assert set(prediction.scores) == EMOTIONS
        assert prediction.emotion == max(prediction.scores, key=prediction.scores.__getitem__)
        assert prediction.confidence == prediction.scores[prediction.emotion]
        (segment,) = prediction.segments
        assert (segment.start, segment.end, segment.scores) == (0.0, 6.0, prediction.scores)
        assert prediction.model == "4emotions"
        assert prediction.request_id
        assert sandbox.calls == 1

    def test_short_clip_is_padded(self, engine: Engine) -> None:
        prediction = engine.predict(voice(2.0))
        assert (prediction.source, prediction.duration, prediction.padded) == ("discrete", 2.0, True)
        assert prediction.segments[0].end == 2.0

    def test_long_clip_by_asynch(self, sandbox: Sandbox, engine: Engine) -> None:
        prediction = engine.predict(voice(32.0))
        assert (prediction.source, prediction.duration) == ("asynch", 32.0)
        assert [(s.start, s.end) for s in prediction.segments][-2:] == [(25.0, 30.0), (30.0, 32.0)]
        assert all(set(segment.scores) == EMOTIONS for segment in prediction.segments)
        weights = [segment.end - segment.start for segment in prediction.segments]
        for emotion in EMOTIONS:
            mean = np.average([segment.scores[emotion] for segment in prediction.segments], weights=weights)
            assert prediction.scores[emotion] == pytest.approx(mean)
        assert (sandbox.uploads, sandbox.calls) == (1, 0)

    def test_long_clip_in_chunks(self, sandbox: Sandbox, make_engine: MakeEngine) -> None:
        prediction = make_engine(long_audio="chunk").predict(voice(40.0))
        assert (prediction.source, prediction.duration) == ("chunk", 40.0)
        assert (prediction.segments[0].start, prediction.segments[-1].end) == (0.0, 40.0)
        assert all(one.end == other.start for one, other in pairwise(prediction.segments))
        assert (sandbox.uploads, sandbox.calls) == (0, len(prediction.segments))

    @pytest.mark.parametrize("missing", [None, math.nan])
    def test_missing_item_is_empty(self, sandbox: Sandbox, engine: Engine, missing: object) -> None:
        prediction = engine.predict(missing)
        assert (prediction.emotion, prediction.source, prediction.error) == (None, None, None)
        assert math.isnan(prediction.confidence)
        assert sandbox.calls == 0

    def test_skipped_item_is_empty(self, sandbox: Sandbox, make_engine: MakeEngine) -> None:
        prediction = make_engine(short_audio="skip").predict(voice(2.0))
        assert (prediction.emotion, prediction.source, prediction.duration) == (None, None, 2.0)
        assert sandbox.calls == 0

    def test_unreadable_item_raises_its_error(self, engine: Engine) -> None:
        with pytest.raises(errors.UnreadableAudioError, match=r"^nope\.wav: "):
            engine.predict("nope.wav")

    def test_min_confidence(self, make_engine: MakeEngine) -> None:
        prediction = make_engine(min_confidence=1.0).predict(voice(6.0))
        assert (prediction.emotion, set(prediction.scores)) == (None, EMOTIONS)

    def test_missing_key_raises(self, make_engine: MakeEngine, sandbox: Sandbox) -> None:
        with pytest.raises(errors.MissingKeyError, match="VALENCE_API_KEY"):
            make_engine(api_key=None).predict(voice(6.0))
        assert sandbox.requests == []


class TestPredictMany:
    def test_predictions_are_in_input_order(self, make_engine: MakeEngine) -> None:
        items = voices(40)
        with Sandbox(latency=(0.0, 0.05)) as slow:
            predictions = make_engine(base_url=slow.url, concurrency=8).predict_many(items)
            assert slow.calls == 40
        assert [p.scores for p in predictions] == scores_alone(make_engine(), items)
        assert len({tuple(p.scores.values()) for p in predictions}) == 40

    @pytest.mark.parametrize("concurrency", [1, 3])
    def test_concurrency_limits_simultaneous_calls(self, make_engine: MakeEngine, concurrency: int) -> None:
        with Sandbox(latency=0.05) as slow:
            make_engine(base_url=slow.url, concurrency=concurrency).predict_many(voices(12))
            assert slow.max_in_flight == concurrency

    def test_account_policy_sets_the_concurrency(self, make_engine: MakeEngine) -> None:
        with Sandbox(latency=0.05, policy=Policy(max_concurrent_requests=2)) as slow:
            engine = make_engine(base_url=slow.url)
            engine.predict_many(voices(8))
            assert slow.max_in_flight == 2
            assert engine.stats.rate_limited == 0

    def test_calls_run_concurrently(self, make_engine: MakeEngine) -> None:
        with Sandbox(latency=0.2) as slow:
            engine = make_engine(base_url=slow.url, concurrency=10)
            engine.predict_many(voices(20))
            assert slow.max_in_flight == 10
            assert slow.connections <= 11

    def test_mixed_items(self, make_engine: MakeEngine) -> None:
        items = [
            voice(6.0),
            "nope.wav",
            None,
            voice(2.0),
            b"junk",
            voice(20.0),
            {"array": voice(7.0), "sampling_rate": 16_000},
        ]
        predictions = make_engine().predict_many(items, on_error="null")
        assert [p.source for p in predictions] == ["discrete", None, None, "discrete", None, "asynch", "discrete"]
        failed = {index: type(p.error) for index, p in enumerate(predictions) if p.error is not None}
        assert failed == {1: errors.AudioNotFoundError, 4: errors.UnreadableAudioError}
        assert predictions[1].error is not None
        assert "nope.wav" in str(predictions[1].error)
        assert math.isnan(predictions[1].confidence)

    def test_on_error_raise_finishes_and_keeps_the_other_items(self, sandbox: Sandbox, make_engine: MakeEngine) -> None:
        items = [*voices(3), b"junk", *voices(6)[3:], b""]
        with pytest.raises(errors.BatchError) as caught:
            make_engine(cache=False).predict_many(items)
        assert sorted(caught.value.errors) == [3, 7]
        assert [p.error is None for p in caught.value.predictions] == [True, True, True, False, True, True, True, False]
        assert caught.value.predictions[6].emotion in EMOTIONS
        assert sandbox.calls == 6

    def test_same_audio_is_sent_once(self, sandbox: Sandbox, make_engine: MakeEngine, tmp_path: Path) -> None:
        one, other = voices(2)
        (tmp_path / "copy.wav").write_bytes(one)
        items = [one, other, one, str(tmp_path / "copy.wav"), io.BytesIO(one), other] * 5
        for engine in (make_engine(cache=False), make_engine(cache=tmp_path / "cache")):
            sandbox.reset()
            predictions = engine.predict_many(items)
            assert sandbox.calls == 2
            assert {tuple(p.scores.items()) for p in predictions[::6]} == {tuple(predictions[3].scores.items())}
            assert [p.cached for p in predictions].count(False) == 2

    def test_same_long_audio_is_uploaded_once(self, sandbox: Sandbox, make_engine: MakeEngine) -> None:
        first, second = make_engine(cache=False).predict_many([voice(20.0), voice(20.0)])
        assert sandbox.uploads == 1
        assert first.segments == second.segments

    def test_without_a_cache_the_next_job_calls_again(self, sandbox: Sandbox, make_engine: MakeEngine) -> None:
        engine = make_engine(cache=False)
        for calls in (1, 2):
            engine.predict(voice(6.0))
            assert sandbox.calls == calls

    def test_cached_answers_need_no_call_and_no_key(self, sandbox: Sandbox, make_engine: MakeEngine) -> None:
        items = [*voices(3), voice(20.0)]
        first = make_engine().predict_many(items)
        again = make_engine(api_key=None).predict_many(items)
        assert (sandbox.calls, sandbox.uploads) == (3, 1)
        assert [p.cached for p in first + again] == [False] * 4 + [True] * 4
        assert [p.segments for p in again] == [p.segments for p in first]
        assert [p.request_id for p in again] == [p.request_id for p in first]

    @pytest.mark.parametrize(
        "other", [{"model": "7emotions"}, {"discrete_path": "/v1/discrete/emotion"}, {"payload": "json"}]
    )
    def test_settings_that_change_the_answer_miss_the_cache(
        self, sandbox: Sandbox, make_engine: MakeEngine, other: dict[str, str]
    ) -> None:
        make_engine().predict(voice(6.0))
        assert not make_engine(**other).predict(voice(6.0)).cached
        assert sandbox.calls == 2

    def test_long_items_are_processed_concurrently(self, make_engine: MakeEngine) -> None:
        with Sandbox(asynch_pickup=1.0, asynch_seconds_per_minute=0.0) as slow:
            begun = time.monotonic()
            predictions = make_engine(base_url=slow.url).predict_many(
                [(voice(16.0 + n, 8_000), 8_000) for n in range(8)]
            )
            assert time.monotonic() - begun < 6.0
        assert [p.duration for p in predictions] == [16.0 + n for n in range(8)]

    @pytest.mark.parametrize(
        "single", ["a.wav", Path("a.wav"), b"RIFF", {"bytes": b""}, io.BytesIO(), np.zeros(80_000), 5]
    )
    def test_single_item_raises_type_error(self, engine: Engine, single: object) -> None:
        with pytest.raises(TypeError, match=r"predict\(item\)"):
            engine.predict_many(single)  # type: ignore[arg-type]

    def test_no_items(self, engine: Engine) -> None:
        assert engine.predict_many([]) == []

    def test_unknown_on_error_raises(self, engine: Engine) -> None:
        with pytest.raises(errors.SettingsError, match="on_error"):
            engine.predict_many([], on_error="ignore")  # type: ignore[arg-type]

    def test_file_closed_after_its_yield_is_still_read(self, engine: Engine, tmp_path: Path) -> None:
        def items() -> Iterator[io.BufferedReader]:
            for number, data in enumerate(voices(5)):
                (tmp_path / f"{number}.wav").write_bytes(data)
                with (tmp_path / f"{number}.wav").open("rb") as file:
                    yield file

        assert [p.emotion in EMOTIONS for p in engine.predict_many(items())] == [True] * 5

    def test_progress(self, engine: Engine, capfd: pytest.CaptureFixture[str]) -> None:
        engine.predict_many(voices(3), progress=True)
        assert "3/3" in capfd.readouterr().err
        engine.predict_many(voices(3))
        assert capfd.readouterr().err == ""


class SlowDecoder:
    """Audio decoder as in `datasets`, on a slow disk."""

    def __init__(self, seed: int, decoded: list[float]) -> None:
        self._seed = seed
        self._decoded = decoded

    def get_all_samples(self) -> SimpleNamespace:
        time.sleep(0.01)
        self._decoded.append(time.monotonic())
        return SimpleNamespace(data=voice(5.0, 8_000, self._seed), sample_rate=8_000)


def test_slow_items_are_prepared_while_calls_are_in_flight() -> None:
    decoded: list[float] = []
    with Sandbox(latency=0.5) as sandbox, Engine(Settings(base_url=sandbox.url, api_key=sandbox.api_key)) as engine:
        engine.predict_many([SlowDecoder(seed, decoded) for seed in range(8)])
        requests = [record.time for record in sandbox.requests if record.method == "POST"]
    assert (len(decoded), len(requests)) == (8, 8)
    assert decoded[7] < requests[0] + 0.5 < requests[5], "three more than the five that are sent at once"


def threads_of_engines() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if re.fullmatch(r"valence-\d+", thread.name)}


def test_threads_end_with_their_engine(sandbox: Sandbox) -> None:
    before = threads_of_engines()
    engine = Engine(Settings(base_url=sandbox.url, api_key=sandbox.api_key))
    engine.predict(voice(6.0))
    own = threads_of_engines() - before
    assert own
    del engine
    gc.collect()
    for thread in own:
        thread.join(10)
    assert not own & threads_of_engines()


class TestMemory:
    def test_memory_holds_only_a_window_of_items(self, engine: Engine) -> None:
        base = voice(5.0, 8_000)
        alive: set[int] = set()
        most = 0

        def items() -> Iterator[tuple[np.ndarray, int]]:
            nonlocal most
            for number in range(3_000):
                wave = base.copy()
                alive.add(number)
                weakref.finalize(wave, alive.discard, number)
                most = max(most, len(alive))
                yield wave, 8_000
                del wave

        for _ in engine.iter_predict(items()):
            pass
        assert most <= 4 * 5 + 10
        predictions = engine.predict_many(items())
        assert len(predictions) == 3_000
        assert most <= 32 * 5 + 10


class TestIterPredict:
    def test_iter_predict_reads_few_items_ahead(self, sandbox: Sandbox, make_engine: MakeEngine) -> None:
        taken = count()
        seen = 0

        def items() -> Iterator[np.ndarray]:
            nonlocal seen
            for seed in taken:
                seen = seed + 1
                yield voice(5.0, 8_000, seed % 7)

        stream = make_engine(concurrency=2).iter_predict(items())
        for _ in range(10):
            next(stream)
        assert seen <= 10 + 8
        stream.close()  # type: ignore[attr-defined]
        time.sleep(0.2)
        assert sandbox.calls <= 18

    @pytest.mark.parametrize("ahead", [1, 16])
    def test_ahead_sets_how_many_items_are_read_ahead(self, make_engine: MakeEngine, ahead: int) -> None:
        taken: list[bytes] = []

        def items() -> Iterator[bytes]:
            for _ in range(100):
                taken.append(b"junk")
                yield taken[-1]

        next(make_engine(concurrency=2).iter_predict(items(), on_error="null", ahead=ahead))
        assert len(taken) == 2 * ahead

    def test_batch_error_is_raised_after_the_last_item(self, engine: Engine) -> None:
        stream = engine.iter_predict([b"junk", voice(6.0)])
        assert next(stream).error is not None
        assert next(stream).emotion in EMOTIONS
        with pytest.raises(errors.BatchError) as caught:
            next(stream)
        assert list(caught.value.errors) == [0]

    def test_failing_iterator_keeps_finished_answers(self, sandbox: Sandbox, engine: Engine) -> None:
        def items() -> Iterator[bytes]:
            yield from voices(3)
            raise RuntimeError("disk gone")

        with pytest.raises(RuntimeError, match="disk gone"):
            engine.predict_many(items())
        paid = sandbox.calls
        assert [p.cached for p in engine.predict_many(voices(3))].count(True) == paid
        assert sandbox.calls == 3


class TestFailures:
    @pytest.mark.parametrize("fault", ["500", "502", "503", "504", "drop", "reset", "truncate", "cut", "html"])
    def test_transient_faults_are_retried(self, make_engine: MakeEngine, fault: str) -> None:
        items = voices(6)
        with Sandbox(faults=Faults(script=["ok", fault, "ok", fault, fault], retry_after=0)) as shaky:
            engine = make_engine(base_url=shaky.url)
            predictions = engine.predict_many(items)
            assert (shaky.calls, engine.stats.calls, engine.stats.retries) == (9, 9, 3)
            assert engine.stats.possibly_double_billed == (0 if fault == "503" else 3)
        assert [p.scores for p in predictions] == scores_alone(make_engine(), items)

    def test_read_timeouts_are_retried(self, make_engine: MakeEngine) -> None:
        with Sandbox(faults=Faults(script=["hang", "stall"])) as shaky:
            predictions = make_engine(base_url=shaky.url, timeout=(1.0, 0.3)).predict_many(voices(4))
            assert shaky.calls == 6
        assert all(p.emotion in EMOTIONS for p in predictions)

    def test_permanent_failure_is_an_item_error(self, make_engine: MakeEngine) -> None:
        with Sandbox(faults=Faults(server_error=1.0)) as down:
            engine = make_engine(base_url=down.url, max_attempts=3)
            (prediction,) = engine.predict_many([{"bytes": voices(1)[0], "path": "a.wav"}], on_error="null")
            assert down.calls == 3
        assert isinstance(prediction.error, errors.ServerError)
        assert str(prediction.error).startswith("a.wav: the service failed")

    def test_shared_failure_names_each_item(self, make_engine: MakeEngine) -> None:
        (data,) = voices(1)
        with Sandbox(latency=0.1, faults=Faults(script=["400"])) as down:
            predictions = make_engine(base_url=down.url).predict_many(
                [{"bytes": data, "path": name} for name in ("a.wav", "b.wav")], on_error="null"
            )
            assert down.calls == 1
        assert [str(p.error)[:5] for p in predictions] == ["a.wav", "b.wav"]

    def test_invalid_key_stops_the_job_at_once(self, sandbox: Sandbox, make_engine: MakeEngine) -> None:
        engine = make_engine(api_key="wrong", concurrency=2)
        with pytest.raises(errors.AuthenticationError):
            engine.predict_many(voices(30), on_error="null")
        assert sandbox.calls <= 2 * 2

    def test_invalid_key_stops_a_job_of_long_items(self, sandbox: Sandbox, make_engine: MakeEngine) -> None:
        with pytest.raises(errors.AuthenticationError):
            make_engine(api_key="wrong").predict(voice(20.0))

    def test_failed_asynch_job_is_an_item_error(self, make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
        with Sandbox(policy=Policy(max_audio_duration_seconds=18.0)) as strict:
            good, bad = make_engine(base_url=strict.url).predict_many([voice(17.0), voice(30.0)], on_error="null")
        assert good.source == "asynch"
        assert isinstance(bad.error, errors.ItemError)

    def test_asynch_job_past_its_deadline_times_out(
        self, make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("valence_integrations._service.poller.DEADLINE_BASE", 0.3)
        monkeypatch.setattr("valence_integrations._service.poller.DEADLINE_PER_MINUTE", 0.0)
        with Sandbox(asynch_pickup=99.0) as asleep, pytest.raises(errors.AsynchTimeoutError) as caught:
            make_engine(base_url=asleep.url).predict(voice(20.0))
        assert caught.value.request_id

    def test_unfetched_upload_is_resumed(self, make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("valence_integrations._service.poller.DEADLINE_BASE", 0.1)
        monkeypatch.setattr("valence_integrations._service.poller.DEADLINE_PER_MINUTE", 0.0)
        with Sandbox(asynch_pickup=1.0, asynch_seconds_per_minute=0.0) as slow:
            with pytest.raises(errors.AsynchTimeoutError, match="Run again within 24 hours"):
                make_engine(base_url=slow.url).predict(voice(20.0))
            time.sleep(1.0)
            monkeypatch.setattr("valence_integrations._service.poller.DEADLINE_BASE", 10.0)
            prediction = make_engine(base_url=slow.url).predict(voice(20.0))
            assert (len(prediction.segments), prediction.cached, slow.uploads) == (4, False, 1)

    def test_upload_dropped_by_the_service_is_repeated(self, make_engine: MakeEngine, tmp_path: Path) -> None:
        with Sandbox(asynch_pickup=99.0) as asleep:
            engine = make_engine(base_url=asleep.url)
            stream = engine.iter_predict([voice(20.0)])
            threading.Thread(target=lambda: next(stream, None), daemon=True).start()
            while not asleep.polls:
                time.sleep(0.01)
            url = asleep.url
        port = int(url.rsplit(":", 1)[1])
        with Sandbox(port=port) as forgetful:
            prediction = make_engine(base_url=url).predict(voice(20.0))
            assert (prediction.source, forgetful.uploads) == ("asynch", 1)

    def test_asynch_api_ignores_the_model_with_a_warning(self, sandbox: Sandbox, make_engine: MakeEngine) -> None:
        make_engine().predict(voice(20.0))
        with pytest.warns(UserWarning, match=r"takes no model.*'7emotions'.*long_audio=\"chunk\""):
            prediction = make_engine(model="7emotions").predict_many([voice(20.0)])[0]
        assert prediction.cached
        assert sandbox.uploads == 1

    def test_retry_after_holds_all_calls(self, make_engine: MakeEngine) -> None:
        with Sandbox(policy=Policy(requests_per_second=10)) as strict:
            engine = make_engine(base_url=strict.url, concurrency=5)
            predictions = engine.predict_many(voices(25))
            assert strict.answered == 25
            assert strict.calls <= 25 + 3 * 5
        assert all(p.error is None for p in predictions)

    @pytest.mark.parametrize(("budget", "calls"), [({"max_calls": 4}, 4), ({"max_audio_seconds": 22.0}, 4)])
    def test_budget_stops_the_job_and_keeps_answers(
        self, sandbox: Sandbox, make_engine: MakeEngine, budget: dict[str, float], calls: int
    ) -> None:
        items = voices(8)
        with pytest.raises(errors.BudgetExceededError, match=r"kept in the cache; raise max_.* to go on"):
            make_engine(**budget).predict_many(items)
        assert sandbox.calls == calls
        predictions = make_engine().predict_many(items)
        assert [p.cached for p in predictions].count(True) == calls
        assert sandbox.calls == 8

    def test_internal_error_is_raised(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("valence_integrations.engine._job.prepare", lambda clip, settings: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            engine.predict_many([voice(6.0)], on_error="null")


class TestOutage:
    def test_outage_stops_the_job(self, make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("valence_integrations.engine._circuit._MIN_SECONDS", 0.0)
        with Sandbox(faults=Faults(server_error=1.0)) as down:
            engine = make_engine(base_url=down.url, concurrency=4)
            with pytest.raises(
                errors.ServiceUnavailableError, match=r"20 calls in a row.*kept in the cache; run again"
            ):
                engine.predict_many(voices(100), on_error="null")
            assert 20 <= down.calls <= 20 + 2 * 4

    def test_failures_between_successes_are_not_an_outage(self, make_engine: MakeEngine) -> None:
        script = (["503"] * 4 + ["ok"]) * 10
        with Sandbox(faults=Faults(script=script, retry_after=0)) as shaky:
            predictions = make_engine(base_url=shaky.url, concurrency=1, max_attempts=50).predict_many(voices(10))
            assert shaky.calls == 50
        assert all(p.emotion in EMOTIONS for p in predictions)

    def test_bad_requests_are_not_an_outage(self, make_engine: MakeEngine) -> None:
        with Sandbox(faults=Faults(script=["400"] * 25)) as picky:
            predictions = make_engine(base_url=picky.url).predict_many(voices(26), on_error="null")
        assert [p.error is None for p in predictions].count(True) == 1


def predict_in_a_process(url: str, items: list[bytes]) -> tuple[list[dict[str, float]], int]:
    with Engine(Settings(base_url=url, api_key="sandbox-key", concurrency=2)) as engine:
        return [p.scores for p in engine.predict_many(items)], engine.stats.calls


KILLED = """
import sys
from pathlib import Path
from types import SimpleNamespace
from valence_integrations import Engine, Settings

engine = Engine(Settings(base_url=sys.argv[1], api_key="sandbox-key", concurrency=3))
engine.predict_many(sorted(Path(sys.argv[2]).glob("*.wav")))
"""


class TestProcesses:
    def test_many_faults_lose_no_item_and_cost_few_retries(self, make_engine: MakeEngine) -> None:
        items = voices(400)
        faults = Faults(server_error=0.05, drop=0.02, truncate=0.01, hang=0.003)
        with Sandbox(faults=faults) as shaky:
            engine = make_engine(base_url=shaky.url, concurrency=16, timeout=(2.0, 2.0))
            predictions = engine.predict_many(items)
            assert 400 < shaky.calls <= 1.15 * 400
            assert engine.stats.calls == shaky.calls
        assert [p.scores for p in predictions] == [p.scores for p in make_engine().predict_many(items)]

    def test_killed_job_resumes_from_the_cache(self, make_engine: MakeEngine, tmp_path: Path) -> None:
        for number, data in enumerate(voices(40)):
            (tmp_path / f"{number:02}.wav").write_bytes(data)
        with Sandbox(latency=0.05) as slow:
            job = subprocess.Popen([sys.executable, "-c", KILLED, slow.url, str(tmp_path)])
            deadline = time.monotonic() + 60
            while slow.answered < 12 and time.monotonic() < deadline:
                time.sleep(0.01)
            job.kill()
            job.wait(30)
            time.sleep(0.2)
            paid = slow.calls
            predictions = make_engine(base_url=slow.url).predict_many(sorted(tmp_path.glob("*.wav")))
            kept = [p.cached for p in predictions].count(True)
            assert 12 - 3 <= kept <= paid < 40
            assert paid - kept <= 3, "only calls that were under way are lost"
            assert slow.calls == paid + 40 - kept

    def test_four_processes_call_once_per_clip(self) -> None:
        items = voices(12)
        with Sandbox(latency=0.05) as slow, multiprocessing.get_context("spawn").Pool(4) as pool:
            jobs = [(slow.url, items[k:] + items[:k]) for k in (0, 0, 3, 6)]
            results = pool.starmap(predict_in_a_process, jobs, chunksize=1)
            assert slow.calls == 12
        assert sum(calls for _, calls in results) == 12
        first = results[0][0]
        assert results[1][0] == first
        assert results[2][0] == first[3:] + first[:3]

    def test_two_jobs_in_one_process_call_once_per_clip(self, sandbox: Sandbox, make_engine: MakeEngine) -> None:
        items = voices(10)
        engines = [make_engine(), make_engine()]
        threads = [threading.Thread(target=engine.predict_many, args=(items,)) for engine in engines]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sandbox.calls == 10

    def test_rate_limit_is_respected(self, make_engine: MakeEngine) -> None:
        with Sandbox(policy=Policy(requests_per_second=10, max_concurrent_requests=5)) as strict:
            engine = make_engine(base_url=strict.url)
            engine.predict_many(voices(25))
            assert (strict.calls, engine.stats.rate_limited) == (25, 0)
            times = sorted(request.time for request in strict.requests if request.method == "POST")
        assert all(later - earlier >= 1.0 for earlier, later in zip(times, times[10:], strict=False))
        assert engine.stats.seconds_waited > 1.0


class TestSharing:
    def test_pickle_excludes_the_key(self, engine: Engine, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        engine.predict(voice(6.0))
        data = pickle.dumps(engine)
        assert sandbox.api_key.encode() not in data
        back = pickle.loads(data)
        assert back.settings == engine.settings
        with pytest.raises(errors.MissingKeyError):
            back.predict(voice(5.5))
        monkeypatch.setenv("VALENCE_API_KEY", sandbox.api_key)
        assert back.predict(voice(5.5)).emotion in EMOTIONS

    def test_copy_returns_the_same_engine(self, engine: Engine) -> None:
        assert copy.copy(engine) is engine
        assert copy.deepcopy(engine) is engine
        assert engine.__sklearn_clone__() is engine

    def test_joblib_hash_ignores_the_key(self, sandbox: Sandbox) -> None:
        one, other = (Engine(Settings(base_url=sandbox.url, api_key=key)) for key in ("a", "b"))
        assert joblib.hash(one) == joblib.hash(other)
        assert joblib.hash(one) != joblib.hash(Engine(Settings(base_url=sandbox.url, model="7emotions")))

    def test_key_is_not_in_logs_reprs_and_errors(
        self, make_engine: MakeEngine, caplog: pytest.LogCaptureFixture
    ) -> None:
        with (
            Sandbox(api_key="sk-secret-1", faults=Faults(script=["500", "drop"])) as box,
            caplog.at_level(logging.DEBUG),
        ):
            engine = make_engine(base_url=box.url, api_key="sk-secret-1")
            engine.predict_many([voice(6.0), voice(20.0)])
        assert "sk-secret-1" not in caplog.text + repr(engine) + repr(engine.stats)
        with Sandbox(api_key="another") as box, pytest.raises(errors.AuthenticationError) as caught:
            make_engine(base_url=box.url, api_key="sk-secret-1").predict(voice(6.0))
        assert "sk-secret-1" not in repr(caught.value)

    def test_fork_gets_its_own_resources(self, engine: Engine, sandbox: Sandbox) -> None:
        engine.predict(voice(6.0))
        context = multiprocessing.get_context("fork")
        answers = context.SimpleQueue()
        child = context.Process(target=lambda: answers.put(engine.predict(voice(5.5)).emotion))
        child.start()
        child.join(20)
        assert child.exitcode == 0
        assert answers.get() in EMOTIONS
        assert sandbox.calls == 2

    def test_threads_share_an_engine(self, engine: Engine) -> None:
        items = voices(12)
        results: dict[int, object] = {}
        threads = [
            threading.Thread(target=lambda n=n: results.update({n: engine.predict_many(items[n::3])})) for n in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        expected = engine.predict_many(items)
        assert [[p.scores for p in results[n]] for n in range(3)] == [
            [p.scores for p in expected[n::3]] for n in range(3)
        ]  # type: ignore[attr-defined]

    def test_closed_engine_can_be_reused(self, engine: Engine) -> None:
        assert engine.predict(voice(6.0)).emotion in EMOTIONS
        engine.close()
        assert engine.predict(voice(6.0)).cached

    def test_stats(self, engine: Engine) -> None:
        with engine:
            engine.predict_many([*voices(3), *voices(2), b"junk"], on_error="null")
        stats = engine.stats
        assert (stats.calls, stats.cache_hits, stats.failures, stats.retries) == (3, 2, 1, 0)
        assert stats.audio_seconds == 15.0
        assert stats.bytes_sent > 3 * 80_000
        assert stats.as_dict()["calls"] == 3


def test_example_clips_of_every_format(engine: Engine) -> None:
    paths = sorted(
        path for path in (EXAMPLES / "audio").iterdir() if path.suffix in {".wav", ".flac", ".mp3", ".ogg", ".opus"}
    )
    predictions = engine.predict_many(paths)
    assert len(predictions) == 33
    assert all(set(p.scores) == EMOTIONS for p in predictions)
    assert {p.source for p in predictions} == {"discrete", "asynch"}
    assert len({tuple(p.scores.values()) for p in predictions}) == 33
