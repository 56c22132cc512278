from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run, clip
from valence_integrations import Engine
from valence_integrations.cli.report import read_output
from valence_integrations.sandbox import Sandbox


@pytest.fixture
def mixed(clips: Path) -> Path:
    (clips / "long.wav").write_bytes(clip(5, 31.0))
    (clips / "short.wav").write_bytes(clip(6, 2.0))
    (clips / "<b>bad.wav").touch()
    return clips


@pytest.mark.parametrize("output", ["out.csv", "out.jsonl", "out.parquet", "out"])
def test_report_on_every_kind_of_output(run: Run, mixed: Path, account: Sandbox, here: Path, output: str) -> None:
    assert run("annotate", "calls", "-o", output, "-q").code == 1
    result = run("report", output)
    assert (result.code, result.out, result.err) == (0, "", "out.html\n")
    page = (here / "out.html").read_text(encoding="utf-8")
    assert f"<h1>Emotions in {output}</h1>" in page
    for heading in ("Damaged or empty file", "Padded: shorter than 5.0 s", "Uploaded to the AsynchAPI"):
        assert heading in page
    assert "calls/long.wav" in page
    assert "calls/&lt;b&gt;bad.wav" in page
    assert "<b>bad.wav" not in page


def test_report_of_annotate_includes_calls_and_settings(run: Run, mixed: Path, account: Sandbox, here: Path) -> None:
    assert run("annotate", "calls", "-o", "out.csv", "-q", "--report", "mine.html", "--long", "chunk").code == 1
    page = (here / "mine.html").read_text(encoding="utf-8")
    assert "Calls to the service" in page
    assert "long_audio" in page
    assert account.api_key not in page
    assert run("report", "out.csv", "-o", "other.html").code == 0
    other = (here / "other.html").read_text(encoding="utf-8")
    assert "Cut into clips near pauses" in other
    assert "long_audio" not in other


@pytest.mark.parametrize("output", ["out.csv", "out.jsonl", "out.parquet", "out"])
def test_predictions_are_read_from_the_output(run: Run, mixed: Path, account: Sandbox, output: str) -> None:
    run("annotate", "calls", "-o", output, "-q")
    found = {Path(name).name: prediction for name, prediction in read_output(output)}
    assert set(found) == {path.name for path in mixed.rglob("*.wav")}
    long, short, bad = found["long.wav"], found["short.wav"], found["<b>bad.wav"]
    with Engine() as engine:
        true = engine.predict(mixed / "long.wav")
    assert (long.emotion, long.source, long.duration) == (true.emotion, "asynch", 31.0)
    assert long.confidence == pytest.approx(true.confidence, abs=1e-6)
    assert long.scores == pytest.approx(true.scores, abs=1e-6)
    assert [(part.start, part.end, part.emotion) for part in long.segments] == [
        (part.start, part.end, part.emotion) for part in true.segments
    ]
    assert (short.duration, short.padded, short.source) == (2.0, True, "discrete")
    assert bad.error is not None
    assert str(bad.error) == "calls/<b>bad.wav: the file is empty."
    assert (bad.error.code, bad.error.message) == ("audio_empty", "the file is empty.")
    assert (long.error, short.error) == (None, None)
    assert (bad.emotion, bad.scores, bad.segments) == (None, {}, ())


@pytest.mark.parametrize("output", ["old.csv", "old.jsonl"])
def test_output_without_error_codes(run: Run, here: Path, output: str) -> None:
    """Outputs of older versions have no codes; the cause is not guessed from the message."""
    row = {"file": "a.wav", "emotion": "", "emotion_error": "a.wav: the file is empty."}
    lines = [",".join(row), ",".join(row.values())] if output.endswith("csv") else [json.dumps(row)]
    (here / output).write_text("\n".join(lines) + "\n")
    ((name, prediction),) = read_output(output)
    assert prediction.error is not None
    assert (name, prediction.error.code, str(prediction.error)) == (
        "a.wav",
        "not_recorded",
        "a.wav: the file is empty.",
    )
    assert run("report", output).code == 0
    page = (here / "old.html").read_text(encoding="utf-8")
    assert "Reason not recorded" in page
    assert "The file is empty." in page
    assert "Damaged or empty file" not in page


def test_unknown_error_code(run: Run, here: Path) -> None:
    code = "<script>" + "x" * 100_000
    (here / "odd.jsonl").write_text(
        json.dumps({"file": "a", "emotion": None, "emotion_error": "x", "emotion_error_code": code})
    )
    assert run("report", "odd.jsonl").code == 0
    page = (here / "odd.html").read_text(encoding="utf-8")
    assert f"&lt;script&gt;{'x' * 32}<" in page
    assert len(page) < 20_000


def test_audio_column_holds_the_names(run: Run, clips: Path, account: Sandbox, here: Path) -> None:
    (clips / "list.csv").write_text("clip id,wav\nfirst,a.wav\n")
    run("annotate", "calls/list.csv", "-o", "out.csv", "--audio-column", "wav")
    assert run("report", "out.csv", "--audio-column", "clip id").code == 0
    assert "first" in (here / "out.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("output", ["nope.csv", "list.csv", "calls", "notes.txt"])
def test_invalid_output_is_rejected(run: Run, clips: Path, here: Path, output: str) -> None:
    (here / "list.csv").write_text("file\na.wav\n")
    (here / "notes.txt").touch()
    result = run("report", output)
    assert result.code == 2
    assert result.err == f"valence: {output!r} is not an output of valence annotate. Pass the value of its option -o.\n"
