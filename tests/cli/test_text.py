"""Any text in names, columns and answers: in every output, harmless in a spreadsheet, and read back as it was."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cli.conftest import Run, clip
from valence_integrations import Settings, errors
from valence_integrations.cli.annotate import _output
from valence_integrations.cli.inputs import Inputs
from valence_integrations.cli.journal import Journal
from valence_integrations.cli.report import read_output
from valence_integrations.cli.rows import Row
from valence_integrations.cli.tables import open_table
from valence_integrations.cli.text import escape_undecodable, safe_cell
from valence_integrations.results import EmotionPrediction, EmotionSegment
from valence_integrations.sandbox import Sandbox

FORMULAS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1+1"]


class TestCsv:
    @pytest.mark.parametrize("text", FORMULAS)
    def test_formula_is_made_harmless_and_read_back(
        self, run: Run, clips: Path, account: Sandbox, here: Path, text: str
    ) -> None:
        (here / "list.jsonl").write_text(json.dumps({"file": "calls/a.wav", text: "x", "label": text}))
        assert run("annotate", "list.jsonl", "-o", "out.csv").code == 0
        with (here / "out.csv").open(encoding="utf-8", newline="") as file:
            header, row = csv.reader(file)
        assert header[:3] == ["file", f"'{text}", "label"]
        assert row[2] == f"'{text}"
        (back,) = Inputs(["out.csv"])
        assert (back.values[text], back.values["label"]) == ("x", text)

    def test_formula_as_the_name_of_a_file(self, run: Run, account: Sandbox, here: Path) -> None:
        (here / "=1+1.wav").write_bytes(b"")
        assert run("annotate", "=1+1.wav", "-o", "out.csv").code == 1
        with (here / "out.csv").open(encoding="utf-8", newline="") as file:
            (row,) = csv.DictReader(file)
        assert (row["file"], row["emotion_error"]) == ("'=1+1.wav", "'=1+1.wav: the file is empty.")
        ((name, prediction),) = read_output("out.csv")
        assert (name, str(prediction.error)) == ("=1+1.wav", "=1+1.wav: the file is empty.")

    @pytest.mark.parametrize("number", ["-5", "+3.25", "-1e-05", "-inf", "007", -5, -0.5])
    def test_number_stays_a_number(self, number: object) -> None:
        assert safe_cell(number) == number
        assert safe_cell("'=x") == "''=x"

    def test_table_of_somebody_else_is_read_as_it_is(self, here: Path) -> None:
        (here / "list.csv").write_text("file,label,emotion\na.wav,'=x,sad\n")
        (row,) = Inputs(["list.csv"])
        assert row.values["label"] == "'=x"

    def test_other_outputs_are_unchanged(self, run: Run, clips: Path, account: Sandbox, here: Path) -> None:
        (here / "list.jsonl").write_text(json.dumps({"file": "calls/a.wav", "label": "=1+1"}))
        assert run("annotate", "list.jsonl", "-o", "out.jsonl", "-q").code == 0
        assert run("annotate", "list.jsonl", "-o", "out.parquet", "-q").code == 0
        assert json.loads((here / "out.jsonl").read_text())["label"] == "=1+1"
        assert pq.read_table(here / "out.parquet")["label"].to_pylist() == ["=1+1"]


ODD = "caf\udce9 \ud800 \0\r\n\u2028 x"


@pytest.mark.parametrize("output", ["out.csv", "out.jsonl", "out.parquet", "out"])
def test_surrogates_lose_no_row(
    run: Run, account: Sandbox, here: Path, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of a surrogate pair, a byte that is not UTF-8, NUL and line ends, in names, columns and answers."""
    from valence_integrations import Engine

    def iter_predict(_: Engine, items: Any, **options: Any) -> Any:
        for item in items:
            if str(item).endswith("bad.wav"):
                yield EmotionPrediction(error=errors.ItemError(f"{ODD}.", code="other").named(str(item)))
            else:
                segment = EmotionSegment(0.0, 5.0, ODD, 0.5, {ODD: 0.5})
                yield EmotionPrediction.from_segments([segment], source="discrete", duration=5.0, request_id=ODD)

    monkeypatch.setattr(Engine, "iter_predict", iter_predict)
    (here / "a.wav").write_bytes(clip(0))
    named = os.fsdecode(b"caf\xe9\nb.wav")
    (here / named).write_bytes(clip(1))
    names = ["a.wav", named, f"{ODD}bad.wav"]
    rows = [{"file": name, "label": ODD, ODD: "x"} for name in names]
    (here / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    result = run("annotate", "list.jsonl", "-o", output, "--report", "r.html", "--json")
    assert result.code == 1, result.err
    found = [prediction for _, prediction in read_output(output)]
    assert len(found) == 3
    assert sum(prediction.error is None for prediction in found) == 2
    table = open_table(str(here / output / "metadata.jsonl" if output == "out" else here / output), None)
    assert table is not None
    assert [comparable(row.values["label"]) for row in table] == [comparable(ODD)] * 3
    assert "caf" in (here / "r.html").read_text(encoding="utf-8")
    assert len(json.loads(result.out)["failures"]) == 1


text = st.text(st.one_of(st.characters(codec=None, exclude_categories=()), st.sampled_from("=+-@'\"\t\r\n\0,;é\udce9")))
values = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), text)


