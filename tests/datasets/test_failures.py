"""Failed rows are seen, and further columns are not taken for indices."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from datasets import Dataset, DatasetDict

from tests.conftest import clips
from valence_integrations import ValenceAnnotator, annotate_dataset, errors, valence_annotate
from valence_integrations.datasets._failures import FailureWarnings
from valence_integrations.errors import PartialFailureWarning
from valence_integrations.results import EmotionPrediction
from valence_integrations.sandbox import Sandbox

FILES = clips(3, seconds=5.0)
#: The second and the fifth cannot be read.
ROWS: list[Any] = [FILES[0], b"junk junk", FILES[1], FILES[2], b"more junk"]


@pytest.fixture(autouse=True)
def service(datasets_service: Sandbox) -> Sandbox:
    return datasets_service


def made(audio: list[Any] = ROWS) -> Dataset:
    return Dataset.from_dict({"audio": audio, "label": [4, 3, 2, 1, 0][: len(audio)]})


def warned(caught: pytest.WarningsRecorder) -> list[PartialFailureWarning]:
    return [one.message for one in caught if isinstance(one.message, PartialFailureWarning)]


class TestInputColumns:
    @pytest.mark.parametrize("how", [{}, {"with_indices": True}], ids=["columns only", "with_indices"])
    def test_labels_are_not_taken_for_indices(self, how: dict[str, Any]) -> None:
        with pytest.raises(errors.BatchError) as caught:
            made().map(ValenceAnnotator(on_error="raise"), batched=True, input_columns=["audio", "label"], **how)
        assert list(caught.value.errors) == [1, 4]

    def test_indices_of_whole_rows_count(self) -> None:
        with pytest.raises(errors.BatchError) as caught:
            made().map(ValenceAnnotator(on_error="raise"), batched=True, batch_size=3, with_indices=True)
        assert list(caught.value.errors) == [1]
        with pytest.raises(errors.BatchError) as caught:
            made().select([0, 2, 3, 1, 4]).map(
                ValenceAnnotator(on_error="raise"), batched=True, batch_size=3, with_indices=True
            )
        assert list(caught.value.errors) == [3, 4]

    @pytest.mark.parametrize("batched", [False, True])
    def test_rows_are_right(self, batched: bool) -> None:
        how: dict[str, Any] = {"batched": batched, "with_indices": True}
        bare = made().map(valence_annotate, input_columns=["audio", "label"], **how)
        whole = made().map(valence_annotate, **how)
        answered = [0, 2, 3]
        assert bare.select(answered)["emotion_scores"][:] == whole.select(answered)["emotion_scores"][:]
        assert bare["label"][:] == [4, 3, 2, 1, 0]
        assert [code is not None for code in bare["emotion_error_code"]] == [False, True, False, False, True]


class TestWarnings:
    def test_a_batched_map_warns_of_its_first_failures(self) -> None:
        with pytest.warns(PartialFailureWarning) as caught:
            made().map(valence_annotate, batched=True, batch_size=3)
        (warning,) = warned(caught)
        assert str(warning).startswith("1 of 3 items failed: 1 audio_format_unknown; first: audio of 9 bytes: ")
        assert list(warning.errors) == [1]
        assert caught[0].filename == __file__

    def test_each_line_with_a_map_warns_once(self) -> None:
        with pytest.warns(PartialFailureWarning) as first:
            made().map(valence_annotate)
        with pytest.warns(PartialFailureWarning) as second:
            made().map(valence_annotate, load_from_cache_file=False)
        assert [str(one)[:20] for one in [*warned(first), *warned(second)]] == ["1 of 1 item failed: "] * 2

    def test_a_long_map_warns_once_a_minute(self) -> None:
        now = 0.0
        warn = FailureWarnings(clock=lambda: now)
        failed = [EmotionPrediction(), EmotionPrediction(error=errors.ItemError("broken"))]
        times = []
        for now in range(0, 130, 10):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                warn([EmotionPrediction()])
                warn(failed)
            times += [now] * len(caught)
        assert times == [0, 60, 120]

    def test_annotate_dataset_warns_once_at_the_end(self) -> None:
        with pytest.warns(PartialFailureWarning) as caught:
            annotated = annotate_dataset(made(), batch_size=2, progress=False)
        (warning,) = warned(caught)
        assert str(warning).startswith("2 of 5 items failed: 2 audio_format_unknown; first: audio of 9 bytes: ")
        assert list(warning.errors) == [1, 4]
        assert caught[0].filename == __file__
        assert [text is not None for text in annotated["emotion_error"]] == [False, True, False, False, True]

    def test_rows_of_splits_have_the_name_of_the_split(self) -> None:
        splits = DatasetDict(train=made(), test=made(ROWS[:2]))
        with pytest.warns(PartialFailureWarning, match="^3 of 7 items failed: 3 audio_format_unknown") as caught:
            annotate_dataset(splits, progress=False)
        assert list(warned(caught)[0].errors) == [("train", 1), ("train", 4), ("test", 1)]

    def test_a_stream_warns(self) -> None:
        stream = annotate_dataset(made().to_iterable_dataset(), batch_size=5)
        with pytest.warns(PartialFailureWarning, match="^2 of 5 items failed") as caught:
            assert len(list(stream)) == 5
        assert len(warned(caught)) == 1

    def test_no_failure_no_warning(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            made(FILES).map(valence_annotate, batched=True)
            annotate_dataset(made(FILES), progress=False)
            with pytest.raises(errors.BatchError):
                annotate_dataset(made(), on_error="raise", progress=False)


class TestParameters:
    @pytest.mark.parametrize("batch_size", [0, -1, 2.5, "x", True])
    def test_batch_size_is_checked(self, batch_size: Any) -> None:
        with pytest.raises(errors.SettingsError, match=r"^batch_size must be a whole number of at least 1"):
            annotate_dataset(made(FILES), batch_size=batch_size)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("engine", {}),
            ("cache", 3),
            ("concurrency", "x"),
            ("base_url", "https://a.b:99999"),
            ("long_audio", True),
            ("progress", None),
            ("on_error", ["null"]),
            ("labels", 1),
            ("audio_column", 0),
            ("emotions", ["joy"]),
        ],
    )
    def test_settings_are_checked_before_anything_is_sent(self, name: str, value: Any, service: Sandbox) -> None:
        with pytest.raises(errors.SettingsError, match=rf"^{name} must") as caught:
            annotate_dataset(made(FILES), **{name: value})
        assert caught.value.setting == name
        assert service.requests == []

    def test_settings_of_the_environment_count(self, monkeypatch: pytest.MonkeyPatch, service: Sandbox) -> None:
        monkeypatch.setenv("VALENCE_SHORT_AUDIO", "skip")
        monkeypatch.setenv("VALENCE_MODEL", "7emotions")
        short = clips(1, seconds=2.0)
        for annotated in (made(short).map(valence_annotate), annotate_dataset(made(short), progress=False)):
            assert annotated["emotion_source"][:] == [None]
            assert len(annotated[0]["emotion_scores"]) == 7
        assert service.calls == 0

    def test_an_emotion_without_a_column_is_warned_of(self) -> None:
        with pytest.warns(UserWarning, match="without a column") as caught:
            annotate_dataset(made(FILES), emotions=("angry",), progress=False)
        assert caught[0].filename == __file__
