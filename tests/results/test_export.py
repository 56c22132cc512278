"""Read exports back with audformat, Praat itself, and a strict RTTM parser."""

from __future__ import annotations

import math
from pathlib import Path

import audformat
import numpy as np
import pandas as pd
import parselmouth
import pytest

from tests.conftest import EXAMPLES
from valence_integrations import EmotionPrediction, EmotionSegment, Engine, errors
from valence_integrations.results import to_frame

CALL = EmotionPrediction.from_segments(
    [
        EmotionSegment(0.0, 5.0, "calm", 0.61, {"calm": 0.61, "angry": 0.2}),
        EmotionSegment(5.0, 10.0, None, 0.21, {"calm": 0.21, "angry": 0.2}),
        EmotionSegment(12.5, 17.25, 'very "angry"', 0.9, {"calm": 0.3, 'very "angry"': 0.9}),
    ],
    source="asynch",
    duration=20.5,
)
SHORT = EmotionPrediction.from_segments([EmotionSegment(0.0, 6.0, "happy", 0.78, {"happy": 0.78})], duration=6.0)


class TestFrame:
    def test_index_is_an_audformat_segmented_index(self) -> None:
        table = to_frame([("a/call.wav", CALL), (Path("b.wav"), SHORT)])
        audformat.assert_index(table.index)
        expected = audformat.segmented_index(
            ["a/call.wav"] * 3 + ["b.wav"], [0.0, 5.0, 12.5, 0.0], [5.0, 10.0, 17.25, 6.0]
        )
        pd.testing.assert_index_equal(table.index, expected)
        assert [str(kind) for kind in table.index.dtypes[1:]] == ["timedelta64[ns]"] * 2

    def test_columns_are_emotion_confidence_and_scores(self) -> None:
        table = to_frame([("call.wav", CALL), ("b.wav", SHORT)])
        assert table.columns.to_list() == ["emotion", "confidence", "calm", "angry", 'very "angry"', "happy"]
        assert table["emotion"].replace({np.nan: None}).to_list() == ["calm", None, 'very "angry"', "happy"]
        assert table["confidence"].to_list() == [0.61, 0.21, 0.9, 0.78]
        np.testing.assert_array_equal(table["calm"], [0.61, 0.21, 0.3, math.nan])
        assert set(map(str, table.dtypes[1:])) == {"float64"}

    def test_item_without_segments_has_one_row(self) -> None:
        failed = EmotionPrediction(error=errors.UnreadableAudioError("damaged"))
        table = to_frame([("failed.wav", failed), ("skipped.wav", EmotionPrediction(duration=2.5))])
        audformat.assert_index(table.index)
        assert table.index.get_level_values("file").to_list() == ["failed.wav", "skipped.wav"]
        assert pd.isna(table.index[0][2])
        assert table.index[1][2] == pd.Timedelta(seconds=2.5)
        assert table.isna().all(axis=None)

    def test_no_items_give_an_empty_table(self) -> None:
        table = to_frame([])
        assert table.shape == (0, 2)
        audformat.assert_index(table.index)

    def test_frame_of_one_prediction(self) -> None:
        pd.testing.assert_frame_equal(CALL.to_frame("call.wav"), to_frame([("call.wav", CALL)]))
        assert CALL.to_frame().index.get_level_values("file").unique().to_list() == [""]

    def test_frame_fits_an_audformat_database(self) -> None:
        db = audformat.Database("calls")
        table = CALL.to_frame("call.wav")
        db.schemes["confidence"] = audformat.Scheme("float", minimum=0, maximum=1)
        db["emotions"] = audformat.Table(table.index)
        db["emotions"]["confidence"] = audformat.Column(scheme_id="confidence")
        db["emotions"]["confidence"].set(table["confidence"])
        assert db["emotions"]["confidence"].get().to_list() == pytest.approx([0.61, 0.21, 0.9])


