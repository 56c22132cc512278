"""The bar and the summary of `annotate_dataset`."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import Dataset, DatasetDict, load_from_disk

from tests.conftest import clips
from valence_integrations import Engine, Settings, annotate_dataset, errors
from valence_integrations.datasets._summary import Summary
from valence_integrations.sandbox import Sandbox

FILES = clips(6)
ROWS = [*FILES, FILES[0], None, b"none", "/nowhere/a.wav", b"\0" * 9]


@pytest.fixture(autouse=True)
def service(datasets_service: Sandbox) -> Iterator[Sandbox]:
    datasets.enable_progress_bars()
    yield datasets_service
    datasets.enable_progress_bars()


def made(rows: list[Any] = ROWS) -> Dataset:
    audio = [{"path": row, "bytes": None} if isinstance(row, str) else row and {"bytes": row} for row in rows]
    return Dataset.from_dict({"audio": audio})


def stderr_lines(capfd: pytest.CaptureFixture[str]) -> list[str]:
    """Lines of stderr, with every duration replaced by 0.0 s."""
    printed = capfd.readouterr()
    assert printed.out == ""
    return [re.sub(r"in \d+\.\d s", "in 0.0 s", line) for line in printed.err.splitlines()]


def test_one_bar_and_one_summary_for_all_splits(capfd: pytest.CaptureFixture[str]) -> None:
    annotate_dataset(DatasetDict(train=made(), test=made(FILES[:4])))
    first, last, *summary = stderr_lines(capfd)
    assert first.startswith("emotions: 0/15 [")
    assert last.startswith("emotions: 15/15 [")
    assert "cached=5, failed=3" in last
    assert summary[0] == "emotions: 15 rows in 0.0 s: 11 labelled, 1 missing or skipped, 3 failed; 5 from the cache"
    unreadable, missing = summary[1:]
    assert unreadable.startswith("  2 audio_format_unknown, such as row 8 of train: audio of 4 bytes: this is not a")
    assert missing.startswith("  1 audio_not_found, such as row 9 of train: /nowhere/a.wav: the file cannot be")


def test_duration_of_a_long_job_is_written_with_units() -> None:
    summary = Summary(Engine(Settings(cache=False)), 1, show=False)
    summary._started -= 3_725
    assert str(summary).startswith("emotions: 1 row in 1 h 2 min 5 s: ")


def test_summary_lists_reasons_by_frequency(service: Sandbox, capfd: pytest.CaptureFixture[str]) -> None:
    rows = [b"none", *clips(1, 2.0), b"none again", None]
    annotate_dataset(made(rows), short_audio="error", batch_size=2)
    _, _, summary, *reasons = stderr_lines(capfd)
    assert summary == "emotions: 4 rows in 0.0 s: 0 labelled, 1 missing or skipped, 3 failed; 0 from the cache"
    assert [reason.partition(": ")[0] for reason in reasons] == [
        "  2 audio_format_unknown, such as row 0",
        "  1 audio_too_short, such as row 1",
    ]


def test_summary_counts_low_confidence_separately(capfd: pytest.CaptureFixture[str]) -> None:
    annotate_dataset(made(FILES), min_confidence=1.0)
    assert "0 labelled, 6 under min_confidence, 0 failed; 0 from the cache" in stderr_lines(capfd)[-1]


def test_rows_cached_by_datasets_are_not_annotated_again(
    service: Sandbox, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    made(FILES[:4]).save_to_disk(tmp_path / "clips")
    kept = load_from_disk(tmp_path / "clips")
    annotate_dataset(kept)
    calls = len(service.requests)
    capfd.readouterr()
    annotate_dataset(kept)
    assert stderr_lines(capfd) == [
        "emotions: 4 rows in 0.0 s: 0 labelled, 0 failed, 4 kept by datasets; 0 from the cache"
    ]
    annotate_dataset(DatasetDict(train=made(FILES[:1]), test=kept))
    *_, last, summary = stderr_lines(capfd)
    assert last.startswith("emotions: 1/1 [")
    assert summary == "emotions: 5 rows in 0.0 s: 1 labelled, 0 failed, 4 kept by datasets; 1 from the cache"
    assert len(service.requests) == calls


def test_datasets_progress_bars_are_restored(capfd: pytest.CaptureFixture[str]) -> None:
    annotate_dataset(made(FILES))
    assert not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    capfd.readouterr()
    annotate_dataset(made(FILES))
    assert datasets.are_progress_bars_disabled()
    assert stderr_lines(capfd) == ["emotions: 6 rows in 0.0 s: 6 labelled, 0 failed; 6 from the cache"]


def test_without_progress_summary_is_only_logged(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "valence_integrations"):
        annotate_dataset(made(), progress=False)
    assert stderr_lines(capfd) == []
    assert "11 rows in" in caplog.messages[-1]
    assert "7 labelled, 1 missing or skipped, 3 failed; 1 from the cache" in caplog.messages[-1]


def test_stream_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    assert len(list(annotate_dataset(made().to_iterable_dataset()))) == 11
    assert stderr_lines(capfd) == []


def test_aborted_job_closes_bar(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(errors.AuthenticationError):
        annotate_dataset(made(), api_key="wrong")
    assert not datasets.are_progress_bars_disabled()
    assert all(line.startswith("emotions: ") and "/11 [" in line for line in stderr_lines(capfd))


def test_batch_error_names_failed_rows_by_index() -> None:
    with pytest.raises(errors.BatchError) as caught:
        annotate_dataset(made(), on_error="raise", batch_size=4, progress=False)
    assert list(caught.value.errors) == [8, 9, 10]
