from __future__ import annotations

import csv
import datetime as dt
import json
import os
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Audio, Dataset, load_dataset

from tests.cli.conftest import Run, clip
from valence_integrations.cli.audiofolder import AudioFolder
from valence_integrations.cli.outputs import Pair
from valence_integrations.cli.text import escape_undecodable
from valence_integrations.sandbox import Sandbox

ODD = os.fsdecode(b"caf\xe9\n=1+1.wav")


class TestAtomicWrites:
    @pytest.mark.parametrize("output", ["out.csv", "out.jsonl", "out.parquet", "out"])
    def test_failed_write_keeps_the_old_output(
        self, run: Run, clips: Path, account: Sandbox, here: Path, output: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert run("annotate", "calls/a.wav", "-o", output).code == 0
        before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", full)
            result = run("annotate", "calls", "-o", output, "-q", "--force")
        assert result.code == 2
        partial = here / f"{output}.partial.jsonl"
        assert result.err == (
            f"stopped: 4 of 4 items are kept in {partial.name} and are not paid again. Run the same command to "
            "continue.\nvalence: No space left on device. Check the path, its permissions and the free disk space.\n"
        )
        assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file() and path != partial} == before
        assert len(partial.read_text().splitlines()) == 4
        assert run("annotate", "calls", "-o", output, "-q", "--force").code == 0
        assert account.calls == 3

    def test_leftovers_of_a_killed_process_are_removed(
        self, run: Run, clips: Path, account: Sandbox, here: Path
    ) -> None:
        (here / ".out.tmp").mkdir()
        (here / ".out.tmp" / "x.wav").touch()
        (here / ".out.old").mkdir()
        (here / ".out.csv.tmp").touch()
        assert run("annotate", "calls", "-o", "out").code == 0
        assert run("annotate", "calls", "-o", "out.csv").code == 0
        assert sorted(path.name for path in here.iterdir()) == ["calls", "out", "out.csv"]


class TestCsv:
    def test_columns(self, run: Run, clips: Path, account: Sandbox, here: Path) -> None:
        (clips / "list.csv").write_text("n,file,emotion,emotion_happy\n1,a.wav,old,9\n2,,old,9\n")
        assert run("annotate", "calls/list.csv", "-o", "out.csv").code == 0
        table = pd.read_csv(here / "out.csv")
        assert list(table) == [
            "n",
            "file",
            "emotion",
            "emotion_confidence",
            "emotion_angry",
            "emotion_happy",
            "emotion_neutral",
            "emotion_sad",
            "emotion_source",
            "emotion_error",
            "emotion_error_code",
            "emotion_timeline",
        ]
        first, missing = table.to_dict("records")
        assert first["emotion_confidence"] == first[f"emotion_{first['emotion']}"]
        assert json.loads(first["emotion_timeline"]) == [
            {"start": 0.0, "end": 5.0, "emotion": first["emotion"], "confidence": first["emotion_confidence"]}
        ]
        assert missing["n"] == 2
        assert pd.isna(missing["emotion"])
        assert missing["emotion_timeline"] == "[]"

    def test_any_file_name_round_trips(self, run: Run, account: Sandbox, here: Path) -> None:
        (here / ODD).write_bytes(clip(0))
        assert run("annotate", ".", "-o", "out.csv").code == 0
        with (here / "out.csv").open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            (row,) = csv.DictReader(file)
        assert row["file"] == ODD
        assert (here / row["file"]).is_file()

    def test_output_can_be_annotated_again(self, run: Run, clips: Path, account: Sandbox, here: Path) -> None:
        (here / "list.csv").write_text("file\ncalls/a.wav\n")
        assert run("annotate", "list.csv", "-o", "once.csv").code == 0
        assert run("annotate", "once.csv", "-o", "twice.csv").code == 0
        assert (here / "once.csv").read_text() == (here / "twice.csv").read_text()
        assert (here / "once.csv").read_text().startswith("file,emotion,")


