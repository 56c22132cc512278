from __future__ import annotations

import hashlib
import io
import math
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import soundfile

from tests.conftest import voice
from valence_integrations import Engine, errors
from valence_integrations._audio import decode, wav
from valence_integrations.engine import Segmented
from valence_integrations.sandbox import Faults, Sandbox

MakeEngine = Callable[..., Engine]
Int16 = npt.NDArray[np.int16]

RATE = 8_000
CALL: Int16 = np.rint(np.concatenate([voice(8.0, RATE, seed) for seed in range(5)]) * 30_000).astype(np.int16)
TURNS = [{"start": 0.0, "end": 6.0}, {"start": 20.0, "end": 33.5}, {"start": 7.0, "end": 14.0}]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("valence_integrations._service.retry.WAIT_INITIAL", 0.01)
    monkeypatch.setattr("valence_integrations._service.retry.WAIT_JITTER", 0.01)
    monkeypatch.setattr("valence_integrations._service.poller.FIRST_POLL", 0.05)


def cut(start: float, end: float) -> bytes:
    return wav.encode(CALL[round(start * RATE) : round(end * RATE)], RATE)


def sent(sandbox: Sandbox) -> list[str | None]:
    return sorted(request.sha256 for request in sandbox.requests if request.sha256)


def digests(*files: bytes) -> list[str]:
    return sorted(hashlib.sha256(file).hexdigest() for file in files)


def call(segments: Any, **options: Any) -> Segmented:
    return Segmented(wav.encode(CALL, RATE), segments, **options)