class TestTextGrid:
    def read(self, prediction: EmotionPrediction, folder: Path) -> parselmouth.TextGrid:
        path = folder / "call.TextGrid"
        path.write_text(prediction.to_textgrid(), encoding="utf-8")
        return parselmouth.read(str(path))

    def test_praat_reads_the_textgrid(self, tmp_path: Path) -> None:
        grid = self.read(CALL, tmp_path)
        assert (grid.xmin, grid.xmax) == (0.0, 20.5)
        assert [parselmouth.praat.call(grid, "Get tier name", tier) for tier in (1, 2)] == ["emotion", "confidence"]
        assert self.intervals(grid, 1) == [
            (0.0, 5.0, "calm"),
            (5.0, 10.0, ""),
            (10.0, 12.5, ""),
            (12.5, 17.25, 'very "angry"'),
            (17.25, 20.5, ""),
        ]
        assert [text for _, _, text in self.intervals(grid, 2)] == ["0.610", "", "", "0.900", ""]

    def test_praat_reads_overlapping_and_empty_segments(self, tmp_path: Path) -> None:
        odd = [(0.0, 6.0, "sad"), (4.0, 8.0, "calm"), (8.0, 8.0, "happy"), (7.0, 7.5, "angry"), (8.0, 9.0, "sad")]
        prediction = EmotionPrediction.from_segments([EmotionSegment(*row, 0.5) for row in odd], duration=3.0)
        grid = self.read(prediction, tmp_path)
        assert self.intervals(grid, 1) == [(0.0, 6.0, "sad"), (6.0, 8.0, "calm"), (8.0, 9.0, "sad")]

    def test_praat_reads_unicode(self, tmp_path: Path) -> None:
        prediction = EmotionPrediction.from_segments([EmotionSegment(0.0, 6.0, "fröhlich 喜び", 0.5)])
        assert self.intervals(self.read(prediction, tmp_path), 1) == [(0.0, 6.0, "fröhlich 喜び")]

    def test_skipped_item_is_one_empty_interval(self, tmp_path: Path) -> None:
        grid = self.read(EmotionPrediction(duration=2.5), tmp_path)
        assert self.intervals(grid, 1) == [(0.0, 2.5, "")]

    def test_textgrid_without_segments_and_duration_raises(self) -> None:
        with pytest.raises(ValueError, match="neither segments nor a duration"):
            EmotionPrediction().to_textgrid()

    @staticmethod
    def intervals(grid: parselmouth.TextGrid, tier: int) -> list[tuple[float, float, str]]:
        call = parselmouth.praat.call
        return [
            (
                call(grid, "Get start time of interval", tier, number),
                call(grid, "Get end time of interval", tier, number),
                call(grid, "Get label of interval", tier, number),
            )
            for number in range(1, call(grid, "Get number of intervals", tier) + 1)
        ]


class TestRttm:
    def read(self, text: str) -> list[tuple[str, float, float, str, float]]:
        """Read recording, start, duration, name and confidence of SPEAKER lines [NIST RT-09, appendix A]."""
        turns = []
        for line in text.splitlines():
            kind, file, channel, start, duration, ortho, stype, name, confidence, slat = line.split(" ")
            assert (kind, channel, ortho, stype, slat) == ("SPEAKER", "1", "<NA>", "<NA>", "<NA>")
            turns.append((file, float(start), float(duration), name, float(confidence)))
        return turns

    def test_rttm_can_be_parsed(self) -> None:
        assert self.read(CALL.to_rttm(" my\tcall") + SHORT.to_rttm(Path("greeting"))) == [
            ("my_call", 0.0, 5.0, "calm", 0.61),
            ("my_call", 12.5, 4.75, 'very_"angry"', 0.9),
            ("greeting", 0.0, 6.0, "happy", 0.78),
        ]

    def test_fields_follow_nist(self) -> None:
        assert SHORT.to_rttm("clip") == "SPEAKER clip 1 0.000 6.000 <NA> <NA> happy 0.780 <NA>\n"

    def test_item_without_an_emotion_has_no_line(self) -> None:
        assert EmotionPrediction(duration=2.5).to_rttm("clip") == ""

    def test_empty_file_name_raises(self) -> None:
        with pytest.raises(ValueError, match="file"):
            SHORT.to_rttm("  ")


def test_prediction_of_the_service_exports_to_all_formats(engine: Engine, tmp_path: Path) -> None:
    path = EXAMPLES / "audio" / "ruth_neutral.wav"
    prediction = engine.predict(path)
    assert len(prediction.to_frame(path)) == 1
    grid = TestTextGrid().read(prediction, tmp_path)
    assert grid.xmax == prediction.duration
    assert prediction.to_rttm(path.stem).split()[7] == prediction.emotion