class TestJsonl:
    def test_columns(self, run: Run, clips: Path, account: Sandbox, here: Path) -> None:
        (clips / "bad.wav").touch()
        assert run("annotate", "calls/a.wav", "calls/bad.wav", "-o", "out.jsonl").code == 1
        first, failed = map(json.loads, (here / "out.jsonl").read_text().splitlines())
        assert sorted(first["emotion_scores"]) == ["angry", "happy", "neutral", "sad"]
        assert first["emotion_timeline"][0]["end"] == 5.0
        assert failed == {
            "file": "calls/bad.wav",
            "emotion": None,
            "emotion_confidence": None,
            "emotion_scores": dict.fromkeys(("angry", "happy", "neutral", "sad")),
            "emotion_timeline": [],
            "emotion_source": None,
            "emotion_error": "calls/bad.wav: the file is empty.",
            "emotion_error_code": "audio_empty",
        }

    def test_any_file_name_round_trips(self, run: Run, account: Sandbox, here: Path) -> None:
        (here / ODD).write_bytes(clip(0))
        assert run("annotate", ".", "-o", "out.jsonl").code == 0
        assert json.loads((here / "out.jsonl").read_text())["file"] == ODD

    def test_values_without_a_json_type(self, run: Run, account: Sandbox, here: Path) -> None:
        day = dt.date(2026, 1, 2)
        table = pa.table({"audio": [{"bytes": clip(0), "path": "a.wav"}], "day": [day], "raw": [b"ab"]})
        pq.write_table(table, here / "in.parquet")
        assert run("annotate", "in.parquet", "-o", "out.jsonl").code == 0
        row = json.loads((here / "out.jsonl").read_text())
        assert (row["audio"], row["day"], row["raw"]) == ("a.wav", "2026-01-02", "YWI=")


class TestParquet:
    def test_types(self, run: Run, account: Sandbox, here: Path) -> None:
        audio = pa.array([{"bytes": clip(0), "path": "a.wav"}, None])
        columns = {"audio": audio, "n": pa.array([1, None], pa.int16()), "nothing": pa.nulls(2)}
        pq.write_table(pa.table(columns), here / "in.parquet")
        assert run("annotate", "in.parquet", "-o", "out.parquet").code == 0
        table = pq.read_table(here / "out.parquet")
        assert table.schema.types[:3] == [audio.type, pa.int16(), pa.string()]
        assert table["audio"].to_pylist() == audio.to_pylist()
        assert table.schema.field("emotion_scores").type == pa.struct(
            [(name, pa.float32()) for name in ("angry", "happy", "neutral", "sad")]
        )
        assert table.schema.field("emotion_confidence").type == pa.float32()
        assert table["emotion_source"].to_pylist() == ["discrete", None]
        assert table["emotion_timeline"].to_pylist()[1] == []

    def test_from_json(self, run: Run, clips: Path, account: Sandbox, here: Path) -> None:
        lines = [{"audio": "a.wav", "n": 1}, {"audio": "b.wav", "n": 2.5, "tags": ["x"]}]
        (clips / "list.jsonl").write_text("\n".join(map(json.dumps, lines)))
        assert run("annotate", "calls/list.jsonl", "-o", "out.parquet").code == 0
        table = pq.read_table(here / "out.parquet", columns=["n", "tags"])
        assert table.to_pylist() == [{"n": 1.0, "tags": None}, {"n": 2.5, "tags": ["x"]}]

    def test_incompatible_types_are_rejected(self, run: Run, clips: Path, account: Sandbox) -> None:
        (clips / "list.jsonl").write_text('{"audio": "a.wav", "n": 1}\n{"audio": "b.wav", "n": "x"}')
        result = run("annotate", "calls/list.jsonl", "-o", "out.parquet")
        assert result.code == 2
        assert "a column of the inputs contains values of different types" in result.err
        assert "Write .jsonl instead." in result.err
        assert account.calls == 0

    def test_undecodable_names_are_escaped(self, run: Run, account: Sandbox, here: Path) -> None:
        (here / ODD).write_bytes(clip(0))
        assert run("annotate", ".", "-o", "out.parquet").code == 0
        assert pq.read_table(here / "out.parquet")["file"].to_pylist() == ["caf\\xe9\n=1+1.wav"]

    def test_saved_dataset(self, run: Run, clips: Path, account: Sandbox, here: Path) -> None:
        dataset = Dataset.from_dict({"audio": [str(clips / "a.wav")], "n": [1]}).cast_column("audio", Audio())
        dataset.save_to_disk(here / "saved")
        assert run("annotate", "saved", "-o", "out.parquet").code == 0
        (row,) = pq.read_table(here / "out.parquet").to_pylist()
        assert row["audio"] == {"bytes": clip(0), "path": "a.wav"}
        assert row["emotion"] is not None


