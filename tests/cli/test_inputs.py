from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Audio, Dataset, DatasetDict

from tests.cli.conftest import clip
from valence_integrations.cli.inputs import Inputs
from valence_integrations.errors import SettingsError


def names(*paths: str, **options: object) -> list[str]:
    return [row.name for row in Inputs(paths, **options)]  # type: ignore[arg-type]


class TestFiles:
    def test_folders_globs_and_files_without_duplicates(self, clips: Path) -> None:
        assert names("calls") == ["calls/a.wav", "calls/b.wav", "calls/more/c.wav", "calls/more/same.wav"]
        assert names("calls/**/*.wav", "calls") == names("calls/*.wav", "calls")
        assert names("./calls/b.wav", "calls")[:2] == ["./calls/b.wav", "calls/a.wav"]

    def test_named_file_may_have_any_suffix(self, clips: Path) -> None:
        assert names("calls/notes.txt") == ["calls/notes.txt"]

    def test_file_name_that_looks_like_a_glob(self, here: Path) -> None:
        (here / "a[1].wav").touch()
        (here / "a1.wav").touch()
        assert names("a[1].wav") == ["a[1].wav"]

    def test_hidden_files_and_the_output_are_skipped(self, clips: Path) -> None:
        (clips / ".hidden").mkdir()
        (clips / ".hidden" / "x.wav").touch()
        (clips / "._a.wav").touch()
        assert names("calls", exclude=clips / "more") == ["calls/a.wav", "calls/b.wav"]

    def test_unusual_file_names(self, here: Path) -> None:
        odd = [b"caf\xe9.wav", "привет\n🎧.wav".encode(), b'=1+1,"x".wav']
        for name in odd:
            Path(os.fsdecode(here / os.fsdecode(name))).touch()
        assert sorted(map(os.fsencode, names("."))) == sorted(odd)

    def test_uppercase_suffix(self, here: Path) -> None:
        (here / "A.WAV").touch()
        assert names(".") == ["A.WAV"]

    def test_folders_are_read_lazily(self, clips: Path) -> None:
        rows = iter(Inputs(["calls"]))
        first = next(rows)
        (clips / "more" / "c.wav").unlink()
        assert [row.name for row in (first, *rows)] == ["calls/a.wav", "calls/b.wav", "calls/more/same.wav"]


class TestTables:
    def test_csv(self, clips: Path) -> None:
        table = clips / "list.csv"
        table.write_text('id,path,text\n007,a.wav,"no, really"\n008,,\n', encoding="utf-8-sig")
        first, second = Inputs([str(table)])
        assert first.values == {"id": "007", "path": "a.wav", "text": "no, really"}
        assert (first.audio, first.name) == (str(clips / "a.wav"), str(clips / "a.wav"))
        assert (second.audio, second.name) == (None, f"{table}, row 2")

    @pytest.mark.parametrize(("suffix", "delimiter"), [("csv", ";"), ("tsv", "\t")])
    def test_other_delimiters(self, here: Path, suffix: str, delimiter: str) -> None:
        (here / f"list.{suffix}").write_text(delimiter.join(("file", "label")) + "\n" + delimiter.join(("a.wav", "x")))
        (row,) = Inputs([f"list.{suffix}"])
        assert row.values == {"file": "a.wav", "label": "x"}

    def test_paths_relative_to_the_table_or_the_working_directory(self, clips: Path, here: Path) -> None:
        (clips / "list.csv").write_text("file\ncalls/a.wav\na.wav\nnowhere.wav\nhttps://x/a.wav\n")
        assert names("calls/list.csv") == ["calls/a.wav", "calls/a.wav", "calls/nowhere.wav", "https://x/a.wav"]

    def test_jsonl(self, here: Path) -> None:
        lines = [{"n": 1, "audio": {"path": "a.wav", "bytes": None}}, {"audio": "b.wav", "tags": ["x"]}]
        (here / "list.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
        inputs = Inputs(["list.jsonl"])
        assert [(row.audio, row.values) for row in inputs] == [("a.wav", lines[0]), ("b.wav", lines[1])]
        assert inputs.names() == ["n", "audio", "tags"]

    def test_parquet_with_embedded_audio(self, here: Path) -> None:
        audio = pa.array([{"bytes": clip(0), "path": "a.wav"}, None])
        pq.write_table(pa.table({"wav": audio, "n": pa.array([1, 2], pa.int16())}), here / "clips.parquet")
        inputs = Inputs(["clips.parquet"], "wav")
        first, second = inputs
        assert first.audio == {"bytes": clip(0), "path": "a.wav"}
        assert (first.name, second.name) == ("a.wav", "clips.parquet, row 2")
        assert inputs.schema().field("n").type == pa.int16()

    def test_saved_dataset(self, clips: Path, here: Path) -> None:
        columns = {"n": [1, 2], "speech": [str(clips / "a.wav"), None]}
        dataset = Dataset.from_dict(columns).cast_column("speech", Audio())
        dataset.select([1, 0]).save_to_disk(here / "saved")
        first, second = Inputs(["saved"])
        assert (first.audio, first.name, first.values["n"]) == (None, "saved, row 1", 2)
        # `datasets` embeds the file in the table.
        assert (second.audio, second.name, second.values["n"]) == ({"bytes": clip(0), "path": "a.wav"}, "a.wav", 1)
        assert Inputs(["saved"]).count() == 2

    def test_saved_dataset_with_splits(self, clips: Path, here: Path) -> None:
        dataset = Dataset.from_dict({"audio": [np.zeros(4).tolist(), None]})
        DatasetDict(train=dataset, test=dataset.select([1])).save_to_disk(here / "saved")
        inputs = Inputs(["saved"])
        assert [row.values["split"] for row in inputs] == ["train", "train", "test"]
        assert inputs.names() == ["audio", "split"]

    def test_mixed_inputs(self, clips: Path) -> None:
        (clips / "list.csv").write_text("wav,n\na.wav,1\n")
        inputs = Inputs(["calls/b.wav", "calls/list.csv", "calls/more"])
        assert [row.name for row in inputs][:3] == ["calls/b.wav", "calls/a.wav", "calls/more/c.wav"]
        assert inputs.names() == ["file", "wav", "n"]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a,b\n1,2\n", r"list.csv has no column with a common name for audio; its columns are 'a', 'b'\. Name"),
            ("", r"its columns are none"),
            (
                "file\na.wav,x\n",
                r"list.csv, line 2: more cells than the header has\. Quote values that contain a comma",
            ),
        ],
    )
    def test_invalid_csv(self, here: Path, text: str, message: str) -> None:
        (here / "list.csv").write_text(text)
        with pytest.raises(SettingsError, match=message):
            list(Inputs(["list.csv"]))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('{"audio": "a.wav"}\n{"au', "list.jsonl, line 2 is not JSON"),
            ("[1]", "line 1 is not a JSON object. Write {...}"),
        ],
    )
    def test_invalid_jsonl(self, here: Path, text: str, message: str) -> None:
        (here / "list.jsonl").write_text(text)
        with pytest.raises(SettingsError, match=message):
            Inputs(["list.jsonl"])

    def test_invalid_parquet(self, here: Path) -> None:
        (here / "list.parquet").write_text("no")
        with pytest.raises(SettingsError, match=r"list.parquet cannot be read as Parquet"):
            Inputs(["list.parquet"])

    def test_missing_column(self, here: Path) -> None:
        (here / "list.csv").write_text("file,n\n")
        with pytest.raises(SettingsError, match=r"no column 'wav'; its columns are 'file', 'n'\. Name one of them"):
            Inputs(["list.csv"], "wav")
