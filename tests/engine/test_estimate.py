from __future__ import annotations

import io
import tracemalloc
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import EXAMPLES, voice
from valence_integrations import Engine, Settings, errors
from valence_integrations._audio import wav
from valence_integrations._audio.open import open_clip
from valence_integrations._format import size, span
from valence_integrations._limits.policy import Policy, Window, minimum_seconds
from valence_integrations.engine import Estimate
from valence_integrations.sandbox import Sandbox
from valence_integrations.settings import RateLimits

MakeEngine = Callable[..., Engine]
NO_LIMITS = {f"requests_per_{name}": None for name in ("second", "minute", "hour", "day")} | {"burst_limit": None}
DAY, HOUR, MINUTE = 86_400, 3_600, 60


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("valence_integrations._service.poller.FIRST_POLL", 0.05)


def file_of(wave: np.ndarray, rate: int = 8_000) -> bytes:
    return wav.encode(np.rint(wave * 30_000).astype(np.int16), rate)


def clip(seconds: float, seed: int = 0) -> bytes:
    return file_of(voice(seconds, 8_000, seed))


def flac(seconds: float, seed: int = 0) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, voice(seconds, 8_000, seed), 8_000, format="FLAC")
    return file.getvalue()


def windows(**limits: int) -> tuple[Window, ...]:
    return Policy.from_limits(RateLimits(**{**NO_LIMITS, **limits})).windows


class TestLeastSeconds:
    def test_standard_policy(self) -> None:
        standard = Policy.from_limits(RateLimits()).windows
        assert minimum_seconds(100_000, standard) == 9 * DAY + 9 * HOUR + 9 * MINUTE + 9
        assert minimum_seconds(100_001, standard) == 10 * DAY
        assert [minimum_seconds(calls, standard) for calls in (0, 1, 10, 11, 100, 101, 1_000, 1_001, 10_001)] == [
            *(0, 0, 0, 1, 9, MINUTE, 9 * MINUTE + 9, HOUR, DAY)
        ]

    @pytest.mark.parametrize(
        ("limits", "calls", "seconds"),
        [
            ({}, 10**9, 0),
            ({"requests_per_minute": 100}, 250, 2 * MINUTE),
            # A window that shorter ones never fill.
            ({"requests_per_second": 1, "requests_per_minute": 100}, 121, 120),
            ({"requests_per_second": 10, "requests_per_day": 10**9}, 101, 10),
            # A longer window with fewer calls.
            ({"requests_per_second": 50, "requests_per_minute": 7}, 8, MINUTE),
        ],
    )
    def test_custom_windows(self, limits: dict[str, int], calls: int, seconds: float) -> None:
        assert minimum_seconds(calls, windows(**limits)) == seconds

    @given(
        calls=st.integers(0, 400),
        counts=st.lists(st.none() | st.integers(1, 40), min_size=4, max_size=4),
    )
    def test_minimum_equals_the_best_schedule(self, calls: int, counts: list[int | None]) -> None:
        some = [Window(count, length) for count, length in zip(counts, (1.0, 3.0, 6.0, 30.0), strict=True) if count]
        starts: list[float] = []
        for number in range(calls):
            starts.append(max((starts[number - w.count] + w.seconds for w in some if number >= w.count), default=0.0))
        assert minimum_seconds(calls, some) == (starts[-1] if starts else 0.0)


def test_span() -> None:
    assert [span(seconds) for seconds in (0, 0.4, 59.6, 3_600, 90_061)] == [
        *("0 s", "0 s", "1 min", "1 h", "1 d 1 h 1 min 1 s")
    ]
    assert span(90_061, 2) == "1 d 1 h"


def test_size() -> None:
    assert [size(number) for number in (0, 1, 999.0, 1_000, 2_340_000, 5e9)] == [
        *("0 bytes", "1 byte", "999 bytes", "1.0 kB", "2.3 MB", "5.0 GB")
    ]