class TestAudioFolder:
    @pytest.fixture(autouse=True)
    def load_without_torchcodec(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Let `datasets` build an audio folder without torchcodec, since nothing is decoded."""
        monkeypatch.setattr(Audio, "encode_example", lambda _, path: {"bytes": None, "path": path})
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")

    def load(self, folder: Path) -> list[dict[str, object]]:
        loaded = load_dataset("audiofolder", data_dir=str(folder), cache_dir=str(folder.parent / "cache"))
        assert list(loaded) == ["train"]
        assert isinstance(loaded["train"].features["audio"], Audio)
        return list(loaded["train"].cast_column("audio", Audio(decode=False)))

    def test_folder_loads(self, run: Run, clips: Path, account: Sandbox, here: Path) -> None:
        (clips / "empty.wav").touch()
        assert run("annotate", "calls", "-o", "folder").code == 1
        failed, first, *others = self.load(here / "folder")
        assert failed["emotion_error"] == "calls/empty.wav: the file is empty."
        assert (failed["emotion_error_code"], first["emotion_error_code"]) == ("audio_empty", None)
        assert first["audio"] == {"bytes": None, "path": str(here / "folder" / "a.wav")}
        assert (first["file"], first["emotion_source"], first["emotion_error"]) == ("calls/a.wav", "discrete", None)
        assert len(others) == 3
        assert (here / "folder" / "a.wav").samefile(clips / "a.wav")

    def test_names_that_datasets_would_misinterpret_are_replaced(
        self, run: Run, clips: Path, account: Sandbox, here: Path
    ) -> None:
        (here / "test").mkdir()
        for name in ("test/dev-1.wav", "test/.hidden.wav", "test/a.wav", ODD):
            (here / name).write_bytes(clip(0))
        paths = ["calls/a.wav", "test", "test/.hidden.wav", ODD]
        assert run("annotate", *paths, "-o", "folder").code == 0
        names = ["a.wav", "000002.wav", "000003.wav", "000004.wav", "000005.wav"]
        loaded = self.load(here / "folder")
        assert [Path(row["audio"]["path"]).name for row in loaded] == names  # type: ignore[index]
        assert [row["file"] for row in loaded][1:] == [
            "test/a.wav",
            "test/dev-1.wav",
            "test/.hidden.wav",
            "caf\\xe9\n=1+1.wav",
        ]

    def test_embedded_audio_is_written_to_files(self, run: Run, clips: Path, account: Sandbox, here: Path) -> None:
        columns = {
            "audio": [{"bytes": clip(0), "path": "x.flac"}, {"bytes": clip(1), "path": None}, None],
            "n": [1, 2, 3],
        }
        pq.write_table(pa.table(columns), here / "in.parquet")
        result = run("annotate", "in.parquet", "-o", "folder")
        assert result.code == 0
        assert "1 item without an audio file skipped: a folder cannot contain them." in result.err
        rows = self.load(here / "folder")
        assert [(Path(row["audio"]["path"]).name, row["n"]) for row in rows] == [("x.flac", 1), ("000002.wav", 2)]  # type: ignore[index]
        assert (here / "folder" / "000002.wav").read_bytes() == clip(1)

    def test_folder_is_replaced_only_if_it_is_an_earlier_output(
        self, run: Run, clips: Path, account: Sandbox, here: Path
    ) -> None:
        assert run("annotate", ".", "-o", "folder").code == 0
        (clips / "b.wav").unlink()
        assert run("annotate", ".", "-o", "folder").code == 2
        assert (here / "folder" / "b.wav").exists()
        assert run("annotate", ".", "-o", "folder", "--force").code == 0
        assert (
            sorted(path.name for path in (here / "folder").iterdir())
            == ["000003.wav", "a.wav", "c.wav", "metadata.jsonl", "same.wav"][1:]
        )
        (here / "folder" / "mine.txt").touch()
        result = run("annotate", ".", "-o", "folder", "--force")
        assert result.code == 2
        assert "contains other files" in result.err

    def test_column_that_datasets_would_misinterpret_is_rejected(self, run: Run, clips: Path, account: Sandbox) -> None:
        (clips / "list.csv").write_text("file,old_file_name\na.wav,x\n")
        result = run("annotate", "calls/list.csv", "-o", "folder")
        assert result.code == 2
        assert "datasets would treat the column 'old_file_name' as audio. Rename it, or write .parquet." in result.err

    def test_only_audio_gets_into_a_folder_for_publication(
        self, run: Run, clips: Path, account: Sandbox, here: Path
    ) -> None:
        (here / "secret.txt").write_text("secret")
        (clips / "link.wav").symlink_to(here / "secret.txt")
        (clips / "text.wav").write_text("secret")
        names = ["a.wav", "../secret.txt", "../../../../../../../etc/passwd", "/etc/passwd", "link.wav", "text.wav"]
        (clips / "list.csv").write_text("\n".join(["file,n", *(f"{name},{n}" for n, name in enumerate(names))]))
        assert run("annotate", "calls/list.csv", "-o", "folder").code == 1
        assert sorted(path.name for path in (here / "folder").iterdir()) == ["a.wav", "metadata.jsonl"]
        assert not any(path.is_symlink() for path in (here / "folder").iterdir())
        lines = [json.loads(line) for line in (here / "folder" / "metadata.jsonl").read_text().splitlines()]
        assert sorted((line["n"], line["file_name"]) for line in lines if line["n"] != "0") == [
            (str(n), None) for n in range(1, 6)
        ]
        rows = {row["n"]: row for row in self.load(here / "folder")}
        assert len(rows) == 6
        assert rows["0"]["audio"] == {"bytes": None, "path": str(here / "folder" / "a.wav")}
        assert all(rows[str(n)]["audio"] is None and rows[str(n)]["emotion_error"] for n in range(1, 6))

    def test_names_of_its_own_files_do_no_harm(self, run: Run, clips: Path, account: Sandbox, here: Path) -> None:
        names = ["annotated", "metadata.csv", "metadata.jsonl", "METADATA.JSONL", "clips.zip", "a.wav"]
        for seed, name in enumerate(names):
            (clips / name).write_bytes(clip(seed))
        rows = [{"file": name, "n": n} for n, name in enumerate(names)]
        (clips / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
        assert run("annotate", "calls/list.jsonl", "-o", "folder").code == 0
        loaded = self.load(here / "folder")
        assert [row["n"] for row in loaded] == list(range(6))
        for n, row in enumerate(loaded):
            path = Path(row["audio"]["path"])  # type: ignore[index]
            assert path.name == ("a.wav" if n == 5 else f"{n + 1:06}.wav")
            assert path.read_bytes() == clip(n) == (clips / names[n]).read_bytes()
        assert len(list((here / "folder").iterdir())) == 7

    def test_names_that_clash_or_lead_elsewhere(self, run: Run, account: Sandbox, here: Path) -> None:
        names = [
            "a.wav",
            "x/a.wav",
            "A.wav",
            "cafe\u0301.wav",
            "caf\u00e9.wav",
            "-rf.wav",
            "../up.wav",
            "x/..",
            "/etc/root.wav",
            "x" * 300 + ".wav",
            "a\0b.wav",
            "000001.wav",
            "\ud800.wav",
            "=1+1.wav",
            "a\\b.wav",
        ]
        audio = [{"bytes": clip(n), "path": escape_undecodable(name)} for n, name in enumerate(names)]
        pq.write_table(pa.table({"audio": audio, "n": range(len(names))}), here / "in.parquet")
        assert run("annotate", "in.parquet", "-o", "folder").code == 0
        stored = [Path(row["audio"]["path"]).name for row in self.load(here / "folder")]  # type: ignore[index]
        kept = {0: "a.wav", 3: "cafe\u0301.wav", 6: "up.wav", 8: "root.wav", 11: "000001.wav", 13: "=1+1.wav"}
        assert stored == [kept.get(n, f"{n + 1:06}.wav") for n in range(len(names))]
        assert [(here / "folder" / name).read_bytes() for name in stored] == [clip(n) for n in range(len(names))]
        assert len(list((here / "folder").iterdir())) == len(names) + 1

    def test_file_that_vanishes_loses_no_row(
        self, run: Run, clips: Path, account: Sandbox, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (clips / "list.csv").write_text("file\na.wav\nb.wav\n")
        write = AudioFolder.write

        def late(folder: AudioFolder, pairs: Iterable[Pair]) -> None:
            (clips / "b.wav").unlink()
            write(folder, pairs)

        monkeypatch.setattr(AudioFolder, "write", late)
        assert run("annotate", "calls/list.csv", "-o", "folder").code == 0
        there, gone = self.load(here / "folder")
        assert (gone["audio"], gone["file"]) == (None, "calls/b.wav")
        assert gone["emotion"] is not None
        assert there["audio"] is not None
