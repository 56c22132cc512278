from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.conftest import EXAMPLES, voice
from valence_integrations import EmotionPrediction, EmotionSegment, Engine, Settings, errors
from valence_integrations.engine import Stats
from valence_integrations.report import write_report
from valence_integrations.report._causes import Cause, cause_of
from valence_integrations.sandbox import Faults, Sandbox
from valence_integrations.settings import RateLimits

VOID = {"meta", "link", "br"}
HOSTILE = "\"><script>alert('x')</script><img src=//evil.example/x onerror=alert(1)>\u202egpj.wav"


class Page(HTMLParser):
    """Strict parser of a report: every element must be closed correctly."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.html = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self.feed(self.html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1] if self._open else "", data))
        if {"td", "th"} & set(self._open):
            self.rows[-1][-1] += data

    def row(self, first: str) -> list[str]:
        (found,) = [row[1:] for row in self.rows if row[0] == first]
        return found

    def all(self, tag: str) -> list[str]:
        return [text for of, text in self.texts if of == tag]

    @property
    def causes(self) -> list[str]:
        return [text.strip() for text in self.all("h3") if text.strip()]

    @property
    def text(self) -> str:
        return "".join(text for tag, text in self.texts if tag != "style")


def clip(emotion: str | None, confidence: float, **fields: object) -> EmotionPrediction:
    scores = {"happy": 0.2, "sad": 0.1, **({emotion: confidence} if emotion else {"angry": confidence})}
    segment = EmotionSegment(0.0, 6.0, emotion, confidence, scores)
    return EmotionPrediction.from_segments([segment], **{"source": "discrete", "duration": 6.0, **fields})


def call(n_segments: int, source: str = "chunk") -> EmotionPrediction:
    emotions = itertools.cycle(("sad", "neutral", "angry"))
    segments = [
        EmotionSegment(10.0 * number, 10.0 * number + 10, emotion, 0.6, {emotion: 0.6})
        for number, emotion in zip(range(n_segments), emotions, strict=False)
    ]
    return EmotionPrediction.from_segments(segments, source=source, duration=10.0 * n_segments)


def report(tmp_path: Path, items: list[tuple[str, EmotionPrediction]], **more: object) -> Page:
    path = tmp_path / "report.html"
    write_report(path, iter(items), **more)
    return Page(path)


class TestContent:
    def test_emotions_are_sorted_by_frequency(self, tmp_path: Path) -> None:
        items = [("a", clip("sad", 0.5)), ("b", clip("happy", 0.6)), ("c", clip("happy", 0.8)), ("d", clip(None, 0.3))]
        page = report(tmp_path, items)
        assert page.row("happy") == ["50.0%", "2", "0.70", "0:12"]
        assert page.row("sad") == ["25.0%", "1", "0.50", "0:06"]
        assert page.row("no emotion") == ["25.0%", "1", "0.30", "0:06"]
        assert page.text.index("happy") < page.text.index("sad") < page.text.index("no emotion")

    def test_confidence_histogram(self, tmp_path: Path) -> None:
        items = [(str(at), clip("sad", at)) for at in (0.0, 0.05, 0.15, 0.35, 0.999, 1.0)] + [
            ("h", clip("happy", 0.15))
        ]
        page = report(tmp_path, items)
        assert page.row("0.15 to 0.20") == ["1", "1", "2", "28.6%"]
        assert page.row("0.95 to 1.00") == ["2", "0", "2", "28.6%"]
        assert page.row("0.00 to 0.05")[2] == page.row("0.05 to 0.10")[2] == page.row("0.35 to 0.40")[2] == "1"
        assert "0.10 to 0.15" not in page.text
        assert 'title="0.95 to 1.00 sad: 2"' in page.html

    @pytest.mark.parametrize(
        ("min_confidence", "label"), [(None, "0.38: the vendor recommends"), (0.5, "0.5: min_confidence")]
    )
    def test_line_shows_the_minimum_confidence(self, tmp_path: Path, min_confidence: float | None, label: str) -> None:
        page = report(tmp_path, [("a", clip("sad", 0.5))], settings=Settings(min_confidence=min_confidence))
        assert f"The dashed line is at {label}" in page.text

    def test_each_long_item_has_a_timeline_and_a_table(self, tmp_path: Path) -> None:
        page = report(tmp_path, [("short.wav", clip("sad", 0.5)), ("long.wav", call(4)), ("other.wav", call(2))])
        strips = [attrs["aria-label"] for tag, attrs in page.tags if attrs.get("role") == "img"][1:]
        assert strips == [
            "Timeline of long.wav: sad 50%, neutral 25%, angry 25% of 0:40.",
            "Timeline of other.wav: sad 50%, neutral 50% of 0:20.",
        ]
        titles = [
            attrs["title"]
            for tag, attrs in page.tags
            if " to " in attrs.get("title", "") and "flex:10" in attrs["style"]
        ]
        assert titles[:2] == ["0:00 to 0:10: sad 0.60", "0:10 to 0:20: neutral 0.60"]
        assert ["0:30", "0:40", "sad", "0.60"] in page.rows

    def test_least_certain_items_are_listed_with_their_other_scores(self, tmp_path: Path) -> None:
        items = [(f"{number}.wav", clip("sad", 0.3 + number / 100)) for number in range(30)] + [("x", clip(None, 0.31))]
        page = report(tmp_path, items)
        listed = [row[0] for row in page.rows if row[0].endswith((".wav", "x"))]
        assert listed == ["0.wav", "1.wav", "x", *(f"{number}.wav" for number in range(2, 19))]
        assert page.row("0.wav") == ["sad", "0.30", "happy 0.20"]
        assert page.row("x") == ["no emotion", "0.31", "angry 0.31, happy 0.20"]
        assert "11 more are in your results: sort them by confidence." in page.text

    def test_items_are_counted_by_route(self, tmp_path: Path) -> None:
        items = [
            ("a", clip("sad", 0.5)),
            ("padded.wav", clip("sad", 0.5, padded=True, duration=3.2, cached=True)),
            ("truncated.wav", clip("sad", 0.5, duration=60.0)),
            ("chunked.wav", call(3)),
            ("uploaded.wav", call(12, "asynch")),
            ("skipped.wav", EmotionPrediction(duration=2.0)),
            ("missing.wav", EmotionPrediction()),
            ("read_back.wav", EmotionPrediction("sad", 0.5)),
            (
                "failed.wav",
                EmotionPrediction(error=errors.ServerError("the service failed (HTTP 500). Try again later.")),
            ),
        ]
        page = report(tmp_path, items)
        assert page.row("Unchanged, one call each") == ["1", "1", "0:06", "0"]
        assert page.row("Padded: shorter than 5.0 s") == ["1", "1", "0:03", "1"]
        assert page.row("Truncated: only the first 15 s were sent") == ["1", "1", "1:00", "0"]
        assert page.row("Cut into clips near pauses") == ["1", "3", "0:30", "0"]
        assert page.row("Uploaded to the AsynchAPI") == ["1", "12", "2:00", "0"]
        assert page.row("Skipped because of their duration") == ["1", "—", "0:02", "0"]
        assert page.row("Missing: no audio") == ["1", "—", "—", "0"]
        assert page.row("Annotated, route unknown") == ["1", "—", "—", "0"]
        assert page.row("Failed") == ["1", "—", "—", "0"]
        assert ["padded.wav", "0:03.2", "1"] in page.rows
        assert ["chunked.wav", "0:30", "3"] in page.rows
        assert ["skipped.wav", "0:02", "—"] in page.rows

    @pytest.mark.parametrize("snapshot", [False, True])
    def test_paid_calls_and_cached_answers_are_counted(self, tmp_path: Path, snapshot: bool) -> None:
        stats = Stats(
            calls=1234, retries=5, cache_hits=7, possibly_double_billed=2, audio_seconds=3725.0, bytes_sent=2_340_000
        )
        items = [("a", clip("sad", 0.5)), ("b", clip("sad", 0.5, cached=True)), ("c", EmotionPrediction())]
        page = report(tmp_path, items, stats=stats.as_dict() if snapshot else stats)
        assert page.row("Items answered by new calls") == ["1"]
        assert page.row("Items answered from the cache") == ["1"]
        assert page.row("Calls to the service, including retries") == ["1,234"]
        assert page.row("Retries after a failure") == ["5"]
        assert page.row("Answers from the cache, free of charge") == ["7"]
        assert page.row("Audio sent") == ["1:02:05"]
        assert page.row("Bytes sent") == ["2.3 MB"]

    def test_missing_counters_are_reported(self, tmp_path: Path) -> None:
        page = report(tmp_path, [("a", clip("sad", 0.5))])
        assert "The engine's counters were not passed" in page.text
        assert "calls made" not in page.text

    def test_settings_are_listed_without_the_key(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VALENCE_API_KEY", "key-of-the-environment")
        settings = Settings(api_key="key-of-the-settings", long_audio="chunk", limits=RateLimits(requests_per_day=None))
        page = report(tmp_path, [("a", clip("sad", 0.5))], settings=settings)
        assert page.row("long_audio") == ["chunk"]
        assert "requests_per_second=10" in page.row("limits")[0]
        shown = {row[0] for row in page.rows}
        assert {spec.name for spec in dataclasses.fields(settings)} - shown == {"api_key"}
        assert "key-of" not in page.html

    def test_sandbox_answers_are_marked(self, tmp_path: Path) -> None:
        items = [("a", clip("sad", 0.5))]
        assert "Not from Valence" in report(tmp_path, items, settings=Settings(base_url="http://127.0.0.1:8000")).text
        assert "Not from Valence" not in report(tmp_path, items, settings=Settings()).text

    def test_report_without_items(self, tmp_path: Path) -> None:
        page = report(tmp_path, [])
        assert "0 items" in page.text
        assert "No item has an emotion." in page.text
        assert "No item failed." in page.text


class TestFailures:
    """Group errors that were really raised, directly and after reading them from a result file."""

    @pytest.fixture
    def raised(self, sandbox: Sandbox, tmp_path: Path) -> list[tuple[str, errors.ItemError, str]]:
        wav = (EXAMPLES / "audio" / "ruth_neutral.wav").read_bytes()
        files = {"damaged.wav": wav[:9000], "empty.wav": b"", "letter.wav": b"Dear customer, " * 50}
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
        base = {"base_url": sandbox.url, "api_key": sandbox.api_key, "max_attempts": 1}
        clip = (voice(6.0), 16_000)
        attempts: list[tuple[str, object, dict[str, object]]] = [
            ("The file cannot be opened", tmp_path / "no such: file.wav", base),
            ("The file cannot be opened", tmp_path, base),
            ("URL instead of a file", "https://example.org/a.wav", base),
            ("Not audio, or an unsupported format", tmp_path / "letter.wav", base),
            ("Damaged or empty file", tmp_path / "damaged.wav", base),
            ("Damaged or empty file", tmp_path / "empty.wav", base),
            ("Too short", (voice(2.0), 16_000), {**base, "short_audio": "error"}),
            ("Too long", (voice(20.0), 16_000), {**base, "long_audio": "error"}),
            ("No connection, or a broken one", clip, {**base, "base_url": "http://127.0.0.1:9"}),
        ]
        faults = {
            "Too many calls": "429",
            "The service failed": "500",
            "No connection, or a broken one": "drop",
            "Read timeout": "hang",
            "Invalid answer": "html",
            "The service rejects the request": "400",
        }
        found = [self.error(title, item, settings) for title, item, settings in attempts]
        with Sandbox(faults=Faults(script=list(faults.values()), retry_after=0)) as faulty:
            at = {"base_url": faulty.url, "api_key": faulty.api_key, "max_attempts": 1, "timeout": (5, 1.5)}
            found += [self.error(title, clip, at) for title in faults]
        return found

    @staticmethod
    def error(title: str, item: object, settings: dict[str, object]) -> tuple[str, errors.ItemError, str]:
        with Engine(Settings(**settings)) as engine, pytest.raises(errors.ItemError) as caught:
            engine.predict(item)
        return title, caught.value, str(item)[:200]

    @pytest.mark.parametrize("read_back", [False, True])
    def test_failures_are_grouped_by_cause(
        self, tmp_path: Path, raised: list[tuple[str, errors.ItemError, str]], read_back: bool
    ) -> None:
        items = [
            (name, EmotionPrediction(error=errors.ItemError(str(error), code=error.code) if read_back else error))
            for _, error, name in raised
        ]
        page = report(tmp_path, items)
        expected = [title for title, _, _ in raised]
        headings = page.causes
        assert set(headings) == set(expected)
        for title in set(expected):
            count = expected.count(title)
            assert f"{title} {count} item" in page.text
        assert "Error code: audio_not_found, audio_path_invalid" in page.text
        assert page.text.count("How to fix: ") == len(set(expected))

    def test_asynch_failures_are_grouped_by_cause(self, tmp_path: Path) -> None:
        kinds = (errors.AsynchFailedError, errors.AsynchExpiredError, errors.AsynchTimeoutError)
        failed = [kind("whatever it says.") for kind in kinds]
        page = report(tmp_path, [("a", EmotionPrediction(error=error)) for error in failed])
        assert page.causes == ["No result from the AsynchAPI", "The AsynchAPI could not process it"]
        assert "Error code: asynch_expired, asynch_timeout" in page.text

    def test_cause_does_not_depend_on_the_message(self, tmp_path: Path) -> None:
        message = "no answer from anybody: the file is damaged."
        error = errors.UnreadableAudioError(message, code="url_not_fetched", remedy="Do this.")
        page = report(tmp_path, [("a.wav", EmotionPrediction(error=error.named("elsewhere/a.wav")))])
        assert page.causes == ["URL instead of a file"]
        assert ["a.wav", "No answer from anybody: the file is damaged. Do this."] in page.rows

    def test_every_item_error_code_has_a_title_and_a_remedy(self) -> None:
        job = errors.CODES[errors.CODES.index("invalid_setting") :]
        for code in errors.CODES:
            cause = cause_of(errors.ItemError("x", code=code))
            assert (cause.title == code) == (code in job and code not in ("other", "not_recorded")), code
            assert cause.remedy.endswith("."), code

    def test_unknown_code_uses_its_class_or_its_own_heading(self) -> None:
        newer = errors.ServerError("x", code="server_on_fire")  # type: ignore[arg-type]
        assert cause_of(newer) == cause_of(errors.ServerError("x"))
        read_back = cause_of(errors.ItemError("x", code="server_on_fire"))  # type: ignore[arg-type]
        assert read_back == Cause("server_on_fire", "See the message.")

    def test_errors_without_a_specific_code_are_one_group(self, tmp_path: Path) -> None:
        items = [(f"{n}.wav", EmotionPrediction(error=errors.ItemError(f"it has {n} channels."))) for n in range(3)]
        page = report(tmp_path, items)
        assert "Other causes 3 items" in page.text
        assert "How to fix: See the message." in page.text
        assert ["1.wav", "It has 1 channels."] in page.rows

    def test_long_list_of_failures_is_cut_off_with_a_note(self, tmp_path: Path) -> None:
        gone = EmotionPrediction(error=errors.AudioNotFoundError("the file cannot be read: No such file or directory."))
        codes = [f"odd_{'x' * n}" for n in range(1, 41)]
        odd = [EmotionPrediction(error=errors.ItemError("odd", code=code)) for code in codes]  # type: ignore[arg-type]
        page = report(tmp_path, [(f"{n}.wav", gone) for n in range(100)] + [("odd.wav", one) for one in odd])
        assert "80 more are in your results, with their errors." in page.text
        assert "Other causes 11 items" in page.text
        assert len(page.causes) == 31
        assert len(page.rows) < 120


class TestFile:
    def test_file_is_self_contained(self, tmp_path: Path) -> None:
        page = report(tmp_path, [("a", clip("sad", 0.5)), ("b", call(3))])
        names = {tag for tag, _ in page.tags}
        assert not names & {"script", "img", "iframe", "object", "embed", "form"}
        addresses = [
            attrs[key] for _, attrs in page.tags for key in ("src", "href", "action", "srcset") if key in attrs
        ]
        assert all(address.startswith(("#", "data:,")) for address in addresses)
        assert not re.search(r"url\(|@import|https?:", page.html)
        (policy,) = [attrs["content"] for _, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")

    def test_names_are_escaped_everywhere(self, tmp_path: Path) -> None:
        error = errors.ValenceError(f"{HOSTILE}: something {HOSTILE}")
        weak = clip(HOSTILE, 0.2)
        items = [
            (HOSTILE, weak),
            (HOSTILE, call(3)),
            (HOSTILE, EmotionPrediction(error=error)),
            (HOSTILE, EmotionPrediction()),
        ]
        plain = report(
            tmp_path,
            [
                ("a", clip("odd", 0.2)),
                ("a", call(3)),
                ("a", EmotionPrediction(error=errors.ValenceError("x"))),
                ("a", EmotionPrediction()),
            ],
        )
        page = report(tmp_path, items, settings=Settings(model=HOSTILE, emotions=(HOSTILE,)), title=HOSTILE)
        assert {tag for tag, _ in page.tags} <= {tag for tag, _ in plain.tags} | {"code"}
        assert {key for _, attrs in page.tags for key in attrs} == {key for _, attrs in plain.tags for key in attrs}
        assert page.all("h1") == [HOSTILE]
        assert page.all("title") == [HOSTILE]

    def test_writing_direction_of_a_name_is_isolated(self, tmp_path: Path) -> None:
        page = report(tmp_path, [("\u202egpj.wav", clip("sad", 0.2))])
        assert "\u202egpj.wav" in page.all("bdi")

    def test_undecodable_name_is_written(self, tmp_path: Path) -> None:
        path = tmp_path / "report.html"
        write_report(path, [(Path("caf\udce9.wav"), clip("sad", 0.2)), ("nul\0.wav", clip("sad", 0.2))])
        assert "caf\\udce9.wav" in path.read_text(encoding="utf-8")

    def test_report_of_ten_thousand_long_items_is_under_2_mb(self, tmp_path: Path) -> None:
        hour = call(720)
        broken = EmotionPrediction(error=errors.ValenceError("'<broken>' & " * 100))
        lines = (f"{'&<long name>/' * 20}{number}.wav" for number in range(12_000))
        path = tmp_path / "report.html"
        write_report(path, ((name, hour if number < 10_000 else broken) for number, name in enumerate(lines)))
        assert 500_000 < path.stat().st_size < 2_000_000
        page = Page(path)
        assert "9,900 more long items are in your results" in page.text
        assert "The shortest of its 720 segments are only in your results." in page.text
        assert sum(attrs.get("role") == "img" for _, attrs in page.tags) == 101

    def test_file_is_written_atomically(self, tmp_path: Path) -> None:
        path = tmp_path / "report.html"
        path.write_text("the former one")

        def broken() -> object:
            yield "a", clip("sad", 0.5)
            raise RuntimeError("the disk is gone")

        with pytest.raises(RuntimeError, match="disk"):
            write_report(path, broken())
        assert path.read_text() == "the former one"
        (tmp_path / "folder").mkdir()
        with pytest.raises(IsADirectoryError):
            write_report(tmp_path / "folder", [])
        assert sorted(entry.name for entry in tmp_path.iterdir()) == ["folder", "report.html"]

    @pytest.mark.parametrize(
        "item", [clip("sad", 0.5), ("a", "sad"), ("a", clip("sad", 0.5), 1), (0, clip("sad", 0.5)), "ab"]
    )
    def test_invalid_pair_is_named(self, tmp_path: Path, item: object) -> None:
        with pytest.raises(TypeError, match=r"item 1 must be a pair \(name, EmotionPrediction\)"):
            write_report(tmp_path / "report.html", [("a", clip("sad", 0.5)), item])

    def test_page_is_accessible_to_screen_readers(self, tmp_path: Path) -> None:
        failed = EmotionPrediction(error=errors.ValenceError("no"))
        page = report(tmp_path, [("a", clip("sad", 0.5)), ("b", call(3)), ("c", failed)], settings=Settings())
        assert ("html", {"lang": "en"}) in page.tags
        assert page.all("caption").count("") == 0
        assert len(page.all("caption")) == sum(tag == "table" for tag, _ in page.tags)
        levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
        assert levels[0] == 1
        assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
        ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
        assert {attrs["href"][1:] for tag, attrs in page.tags if tag == "a"} <= ids
        assert {attrs["aria-labelledby"] for _, attrs in page.tags if "aria-labelledby" in attrs} <= ids
        assert all(attrs.get("scope") for tag, attrs in page.tags if tag == "th")


def test_report_of_a_real_job(make_engine: Callable[..., Engine], tmp_path: Path) -> None:
    paths = sorted((EXAMPLES / "audio").glob("*_happy.*"))
    engine = make_engine(long_audio="chunk", limits=None)
    names = [*paths, EXAMPLES / "audio" / "call.mp3", "no_such.wav"]
    predictions = engine.predict_many(names, on_error="null")
    path = tmp_path / "report.html"
    write_report(path, zip(names, predictions, strict=True), settings=engine.settings, stats=engine.stats)
    page = Page(path)
    assert page.row("Items answered by new calls") == [str(len(paths) + 1)]
    assert page.row("Calls to the service, including retries") == [str(engine.stats.calls)]
    assert "The file cannot be opened 1 item" in page.text
    assert engine.settings.api_key not in page.html