class TestEstimate:
    def test_every_kind_of_item(self, sandbox: Sandbox, engine: Engine) -> None:
        estimate = engine.estimate(
            [
                clip(6.0),
                None,
                clip(2.0),
                "nope.wav",
                clip(20.0),
                clip(6.0),
                voice(7.0),
                flac(8.0),
                flac(8.0),
                b"junk",
                float("nan"),
            ]
        )
        assert estimate == Estimate(
            items=11,
            missing=2,
            unreadable=estimate.unreadable,
            skipped=0,
            padded=1,
            chunked=0,
            asynch=1,
            distinct=5,
            cached=0,
            undecoded=1,
            uncut=0,
            calls=5,
            audio_seconds=6.0 + 2.0 + 20.0 + 7.0 + 8.0,
            bytes=estimate.bytes,
            seconds=0.0,
        )
        assert estimate.audio_minutes == 43.0 / 60
        assert {index: type(error) for index, error in estimate.unreadable.items()} == {
            3: errors.AudioNotFoundError,
            9: errors.UnreadableAudioError,
        }
        assert str(estimate.unreadable[3]) == "nope.wav: the file cannot be read: No such file or directory."
        assert estimate.unreadable[3].__traceback__ is estimate.unreadable[3].__context__ is None
        assert sandbox.requests == []

    @pytest.mark.parametrize("short", ["pad", "repeat", "skip", "error"])
    @pytest.mark.parametrize("long", ["asynch", "chunk", "truncate", "skip", "error"])
    def test_estimate_matches_the_job(self, sandbox: Sandbox, make_engine: MakeEngine, short: str, long: str) -> None:
        items = [clip(6.0), clip(2.0), clip(2.0), clip(40.0), voice(3.0, seed=1), voice(6.0, seed=2), voice(20.0)]
        engine = make_engine(short_audio=short, long_audio=long, limits=None)
        estimate = engine.estimate(items)
        predictions = engine.predict_many(items, on_error="null")
        stats = engine.stats
        assert (estimate.calls, estimate.bytes) == (stats.calls, stats.bytes_sent)
        assert (estimate.calls, estimate.audio_seconds) == (stats.calls, pytest.approx(stats.audio_seconds))
        assert list(estimate.unreadable) == [n for n, p in enumerate(predictions) if p.error is not None]
        assert [str(e) for e in estimate.unreadable.values()] == [str(p.error) for p in predictions if p.error]
        assert estimate.padded == sum(p.padded for p in predictions)
        assert estimate.chunked == sum(p.source == "chunk" for p in predictions)
        assert estimate.asynch == sum(p.source == "asynch" for p in predictions)
        assert estimate.skipped == sum(p.source is None and p.error is None for p in predictions)
        assert (estimate.cached, estimate.undecoded) == (0, 0)
        paid = sandbox.calls + sandbox.uploads
        after = make_engine(short_audio=short, long_audio=long, api_key=None).estimate(items)
        assert (after.cached, after.calls, after.audio_seconds, after.bytes) == (estimate.distinct, 0, 0.0, 0)
        assert sandbox.calls + sandbox.uploads == paid

    @pytest.mark.parametrize(
        ("frames", "settings"),
        [
            (15 * 96_000 + 1, {"long_audio": "skip"}),
            (15 * 96_000 + 1, {"long_audio": "chunk"}),
            (5 * 96_000 - 1, {"short_audio": "error"}),
        ],
    )
    def test_a_limit_is_applied_to_the_resampled_length(
        self, make_engine: MakeEngine, frames: int, settings: dict[str, str]
    ) -> None:
        item = wav.encode(np.rint(voice(16.0, 96_000)[:frames] * 30_000).astype(np.int16), 96_000)
        engine = make_engine(**settings)
        estimate = engine.estimate([item])
        assert engine.predict(item).source == "discrete"
        assert (estimate.calls, estimate.skipped, estimate.unreadable) == (engine.stats.calls, 0, {})
        assert estimate.audio_seconds == engine.stats.audio_seconds

    @pytest.mark.parametrize(
        ("settings", "seconds", "counts", "size"),
        [
            ({"short_audio": "pad"}, 2.0, {"padded": 1, "calls": 1, "audio_seconds": 2.0}, 5.0),
            ({"short_audio": "repeat"}, 2.0, {"padded": 1, "calls": 1, "audio_seconds": 2.0}, 6.0),
            ({"short_audio": "skip"}, 2.0, {"skipped": 1, "calls": 0, "audio_seconds": 0.0}, 0.0),
            ({}, 6.0, {"padded": 0, "calls": 1, "audio_seconds": 6.0}, 6.0),
            ({"long_audio": "asynch"}, 40.0, {"asynch": 1, "calls": 1, "audio_seconds": 40.0}, 40.0),
            ({"long_audio": "chunk"}, 40.0, {"chunked": 1, "calls": 3, "audio_seconds": 40.0}, 40.0),
            ({"long_audio": "truncate"}, 40.0, {"chunked": 0, "calls": 1, "audio_seconds": 15.0}, 15.0),
            ({"long_audio": "skip"}, 40.0, {"skipped": 1, "calls": 0, "audio_seconds": 0.0}, 0.0),
        ],
    )
    def test_by_header(
        self,
        make_engine: MakeEngine,
        monkeypatch: pytest.MonkeyPatch,
        settings: dict[str, str],
        seconds: float,
        counts: dict[str, float],
        size: float,
    ) -> None:
        monkeypatch.setattr("valence_integrations._audio.decode.blocks", lambda *_: pytest.fail("decoded"))
        estimate = make_engine(**settings).estimate([flac(seconds)])
        assert {name: getattr(estimate, name) for name in counts} == pytest.approx(counts)
        assert estimate.bytes == pytest.approx(size * 16_000, abs=1_000)

    @pytest.mark.parametrize(
        ("settings", "seconds", "error"),
        [
            ({"short_audio": "error"}, 2.0, errors.AudioTooShortError),
            ({"long_audio": "error"}, 40.0, errors.AudioTooLongError),
        ],
    )
    def test_disallowed_lengths_are_unreadable(
        self, make_engine: MakeEngine, settings: dict[str, str], seconds: float, error: type[Exception]
    ) -> None:
        estimate = make_engine(**settings).estimate([flac(seconds), clip(seconds), clip(6.0)])
        assert {index: type(e) for index, e in estimate.unreadable.items()} == {0: error, 1: error}
        assert (estimate.distinct, estimate.calls) == (1, 1)

    def test_estimate_decodes_nothing(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("valence_integrations._audio.decode.blocks", lambda *_: pytest.fail("decoded"))
        paths = sorted(p for p in (EXAMPLES / "audio").iterdir() if p.suffix not in {".md", ".csv", ".py"})
        estimate = engine.estimate(paths)
        assert (estimate.items, estimate.distinct, estimate.calls, estimate.unreadable) == (33, 33, 33, {})
        assert (estimate.asynch, estimate.undecoded) == (1, sum(not open_clip(p).ready for p in paths))

    def test_undecoded_items_count_as_billable(self, sandbox: Sandbox, engine: Engine) -> None:
        engine.predict_many([flac(6.0)])
        estimate = engine.estimate([flac(7.0), flac(8.0)])
        assert (estimate.cached, estimate.undecoded, estimate.calls) == (0, 2, 2)
        assert "2 must be decoded to tell whether they are cached" in str(estimate)
        assert sandbox.calls == 1

    @pytest.mark.parametrize("long_audio", ["asynch", "chunk", "truncate"])
    def test_estimate_is_exact_for_files_sent_before(
        self, make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch, long_audio: str
    ) -> None:
        items = [flac(2.0), flac(6.0), flac(32.0)]
        make_engine(long_audio=long_audio).predict_many(items)
        monkeypatch.setattr("valence_integrations._audio.decode.blocks", lambda *_: pytest.fail("decoded"))
        again = make_engine(long_audio=long_audio).estimate(items)
        assert (again.cached, again.undecoded, again.calls, again.padded) == (3, 0, 0, 1)
        other = make_engine(long_audio=long_audio, discrete_path="/v1/discrete/emotion").estimate(items)
        paid = {"asynch": 2, "chunk": 5, "truncate": 3}[long_audio]
        assert (other.undecoded, other.calls) == (0, paid)

    def test_cached_items_are_not_counted(self, engine: Engine) -> None:
        engine.predict_many([clip(6.0), clip(2.0)])
        estimate = engine.estimate([clip(6.0), clip(2.0), clip(2.0), clip(7.0)])
        assert (estimate.distinct, estimate.cached, estimate.calls, estimate.audio_seconds) == (3, 2, 1, 7.0)

    def test_unfetched_upload_counts_as_cached(self, make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("valence_integrations._service.poller.DEADLINE_BASE", 0.1)
        monkeypatch.setattr("valence_integrations._service.poller.DEADLINE_PER_MINUTE", 0.0)
        with Sandbox(asynch_pickup=99.0) as asleep:
            engine = make_engine(base_url=asleep.url)
            assert engine.estimate([clip(20.0)]).calls == 1
            with pytest.raises(errors.AsynchTimeoutError):
                engine.predict(clip(20.0))
            assert (engine.estimate([clip(20.0)]).cached, engine.estimate([clip(20.0)]).calls) == (1, 0)

    def test_without_a_cache_and_without_a_key(self, tmp_path: Path) -> None:
        estimate = Engine(Settings(cache=False)).estimate([clip(6.0)] * 3)
        assert (estimate.distinct, estimate.cached, estimate.calls) == (1, 0, 1)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("limits", "seconds"),
        [("auto", 1.0), (None, 0.0), (RateLimits(requests_per_second=None, requests_per_minute=5), 2 * MINUTE)],
    )
    def test_seconds_follow_the_limits(self, make_engine: MakeEngine, limits: Any, seconds: float) -> None:
        items = [voice(5.0, 8_000, seed) for seed in range(11)]
        assert make_engine(limits=limits, sampling_rate=8_000).estimate(items).seconds == seconds

    def test_json_bodies(self, make_engine: MakeEngine) -> None:
        engine = make_engine(payload="json")
        estimate = engine.estimate([clip(6.0), clip(7.0)])
        engine.predict_many([clip(6.0), clip(7.0)])
        assert estimate.bytes == pytest.approx(engine.stats.bytes_sent, rel=0.35)

    def test_unusual_wav_header_is_looked_up_in_the_cache(self, engine: Engine) -> None:
        file = io.BytesIO()
        with wave.open(file, "wb") as writer:
            writer.setparams((1, 2, 8_000, 0, "NONE", ""))
            writer.writeframes(np.rint(voice(2.0, 8_000) * 30_000).astype("<i2").tobytes())
        data = bytearray(file.getvalue())
        data[12:12] = b"LIST\x03\x00\x00\x00abc\x00"
        data[4:8] = (len(data) - 8).to_bytes(4, "little")
        item = bytes(data)
        engine.predict(item)
        assert (engine.estimate([item, clip(2.0)]).distinct, engine.estimate([item]).cached) == (1, 1)

    def test_large_file_is_hashed_in_blocks(
        self, tmp_path: Path, make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("valence_integrations._audio.files._IN_MEMORY", 100_000)
        (tmp_path / "long.wav").write_bytes(clip(71.0))
        engine = make_engine(limits=None)
        engine.predict_many([tmp_path / "long.wav"])
        estimate = engine.estimate([tmp_path / "long.wav"])
        assert (estimate.cached, estimate.calls) == (1, 0)
        chunked = make_engine(long_audio="chunk").estimate([tmp_path / "long.wav"])
        assert (chunked.chunked, chunked.undecoded, chunked.calls) == (1, 1, 6)
        assert chunked.audio_seconds == pytest.approx(71.0)

    def test_iterator_needs_constant_memory(self, engine: Engine) -> None:
        def items(number: int) -> Iterator[np.ndarray]:
            for seed in range(number):
                yield np.full(80_000, 0.001 * seed, dtype=np.float64)

        engine.estimate(items(2))
        tracemalloc.start()
        assert engine.estimate(items(100)).distinct == 100
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 8e6

    def test_single_item_raises_type_error(self, engine: Engine) -> None:
        with pytest.raises(TypeError, match="items must be many"):
            engine.estimate("a.wav")

    def test_no_items(self, engine: Engine) -> None:
        estimate = engine.estimate([])
        assert (estimate.items, estimate.calls, estimate.seconds) == (0, 0, 0.0)

    def test_number_of_cuts_is_an_estimate_for_audio_that_is_not_decoded(
        self, tmp_path: Path, make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("valence_integrations._audio.files._IN_MEMORY", 700_000)
        (tmp_path / "large.wav").write_bytes(clip(71.0))
        stereo = wav.encode(np.repeat(np.rint(voice(20.0, 8_000) * 30_000), 2).astype(np.int16), 8_000)
        stereo = stereo[:22] + b"\2\0" + stereo[24:28] + (32_000).to_bytes(4, "little") + b"\4\0" + stereo[34:]
        engine = make_engine(long_audio="chunk")
        estimate = engine.estimate([tmp_path / "large.wav", stereo, stereo, clip(20.0), flac(6.0)])
        assert (estimate.chunked, estimate.uncut, estimate.undecoded, estimate.calls) == (4, 2, 3, 6 + 2 + 2 + 1)
        lines = str(estimate).splitlines()
        assert "  calls       about 11" in lines
        assert "2 items must be decoded to be cut: the number of cuts is an estimate." in lines
        exact = engine.estimate([clip(20.0)])
        assert (exact.uncut, "about" in str(exact), "must be decoded to be cut" in str(exact)) == (0, False, False)

    def test_str_is_a_table(self, engine: Engine) -> None:
        bad = [b"junk%d" % number for number in range(5)]
        table = str(engine.estimate([clip(6.0), clip(2.0), None, flac(8.0), *bad])).splitlines()
        assert table[:15] == [
            "items                9",
            "  missing            1",
            "  skipped            0",
            "  unreadable         5",
            "  padded             1",
            "  chunked            0",
            "  asynch             0",
            "distinct             3",
            "  cached             0",
            "to be paid",
            "  calls              3",
            "  audio        0.3 min",
            "  bytes       304.6 kB",
            "  at best          0 s",
            "1 must be decoded to tell whether they are cached: counted as billable.",
        ]
        assert [line.split(":")[0] for line in table[15:]] == [
            "item 4",
            "item 5",
            "item 6",
            "and 2 more in .unreadable",
        ]
