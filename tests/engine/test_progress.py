from __future__ import annotations

import io
import logging
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import voice
from valence_integrations import EmotionPrediction, Engine, errors
from valence_integrations._audio import wav
from valence_integrations._limits.policy import Policy
from valence_integrations.engine import Stats
from valence_integrations.engine import _progress as progress_module
from valence_integrations.engine._progress import Progress
from valence_integrations.sandbox import Faults, Sandbox
from valence_integrations.settings import RateLimits

MakeEngine = Callable[..., Engine]


def clips(number: int) -> list[bytes]:
    return [wav.encode(np.rint(voice(5.0, 8_000, seed) * 30_000).astype(np.int16), 8_000) for seed in range(number)]


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Simulated:
    """A simulated job whose items the test finishes."""

    def __init__(self, total: int | None, **options: object) -> None:
        self.clock = Clock()
        self.stats = Stats(calls=7, retries=3)
        self.progress = Progress(total, self.stats, clock=self.clock, **options)  # type: ignore[arg-type]

    def finish(self, seconds: float, number: int = 1, calls: int = 1, **prediction: object) -> None:
        for _ in range(number):
            self.clock.now += seconds
            self.stats.add(calls=calls)
            self.progress.watch(Future()).set_result(EmotionPrediction(**prediction))  # type: ignore[arg-type]