@given(names=st.lists(text, min_size=1, max_size=3, unique=True), data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_random_rows_are_written_and_read_back(suffix: str, names: list[str], data: st.DataObject) -> None:
    names = [name for name in names if not name.startswith("emotion") and name.lower() not in {"file", "audio"}]
    kept = dict.fromkeys(map(escape_undecodable, names))
    texts = st.fixed_dictionaries(dict.fromkeys(kept, text))
    rows = data.draw(st.lists(texts, min_size=1, max_size=4))
    answer, message = data.draw(text), data.draw(text)
    predictions = [
        EmotionPrediction(answer or "x", 0.5, {"sad": 0.5}, source="discrete", duration=5.0),
        EmotionPrediction(error=errors.ItemError(message or "x", code="other")),
    ]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.jsonl"), Path(folder, f"out{suffix}")
        lines = [{"file": f"{number}.wav", **row} for number, row in enumerate(rows)]
        source.write_text("\n".join(map(json.dumps, lines)))
        inputs = Inputs([str(source)])
        output = _output(str(target), ["sad"])
        output.check(inputs)
        with Journal(Path(folder, "partial"), "service", Settings()) as journal:
            for number, row in enumerate(inputs):
                journal.add(row, predictions[number % 2])
            pairs = [(row, journal.find(row)) for row in inputs]
            output.write([(row, prediction) for row, prediction in pairs if prediction is not None])
        table = open_table(str(target), None)
        assert table is not None
        written = list(table)
        found = [prediction for _, prediction in read_output(str(target))]
    assert len(written) == len(found) == len(rows)
    for number, (row, line, prediction) in enumerate(zip(rows, written, found, strict=True)):
        assert line.values["file"] == f"{number}.wav"
        for name in kept:
            column = escape_undecodable(safe_nul(name) if suffix == ".csv" else name)
            assert comparable(line.values[column]) == comparable(row[name])
        assert (prediction.error is None) == (number % 2 == 0)
        assert prediction.scores.get("sad", 0.5) == pytest.approx(0.5) or number % 2


def safe_nul(value: str) -> str:
    return value.replace("\0", r"\x00")


def comparable(value: str) -> str:
    """Return a text with what formats escape in different ways escaped."""
    return safe_nul(str(escape_undecodable(value)))


def test_row_of_any_name_has_a_key(here: Path) -> None:
    with Journal(here / "x", "service", Settings()) as journal:
        for audio in (ODD, f"{ODD}2", b"\xff", {"bytes": None, "path": ODD}, 3, None):
            row = Row("x", audio, {})
            journal.add(row, EmotionPrediction(emotion=repr(audio).encode("ascii", "replace").decode()))
            found = journal.find(row)
            assert found is not None
            assert found.emotion == repr(audio).encode("ascii", "replace").decode()