class TestAnswers:
    def test_each_segment_is_annotated_like_a_separate_item(self, engine: Engine, sandbox: Sandbox) -> None:
        prediction = engine.predict(call(TURNS))
        assert sent(sandbox) == digests(cut(0, 6), cut(20, 33.5), cut(7, 14))
        alone = engine.predict_many([cut(turn["start"], turn["end"]) for turn in TURNS])
        assert all(own.cached for own in alone)
        assert [(part.start, part.end) for part in prediction.segments] == [(0.0, 6.0), (20.0, 33.5), (7.0, 14.0)]
        for part, own in zip(prediction.segments, alone, strict=True):
            assert (part.emotion, part.confidence, part.scores) == (own.emotion, own.confidence, own.scores)
        for emotion, score in prediction.scores.items():
            mean = sum(seconds * own.scores[emotion] for seconds, own in zip((6, 13.5, 7), alone, strict=True)) / 26.5
            assert score == pytest.approx(mean)
        assert prediction.emotion == max(prediction.scores, key=prediction.scores.__getitem__)
        assert (prediction.source, prediction.duration, prediction.padded) == ("discrete", 40.0, False)
        assert (prediction.cached, prediction.model, prediction.error) == (False, "4emotions", None)
        assert prediction.request_id
        assert engine.predict(call(TURNS)).cached

    def test_equal_segments_need_one_call(self, engine: Engine, sandbox: Sandbox) -> None:
        predictions = engine.predict_many([call(TURNS[:2] + TURNS[:1]), call(TURNS[:1])])
        assert sandbox.calls == 2
        assert [len(prediction.segments) for prediction in predictions] == [3, 1]

    @pytest.mark.parametrize(
        "segments",
        [
            [{"start": 1, "end": 7, "speaker": "A"}, {"start": np.float32(8), "end": np.array(14.5)}],
            [{"timestamp": (1.0, 7.0), "text": "Well,"}, {"timestamp": [8.0, 14.5]}],
            {"start": [1.0, 8.0], "end": [7.0, 14.5], "label": ["A", "B"]},
            {"timestamp": [(1.0, 7.0), (8.0, 14.5)]},
            np.array([{"start": 1.0, "end": 7.0}, {"start": 8.0, "end": 14.5}]),
            ({"start": start, "end": end} for start, end in ((1.0, 7.0), (8.0, 14.5))),
        ],
        ids=["diarizer", "whisper", "lists", "lists of whisper", "array", "iterator"],
    )
    def test_segment_formats(self, engine: Engine, sandbox: Sandbox, segments: Any) -> None:
        prediction = engine.predict(call(segments))
        assert [(part.start, part.end) for part in prediction.segments] == [(1.0, 7.0), (8.0, 14.5)]
        assert sent(sandbox) == digests(cut(1, 7), cut(8, 14.5))

    @pytest.mark.parametrize("segments", [None, math.nan, [], (), np.array([]), {"start": [], "end": []}])
    def test_no_segments_make_a_missing_item(self, engine: Engine, sandbox: Sandbox, segments: Any) -> None:
        prediction = engine.predict(call(segments))
        assert (prediction.emotion, prediction.segments, prediction.source) == (None, (), None)
        assert prediction.error is None
        assert engine.predict(Segmented(None, TURNS)).segments == ()
        assert sandbox.calls == 0

    def test_audio_formats(self, engine: Engine, tmp_path: Path) -> None:
        soundfile.write(path := tmp_path / "call.flac", CALL, RATE)
        forms = [path, path.read_bytes(), io.BytesIO(path.read_bytes()), (CALL, RATE), {"array": CALL}]
        forms[-1]["sampling_rate"] = RATE  # type: ignore[index]
        expected = engine.predict(call(TURNS))
        for item in forms:
            prediction = engine.predict(Segmented(item, TURNS))
            assert prediction.segments == expected.segments
            assert prediction.cached

    def test_file_object_closed_after_its_yield_is_still_read(self, engine: Engine) -> None:
        file = io.BytesIO(wav.encode(CALL, RATE))

        def items() -> Any:
            yield Segmented(file, TURNS)
            file.close()

        assert [part.emotion for part in engine.predict_many(items())[0].segments] == [
            part.emotion for part in engine.predict(call(TURNS)).segments
        ]

    def test_missing_or_rounded_end_is_the_end_of_the_audio(self, engine: Engine, sandbox: Sandbox) -> None:
        prediction = engine.predict(call([{"timestamp": (33.0, None)}, {"start": 32.0, "end": 40.4}]))
        assert [(part.start, part.end) for part in prediction.segments] == [(33.0, 40.0), (32.0, 40.4)]
        assert sent(sandbox) == digests(cut(33, 40), cut(32, 40))

    def test_audio_is_decoded_once(self, engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        decoded = []
        blocks = decode.blocks
        monkeypatch.setattr(decode, "blocks", lambda source, frames: decoded.append(source) or blocks(source, frames))
        soundfile.write(path := tmp_path / "call.flac", CALL, RATE)
        turns = [{"start": start / 2, "end": start / 2 + 6} for start in range(60)]
        assert len(engine.predict(Segmented(path, turns)).segments) == 60
        assert len(decoded) == 1

    def test_audio_is_released(self, make_engine: MakeEngine) -> None:
        engine = make_engine(cache=False)
        engine.predict(call(TURNS))
        long = np.zeros(60 * 48_000, dtype=np.int16)
        turns = [{"start": start, "end": start + 5} for start in range(0, 60, 5)]
        tracemalloc.start()
        try:
            predictions = engine.predict_many(Segmented((long, 48_000), turns) for _ in range(4))
            left, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(predictions) == 4
        assert left < long.nbytes


class TestEstimate:
    def test_estimate_matches_the_job(self, engine: Engine, sandbox: Sandbox) -> None:
        turns = [*TURNS, TURNS[0], {"start": 20.0, "end": 21.0}, {"start": 9.0, "end": 8.0}]
        items = [call(turns), call(TURNS[:1]), call([]), Segmented(None, TURNS)]
        before = engine.estimate(items)
        assert (before.items, before.missing, before.skipped, list(before.unreadable)) == (4, 2, 0, [0])
        assert (before.calls, before.padded, before.chunked, before.undecoded) == (4, 1, 1, 0)
        assert before.audio_seconds == pytest.approx(6 + 13.5 + 7 + 1)
        assert sandbox.requests == []
        predictions = engine.predict_many(items, on_error="null")
        assert sandbox.calls == before.calls
        assert str(before.unreadable[0]) == str(predictions[0].error)
        assert (engine.estimate(items).calls, engine.estimate(items).cached) == (0, 2)

    @pytest.mark.parametrize(
        ("policy", "bad"),
        [
            ({"short_audio": "error"}, [(0.0, 2.0)]),
            ({"short_audio": "error"}, [(0.0, 2.0), (3.0, 4.0), (9.0, 8.0)]),
            ({"long_audio": "error"}, [(0.0, 20.0)]),
        ],
    )
    def test_segments_that_fail_leave_the_calls_of_the_others(
        self, make_engine: MakeEngine, policy: dict[str, str], bad: list[tuple[float, float]]
    ) -> None:
        item = call([*({"timestamp": times} for times in bad), *TURNS])
        engine = make_engine(**policy)
        estimate = engine.estimate([item])
        (prediction,) = engine.predict_many([item], on_error="null")
        assert (estimate.calls, estimate.audio_seconds) == (engine.stats.calls, engine.stats.audio_seconds) == (3, 26.5)
        assert (str(estimate.unreadable[0]), estimate.unreadable[0].code) == (
            str(prediction.error),
            prediction.error and prediction.error.code,
        )
        assert estimate.unreadable[0].__traceback__ is None

    def test_item_whose_segments_all_fail_is_not_skipped(self, make_engine: MakeEngine) -> None:
        estimate = make_engine(short_audio="error").estimate([call([{"start": 0.0, "end": 2.0}])])
        assert (estimate.calls, estimate.skipped, list(estimate.unreadable)) == (0, 0, [0])

    @pytest.mark.parametrize("segments", [None, [], {}, math.nan, pd.NA])
    def test_item_without_segments_is_missing(self, engine: Engine, segments: Any) -> None:
        estimate = engine.estimate([call(segments)])
        assert (estimate.missing, estimate.skipped, estimate.calls, estimate.unreadable) == (1, 0, 0, {})
        prediction = engine.predict(call(segments))
        assert (prediction.segments, prediction.error) == ((), None)


class TestShortSegments:
    @pytest.mark.parametrize(
        ("start", "end", "window"),
        [
            (20.0, 21.0, (17.75, 22.75)),  # 0.5 s that the service skips, and 1.75 s on both sides
            (20.0, 24.9, (19.9, 24.9)),
            (0.0, 1.0, (0.0, 5.0)),
            (1.0, 2.0, (0.0, 5.0)),
            (39.0, 40.0, (35.0, 40.0)),
            (38.5, 39.0, (35.0, 40.0)),
        ],
    )
    def test_short_segment_is_widened(
        self, engine: Engine, sandbox: Sandbox, start: float, end: float, window: tuple[float, float]
    ) -> None:
        prediction = engine.predict(call([{"start": start, "end": end}], short="widen"))
        assert sent(sandbox) == digests(cut(*window))
        assert [(part.start, part.end) for part in prediction.segments] == [(start, end)]
        assert not prediction.padded

    def test_short_segment_is_padded(self, engine: Engine, sandbox: Sandbox) -> None:
        prediction = engine.predict(call([{"start": 20.0, "end": 21.0}]))
        assert engine.predict(cut(20, 21)).cached
        assert prediction.padded
        assert sandbox.calls == 1

    def test_audio_shorter_than_the_minimum(self, make_engine: MakeEngine) -> None:
        item = Segmented(cut(0, 3), [{"start": 1.0, "end": 2.0}], "widen")
        assert make_engine().predict(item).padded
        with pytest.raises(errors.AudioTooShortError, match=r"segment 0 \(1 to 2 s\): 3\.00 s is too short"):
            make_engine(short_audio="error").predict(item)

    def test_skipped_segments_stay_in_the_timeline(self, make_engine: MakeEngine) -> None:
        engine = make_engine(short_audio="skip")
        prediction = engine.predict(call([{"start": 20.0, "end": 21.0}, TURNS[0]]))
        skipped, heard = prediction.segments
        assert (skipped.start, skipped.end, skipped.emotion, skipped.scores) == (20.0, 21.0, None, {})
        assert math.isnan(skipped.confidence)
        assert (prediction.scores, prediction.emotion) == (heard.scores, heard.emotion)
        assert prediction.error is None

    def test_invalid_short_raises(self) -> None:
        with pytest.raises(errors.SettingsError, match="short must be one of 'pad', 'widen', not 'drop'"):
            Segmented(b"", [], short="drop")  # type: ignore[arg-type]


class TestLongSegments:
    LONG = ({"start": 2.0, "end": 30.0}, TURNS[0])

    @pytest.mark.parametrize("way", ["asynch", "chunk"])
    def test_one_emotion_for_the_whole_segment(self, make_engine: MakeEngine, sandbox: Sandbox, way: str) -> None:
        engine = make_engine(long_audio=way)
        prediction = engine.predict(call(self.LONG))
        alone = engine.predict(cut(2, 30))
        assert alone.cached
        assert len(alone.segments) > 1
        first, _ = prediction.segments
        assert (first.start, first.end, first.emotion, first.scores) == (2.0, 30.0, alone.emotion, alone.scores)
        assert prediction.source == way
        assert sandbox.uploads == (way == "asynch")

    def test_long_segment_is_truncated(self, make_engine: MakeEngine, sandbox: Sandbox) -> None:
        prediction = make_engine(long_audio="truncate").predict(call(self.LONG))
        assert sent(sandbox) == digests(cut(2, 17), cut(0, 6))
        assert prediction.segments[0].end == 30.0

    def test_long_segment_raises_under_error(self, make_engine: MakeEngine) -> None:
        with pytest.raises(errors.AudioTooLongError, match=r"segment 0 \(2 to 30 s\): 28\.00 s is too long"):
            make_engine(long_audio="error").predict(call(self.LONG))

    def test_asynch_api_model_warning(self, make_engine: MakeEngine) -> None:
        with pytest.warns(UserWarning, match="The AsynchAPI takes no model"):
            make_engine(model="7emotions").predict_many([call(self.LONG)])


class TestFailures:
    @pytest.mark.parametrize(
        ("segment", "message"),
        [
            ({"start": 9.0, "end": 9.0}, "segment 1: it ends at 9 s, and begins at 9 s"),
            ({"start": 9.0, "end": 8.0}, "segment 1: it ends at 8 s, and begins at 9 s"),
            ({"start": 9.0, "end": 9.00001}, "segment 1: from 9 to 9.00001 s there is no audio"),
            ({"start": 38.0, "end": 41.0}, "segment 1: 38 to 41 s lies outside of the audio, which has 40.00 s"),
            ({"start": 9_000, "end": 14_000}, "Times are in seconds, not milliseconds"),
            ({"start": -1.0, "end": 6.0}, "segment 1: -1 to 6 s lies outside of the audio"),
            ({"timestamp": (41.0, None)}, "segment 1: it ends at 40 s, and begins at 41 s"),
            ({"start": math.nan, "end": 6.0}, "segment 1: its start must be a number of seconds, not nan"),
            ({"start": 1.0, "end": math.inf}, "segment 1: its end must be a number of seconds, not inf"),
            ({"start": None, "end": 6.0}, "segment 1: its start must be a number of seconds, not None"),
            ({"start": "1", "end": 6.0}, "segment 1: its start must be a number of seconds, not '1'"),
            ({"begin": 1.0, "end": 6.0}, "segment 1: {'begin': 1.0, 'end': 6.0} is not a segment. A segment is "),
            ({"timestamp": None}, "segment 1: {'timestamp': None} is not a segment. A segment is "),
            (None, "segment 1: None is not a segment. A segment is "),
            ((1.0, 6.0), "segment 1: (1.0, 6.0) is not a segment. A segment is "),
        ],
    )
    def test_invalid_segment_is_named_and_the_others_are_annotated(
        self, engine: Engine, sandbox: Sandbox, segment: Any, message: str
    ) -> None:
        good = [TURNS[0], TURNS[2]]
        items = [call(good), call([good[0], segment, good[1]])]
        expected, prediction = engine.predict_many(items, on_error="null")
        assert message in str(prediction.error)
        assert str(prediction.error).startswith(f"audio of {len(wav.encode(CALL, RATE))} bytes, segment 1: ")
        assert (prediction.segments[0], prediction.segments[2]) == expected.segments
        assert (prediction.scores, prediction.emotion) == (expected.scores, expected.emotion)
        assert (prediction.segments[1].emotion, prediction.segments[1].scores) == (None, {})
        assert sandbox.calls == 2
        with pytest.raises(errors.BatchError) as caught:
            engine.predict_many(items)
        assert list(caught.value.errors) == [1]
        assert len(caught.value.predictions[1].segments) == 3
        with pytest.raises(errors.AudioError):
            engine.predict(items[1])

    @pytest.mark.parametrize("segments", ["0-5", 5.0, {"start": [1.0], "end": [2.0, 3.0]}])
    def test_invalid_segments_argument_is_an_audio_error(self, engine: Engine, segments: Any) -> None:
        (prediction,) = engine.predict_many([call(segments)], on_error="null")
        assert isinstance(prediction.error, errors.AudioError)
        assert "segments" in str(prediction.error)

    def test_unreadable_audio_raises(self, engine: Engine) -> None:
        with pytest.raises(errors.UnreadableAudioError, match=r"^/nowhere/call\.wav: the file cannot be read"):
            engine.predict(Segmented("/nowhere/call.wav", TURNS))
        with pytest.raises(errors.UnreadableAudioError, match="URLs are not fetched"):
            engine.predict(Segmented("https://example.com/call.wav", TURNS))

    def test_failed_call_affects_one_segment(self, make_engine: MakeEngine) -> None:
        with Sandbox(faults=Faults(script=["400"])) as sandbox:
            engine = make_engine(base_url=sandbox.url, api_key=sandbox.api_key)
            prediction = engine.predict_many([call(TURNS)], on_error="null")[0]
            assert isinstance(prediction.error, errors.BadRequestError)
            (failed,) = (number for number, part in enumerate(prediction.segments) if part.emotion is None)
            assert f"segment {failed} ({TURNS[failed]['start']:g} to " in str(prediction.error)
            assert engine.predict(call(TURNS)).error is None
            assert sandbox.calls == 4

    def test_several_errors_are_combined(self, engine: Engine) -> None:
        bad = [{"start": number, "end": 0.0} for number in range(1, 6)]
        (prediction,) = engine.predict_many([call([*bad, TURNS[0]])], on_error="null")
        assert type(prediction.error) is errors.ItemError
        message = str(prediction.error)
        assert message.startswith("5 of 6 segments failed: audio of ")
        assert message.endswith("; and 2 more")
        assert "segment 2: it ends at 0 s, and begins at 3 s" in message
        assert prediction.error.code == "segments_failed"

    def test_job_errors_stop_the_job(self, make_engine: MakeEngine) -> None:
        with pytest.raises(errors.AuthenticationError):
            make_engine(api_key="wrong").predict(call(TURNS))
        engine = make_engine(max_calls=2)
        with pytest.raises(errors.BudgetExceededError):
            engine.predict_many([call(TURNS)])
        assert engine.stats.calls == 2