class TestCounts:
    def test_items_count_when_done(self) -> None:
        progress = Progress(None, Stats())
        outcomes: list[Future[EmotionPrediction]] = [progress.watch(Future()) for _ in range(5)]
        outcomes[3].set_result(EmotionPrediction(cached=True))
        assert (progress.done, progress.cached, progress.failed) == (1, 1, 0)
        outcomes[0].set_result(EmotionPrediction(error=errors.UnreadableAudioError("bad")))
        assert (progress.done, progress.cached, progress.failed) == (2, 1, 1)
        outcomes[1].cancel()
        outcomes[2].set_exception(ZeroDivisionError())
        assert progress.done == 2
        outcomes[4].set_result(EmotionPrediction())
        assert (progress.done, progress.cached, progress.failed) == (3, 1, 1)

    def test_counts_are_thread_safe(self, capfd: pytest.CaptureFixture[str]) -> None:
        progress = Progress(800, Stats(), show=True)
        outcomes: list[Future[EmotionPrediction]] = [progress.watch(Future()) for _ in range(800)]
        threads = [
            threading.Thread(target=lambda n=n: [o.set_result(EmotionPrediction()) for o in outcomes[n::8]])
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        progress.finish()
        progress.close()
        assert progress.done == 800
        assert "800/800" in capfd.readouterr().err

    def test_finish_waits_for_threads_that_report(self) -> None:
        progress = Progress(1, Stats())
        outcome = progress.watch(Future())
        threading.Timer(0.05, outcome.set_result, [EmotionPrediction()]).start()
        progress.finish()
        assert progress.done == 1

    def test_counts_are_per_job(self) -> None:
        job = Simulated(None)
        job.finish(1.0)
        job.stats.add(retries=2)
        assert (job.progress.made("calls"), job.progress.made("retries")) == (1, 2)
        assert str(job.progress) == "cached=0, failed=0, retried=2"


class TestTimeLeft:
    def test_seconds_left_by_speed(self) -> None:
        job = Simulated(100)
        assert job.progress.seconds_left is None
        job.finish(0.5, 20)
        assert job.progress.speed == pytest.approx(2.0)
        assert job.progress.seconds_left == pytest.approx(40.0)
        job.finish(0.5, 80)
        assert job.progress.seconds_left == 0.0
        assert job.progress.speed is None

    def test_speed_is_that_of_recent_items(self) -> None:
        job = Simulated(10_000)
        job.finish(0.001, 5_000, calls=0, cached=True)
        job.finish(1.0, 400)
        assert job.progress.speed == pytest.approx(1.0, rel=0.05)

    def test_seconds_left_by_rate_limits(self) -> None:
        job = Simulated(100_000, windows=lambda: Policy.from_limits(RateLimits()).windows)
        job.finish(0.05, 10)
        days_9_hours_9_minutes_9_seconds_9 = 810_549.0
        assert job.progress.seconds_left == pytest.approx(days_9_hours_9_minutes_9_seconds_9 - 0.5)
        # The remaining time does not shrink during a pause without calls.
        job.clock.now += 5_000.0
        assert job.progress.seconds_left == pytest.approx(days_9_hours_9_minutes_9_seconds_9 - 1)

    def test_rate_limits_known_after_the_first_call(self) -> None:
        policy = Policy()
        job = Simulated(201, windows=lambda: policy.windows)
        job.finish(0.0, 1)
        assert job.progress.seconds_left == 0.0
        policy = Policy.from_limits(RateLimits())
        assert job.progress.seconds_left == pytest.approx(120.0)

    def test_cached_items_need_no_call(self) -> None:
        job = Simulated(20_000, windows=lambda: Policy.from_limits(RateLimits()).windows)
        job.finish(0.0, 1_000, calls=0, cached=True)
        left = job.progress.seconds_left
        job.finish(0.0, 1_000, calls=1)
        assert left is not None
        assert left < 3_600
        assert job.progress.seconds_left == pytest.approx(86_400 + 9 * 3_600, rel=0.05)

    def test_without_a_total(self) -> None:
        job = Simulated(None)
        job.finish(0.5, 4)
        assert (job.progress.seconds_left, job.progress.speed) == (None, pytest.approx(2.0))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class TestShown:
    def test_nothing_is_shown_by_default(self, engine: Engine, capfd: pytest.CaptureFixture[str]) -> None:
        engine.predict_many([*clips(2), b"junk"], on_error="null")
        assert capfd.readouterr() == ("", "")

    def test_log_shows_first_and_last_line(self, engine: Engine, capfd: pytest.CaptureFixture[str]) -> None:
        one, other = clips(2)
        engine.predict_many([one, other, b"junk", one], on_error="null", progress=True)
        printed = capfd.readouterr()
        begin, end = printed.err.splitlines()
        assert begin == "emotions: 0/4 [00:00<?, ?clip/s, cached=0, failed=0, retried=0]"
        assert re.fullmatch(r"emotions: 4/4 \[00:\d\d<00:00, .*clip.*, cached=1, failed=1, retried=0\]", end)
        assert printed.out == ""

    def test_log_lines_appear_at_intervals(
        self, engine: Engine, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert progress_module._LOG_SECONDS >= 30
        monkeypatch.setattr(progress_module, "_LOG_SECONDS", 0.0)
        engine.predict_many(clips(4), progress=True)
        lines = capfd.readouterr().err.splitlines()
        assert [line.split()[1] for line in lines] == ["0/4", "1/4", "2/4", "3/4", "4/4", "4/4"]

    def test_without_a_total(self, engine: Engine, capfd: pytest.CaptureFixture[str]) -> None:
        engine.predict_many(iter(clips(2)), progress=True)
        begin, end = capfd.readouterr().err.splitlines()
        assert begin.startswith("emotions: 0/? [00:00<?, ")
        assert end.startswith("emotions: 2/? [00:00<?, ")

    def test_retries_are_shown(self, make_engine: MakeEngine, capfd: pytest.CaptureFixture[str]) -> None:
        with Sandbox(faults=Faults(script=["503"], retry_after=0)) as shaky:
            make_engine(base_url=shaky.url).predict_many(clips(2), progress=True)
        assert "cached=0, failed=0, retried=1]" in capfd.readouterr().err

    def test_terminal_shows_a_bar(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        engine.predict_many(clips(3), progress=True)
        states = terminal.getvalue().split("\r")
        assert states[1].startswith("emotions:   0%|")
        assert re.match(r"emotions: 100%\|.*\| 3/3 \[00:0\d<00:00, .*cached=0, failed=0, retried=0\]", states[-1])
        assert terminal.getvalue().endswith("\n")

    def test_later_items_are_shown_before_the_first_is_done(
        self, make_engine: MakeEngine, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(progress_module, "_LOG_SECONDS", 0.0)
        monkeypatch.setattr("valence_integrations._service.poller.FIRST_POLL", 0.5)
        engine = make_engine()
        stream = engine.iter_predict([voice(20.0), *clips(3)], progress=True)
        first = next(stream)
        assert first.source == "asynch"
        assert "3/4" in capfd.readouterr().err
        assert len(list(stream)) == 3

    def test_format_time(self) -> None:
        assert progress_module._format_time(810_549.0) == "9 d 9 h"
        assert [progress_module._format_time(seconds) for seconds in (None, 75.0, 7_200.0)] == ["?", "01:15", "2:00:00"]


class TestLog:
    def test_policy_and_failures_are_logged(self, make_engine: MakeEngine, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "valence_integrations")
        with Sandbox(faults=Faults(script=["429", "500"])) as shaky:
            make_engine(base_url=shaky.url).predict_many(clips(1))
        messages = [r.getMessage() for r in caplog.records if not r.getMessage().startswith("job ")]
        messages = [line for line in messages if "stamina" not in line]
        assert messages[0].startswith("the account's policy: {'requests_per_second': 1000000,")
        assert [line.split(":")[0] for line in messages[1:]] == [
            "a call failed",
            "the service answered 429",
            "a call failed",
        ]

    def lines(self, caplog: pytest.LogCaptureFixture) -> list[str]:
        return [
            f"{r.levelname} {re.sub(r'[0-9.]+ s,', 'N s,', re.sub('job [0-9]+', 'job N', r.getMessage()))}"
            for r in caplog.records
            if r.name == "valence_integrations" and r.getMessage().startswith("job ")
        ]

    def test_job_is_logged(self, engine: Engine, sandbox: Sandbox, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        (one,) = clips(1)
        engine.predict_many([one, {"bytes": b"", "path": "a.wav"}, one], on_error="null")
        assert self.lines(caplog) == [
            f"INFO job N begins: 3 items, model 4emotions at {sandbox.url}",
            "WARNING job N, item 1: UnreadableAudioError: a.wav: the file is empty.",
            "INFO job N ends: 3 of 3 items done in N s, 1 cached, 1 failed; 1 calls, 0 retries, 0 answers of 429",
        ]

    def test_stopped_job_is_logged(self, make_engine: MakeEngine, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.WARNING, "valence_integrations")
        engine = make_engine(max_calls=1)
        with pytest.raises(errors.BudgetExceededError):
            engine.predict_many(clips(8))
        (line,) = self.lines(caplog)
        assert line.startswith("ERROR job N stops: BudgetExceededError: the budget of 1 call is spent.")
        assert re.search(r"; \d of 8 items done in N s, 0 cached, 0 failed; 1 calls, 0 retries,", line)

    def test_failing_iterator_is_logged_without_its_message(
        self, engine: Engine, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.WARNING, "valence_integrations")
        with pytest.raises(RuntimeError):
            engine.predict_many(exec("raise RuntimeError('secret')") for _ in range(1))
        (line,) = self.lines(caplog)
        assert line.startswith("ERROR job N stops: RuntimeError: ")
        assert "secret" not in line

    def test_abandoned_job_is_logged(self, engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        stream = engine.iter_predict(clips(2))
        next(stream)
        stream.close()  # type: ignore[attr-defined]
        assert self.lines(caplog)[-1].startswith("INFO job N is left: ")

    def test_default_handler_is_a_null_handler(self) -> None:
        logger = logging.getLogger("valence_integrations")
        assert [type(handler) for handler in logger.handlers] == [logging.NullHandler]


INTERRUPTED = """
import sys
from pathlib import Path
from valence_integrations import Engine, Settings

url, key, directory, cache = sys.argv[1:]
clips = sorted(Path(directory).glob("*.wav"))
with Engine(Settings(base_url=url, api_key=key, cache=Path(cache) if cache else False, limits=None)) as engine:
    print("ready", flush=True)
    engine.predict_many(clips)
"""

LEFT = """
import sys
from pathlib import Path
from valence_integrations import Engine, Settings

url, key, directory, cache = sys.argv[1:]
engine = Engine(Settings(base_url=url, api_key=key, cache=cache, limits=None))
for prediction in engine.iter_predict(sorted(Path(directory).glob("*.wav"))):
    raise SystemExit("enough")
"""


class TestInterrupts:
    NUMBER = 40

    def run(self, code: str, box: Sandbox, tmp_path: Path, cache: Path | str) -> subprocess.Popen[str]:
        (tmp_path / "clips").mkdir()
        for number, data in enumerate(clips(self.NUMBER)):
            (tmp_path / "clips" / f"{number:02}.wav").write_bytes(data)
        arguments = [box.url, box.api_key, str(tmp_path / "clips"), str(cache)]
        return subprocess.Popen(
            [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def interrupt(self, box: Sandbox, child: subprocess.Popen[str]) -> tuple[float, str]:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        # Interrupt while calls are in flight, after some are answered.
        while box.answered < 10 or box.calls == box.answered:
            time.sleep(0.01)
        begun = time.monotonic()
        child.send_signal(signal.SIGINT)
        _, printed = child.communicate(timeout=30)
        return time.monotonic() - begun, printed

    @pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process")
    def test_ctrl_c(self, make_engine: MakeEngine, tmp_path: Path) -> None:
        with Sandbox(latency=0.5) as box:
            seconds, printed = self.interrupt(box, self.run(INTERRUPTED, box, tmp_path, tmp_path / "kept"))
            assert seconds < 2.0
            assert printed.count("Traceback") == 1
            match = re.fullmatch(
                r"KeyboardInterrupt: interrupted: (\d+) of 40 items are done; what is paid is in the cache, "
                r"so running the same again goes on from there\.",
                printed.splitlines()[-1],
            )
            assert match is not None
            paid = box.calls
            assert int(match[1]) == paid < self.NUMBER
            engine = make_engine(base_url=box.url, cache=tmp_path / "kept", limits=None)
            predictions = engine.predict_many(sorted((tmp_path / "clips").iterdir()))
            assert [p.cached for p in predictions].count(True) == paid
            assert box.calls == self.NUMBER

    @pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process")
    def test_ctrl_c_without_a_cache(self, tmp_path: Path) -> None:
        with Sandbox(latency=0.1) as box:
            seconds, printed = self.interrupt(box, self.run(INTERRUPTED, box, tmp_path, ""))
        assert seconds < 2.0
        assert re.search(
            r"KeyboardInterrupt: interrupted: \d+ of 40 items are done; without a cache their answers are not kept, "
            r"and running again pays for them again\.$",
            printed,
        )

    def test_early_exit_keeps_paid_answers(self, make_engine: MakeEngine, tmp_path: Path) -> None:
        with Sandbox(latency=0.3) as box:
            child = self.run(LEFT, box, tmp_path, tmp_path / "kept")
            assert child.communicate(timeout=30) == ("", "enough\n")
            paid = box.calls
            assert paid > 1
            engine = make_engine(base_url=box.url, cache=tmp_path / "kept", limits=None)
            predictions = engine.predict_many(sorted((tmp_path / "clips").iterdir()))
            assert [p.cached for p in predictions].count(True) == paid

    def test_keyboard_interrupt_carries_the_message(
        self, make_engine: MakeEngine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def items() -> object:
            yield from clips(2)
            raise KeyboardInterrupt

        caplog.set_level(logging.WARNING)
        with pytest.raises(KeyboardInterrupt, match=r"^interrupted: \d items are done; what is paid is in the cache"):
            make_engine().predict_many(items())  # type: ignore[arg-type]
        (record,) = caplog.records
        assert (record.levelname, record.name) == ("WARNING", "valence_integrations")
        assert "items are done; what is paid is in the cache" in record.getMessage()

    def test_unusable_cache_is_reported_on_interrupt(
        self, make_engine: MakeEngine, sandbox: Sandbox, tmp_path: Path
    ) -> None:
        (tmp_path / "file").touch()

        def items() -> object:
            yield from clips(8)
            while not sandbox.calls:
                time.sleep(0.01)
            raise KeyboardInterrupt

        with (
            pytest.warns(UserWarning, match="cannot be used"),
            pytest.raises(KeyboardInterrupt, match="without a cache their answers are not kept"),
        ):
            make_engine(cache=tmp_path / "file", concurrency=1).predict_many(items())  # type: ignore[arg-type]

    def test_interrupt_reports_unanswered_calls(self, make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("valence_integrations.engine._run.INTERRUPT_SECONDS", 0.1)

        def items() -> object:
            yield from clips(2)
            while box.calls < 2:
                time.sleep(0.01)
            raise KeyboardInterrupt

        with Sandbox(faults=Faults(script=["hang", "hang"])) as box:
            engine = make_engine(base_url=box.url, limits=None)
            with pytest.raises(
                KeyboardInterrupt, match=r"in the cache \(but for 2 calls that were still under way\), "
            ):
                engine.predict_many(items())  # type: ignore[arg-type]

    def test_interrupt_of_predict_keeps_the_answer(
        self, make_engine: MakeEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(*_: object) -> None:
            while not box.calls:
                time.sleep(0.01)
            raise KeyboardInterrupt

        with Sandbox(latency=0.3) as box, monkeypatch.context() as patch:
            engine = make_engine(base_url=box.url)
            patch.setattr("valence_integrations.engine._job.Job.wait", interrupted)
            with pytest.raises(KeyboardInterrupt):
                engine.predict(voice(6.0))
            patch.undo()
            assert engine.predict(voice(6.0)).cached
            assert box.calls == 1
