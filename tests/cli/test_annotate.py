from __future__ import annotations

import csv
import itertools
import json
import os
import re
import resource
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run, clip
from valence_integrations import Settings
from valence_integrations.cli.journal import Journal
from valence_integrations.cli.rows import Row
from valence_integrations.results import EmotionPrediction
from valence_integrations.sandbox import Faults, Sandbox

MakeAccount = Callable[..., Sandbox]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class TestFinished:
    def test_folder(self, run: Run, clips: Path, account: Sandbox, here: Path) -> None:
        result = run("annotate", "calls", "-o", "calls.csv")
        assert (result.code, result.out) == (0, "")
        assert [row["file"] for row in rows(here / "calls.csv")] == [
            "calls/a.wav",
            "calls/b.wav",
            "calls/more/c.wav",
            "calls/more/same.wav",
        ]
        first, *_, last = rows(here / "calls.csv")
        assert first["emotion"] in {"angry", "happy", "neutral", "sad"}
        assert first["emotion_source"] == "discrete"
        assert {**first, "file": ""} == {**last, "file": ""}
        assert account.calls == 3
        assert "calls.csv: 4 items, 0 failed\n  3 calls in " in result.err
        assert " s, 1 from the cache\n" in result.err
        assert sorted(path.name for path in here.iterdir()) == ["calls", "calls.csv"]

    def test_second_run_makes_no_calls(self, run: Run, clips: Path, account: Sandbox, here: Path) -> None:
        run("annotate", "calls", "-o", "calls.csv")
        first = (here / "calls.csv").read_bytes()
        result = run("annotate", "calls", "-o", "calls.csv", "--force")
        assert re.search(r"^  0 calls in \d s, 4 from the cache$", result.err, re.MULTILINE)
        assert account.calls == 3
        assert (here / "calls.csv").read_bytes() == first

    def test_sandbox_needs_no_key(self, run: Run, clips: Path, tmp_path: Path, here: Path) -> None:
        result = run("annotate", "calls", "-o", "calls.csv", "--sandbox")
        assert result.code == 0
        assert result.err.startswith("The embedded sandbox answers: it is a stand-in, not an emotion model.\n")
        assert len(rows(here / "calls.csv")) == 4
        # The sandbox has its own cache.
        assert [path.name for path in (tmp_path / "cache").iterdir()] == ["sandbox"]

    def test_key_is_never_sent_to_the_sandbox(
        self, run: Run, clips: Path, account: Sandbox, monkeypatch: pytest.MonkeyPatch, here: Path
    ) -> None:
        monkeypatch.delenv("VALENCE_API_BASE_URL")
        monkeypatch.setenv("VALENCE_API_KEY", "a-real-key")
        assert run("annotate", "calls", "-o", "calls.csv", "--sandbox").code == 0
        assert account.calls == 0

    def test_quiet_and_json(self, run: Run, clips: Path, account: Sandbox) -> None:
        result = run("annotate", "calls", "-o", "calls.csv", "-q", "--json")
        assert result.err == ""
        summary = json.loads(result.out)
        assert summary.pop("seconds") > 0
        emotions = summary.pop("emotions")
        assert sum(emotions.values()) == 4
        assert summary == {
            "output": "calls.csv",
            "items": 4,
            "done": 4,
            "earlier": 0,
            "cached": 1,
            "failed": 0,
            "calls": 3,
            "retries": 0,
            "possibly_double_billed": 0,
            "audio_seconds": 15.0,
            "failures": [],
        }

    def test_settings(self, run: Run, here: Path, account: Sandbox) -> None:
        (here / "short.wav").write_bytes(clip(1, 2.0))
        (here / "long.wav").write_bytes(clip(1, 20.0))
        options = ["--short", "skip", "--long", "chunk", "--model", "7emotions", "--min-confidence", "1"]
        result = run("annotate", "short.wav", "long.wav", "-o", "out.csv", *options, "--concurrency", "1", "--no-cache")
        assert result.code == 0
        short, long = rows(here / "out.csv")
        assert (short["emotion_source"], short["emotion_calm"], short["emotion_confidence"]) == ("", "", "")
        assert (long["emotion_source"], long["emotion"]) == ("chunk", "")
        assert float(long["emotion_calm"]) >= 0
        assert len(json.loads(long["emotion_timeline"])) == 2
        assert "none 1" in result.err
        assert account.max_in_flight == 1
        assert account.calls == 2
        run("annotate", "short.wav", "long.wav", "-o", "out.csv", *options, "--no-cache", "--force")
        assert account.calls == 4

    def test_custom_model(self, run: Run, here: Path, clips: Path, account: Sandbox) -> None:
        result = run("annotate", "calls", "-o", "out.csv", "--model", "mine")
        assert result.code == 2
        assert "emotions of the model 'mine' are unknown. Name them: --emotions angry,happy,..." in result.err
        run("annotate", "calls", "-o", "out.csv", "--model", "mine", "--emotions", "excited,sleepy")
        assert list(rows(here / "out.csv")[0])[3:5] == ["emotion_excited", "emotion_sleepy"]

    def test_output_through_a_symbolic_link(self, run: Run, clips: Path, account: Sandbox, here: Path) -> None:
        (here / "real").mkdir()
        (here / "out.csv").symlink_to(here / "real" / "out.csv")
        assert run("annotate", "calls", "-o", "out.csv").code == 0
        assert (here / "out.csv").is_symlink()
        assert len(rows(here / "real" / "out.csv")) == 4


class TestFailures:
    def test_failures_are_listed_and_written(self, run: Run, clips: Path, account: Sandbox, here: Path) -> None:
        (clips / "b.wav").write_bytes(b"")
        result = run("annotate", "calls", "-o", "calls.csv", "-q")
        assert result.code == 1
        assert result.err == "1 item of 4 failed:\n  calls/b.wav: the file is empty.\n"
        failed = rows(here / "calls.csv")[1]
        assert (failed["emotion"], failed["emotion_angry"], failed["emotion_confidence"]) == ("", "", "")
        assert failed["emotion_error"] == "calls/b.wav: the file is empty."
        assert failed["emotion_error_code"] == "audio_empty"

    def test_fixed_items_are_annotated_again(self, run: Run, clips: Path, account: Sandbox, here: Path) -> None:
        (clips / "b.wav").write_bytes(b"")
        run("annotate", "calls", "-o", "calls.csv")
        (clips / "b.wav").write_bytes(clip(9))
        assert run("annotate", "calls", "-o", "calls.csv", "--force").code == 0
        assert account.calls == 3

    def test_on_error_raise(self, run: Run, clips: Path, account: Sandbox, here: Path) -> None:
        (clips / "b.wav").write_bytes(b"")
        result = run("annotate", "calls", "-o", "calls.csv", "--on-error", "raise", "--no-cache", "--json")
        assert result.code == 1
        assert "calls.csv is not written. Fix or drop these items, or use --on-error null." in result.err
        assert json.loads(result.out)["failures"] == [
            {
                "item": "calls/b.wav",
                "type": "UnreadableAudioError",
                "code": "audio_empty",
                "error": "calls/b.wav: the file is empty.",
            }
        ]
        assert not (here / "calls.csv").exists()
        # The other items are kept, even without a cache.
        (clips / "b.wav").unlink()
        assert run("annotate", "calls", "-o", "calls.csv", "--on-error", "raise", "--no-cache").code == 0
        assert account.calls == 2
        assert not (here / "calls.csv.partial.jsonl").exists()

    def test_long_list_of_failures_is_cut_off(self, run: Run, clips: Path, account: Sandbox, here: Path) -> None:
        for number in range(12):
            (clips / f"bad{number}.wav").touch()
        result = run("annotate", "calls", "-o", "calls.csv", "-q")
        assert result.err.count("the file is empty.") == 10
        assert result.err.endswith("  and 2 more: --json lists them all\n")

    def test_control_characters_in_names_are_escaped(self, run: Run, here: Path, account: Sandbox) -> None:
        (here / "a\n\x1b[31mb.wav").touch()
        result = run("annotate", ".", "-o", "out.csv", "-q")
        assert r"  a\n\x1b[31mb.wav: the file is empty." in result.err.splitlines()


class TestStopped:
    def test_missing_key(self, run: Run, clips: Path, here: Path) -> None:
        result = run("annotate", "calls", "-o", "calls.csv")
        assert result.code == 2
        assert result.err == (
            "valence: there is no API key. Set VALENCE_API_KEY, or use --sandbox, which needs none.\n"
        )
        assert [path.name for path in here.iterdir()] == ["calls"]

    def test_rejected_key(
        self, run: Run, clips: Path, account: Sandbox, monkeypatch: pytest.MonkeyPatch, here: Path
    ) -> None:
        monkeypatch.setenv("VALENCE_API_KEY", "wrong")
        result = run("annotate", "calls", "-o", "calls.csv", "-q")
        assert result.code == 2
        assert result.err.startswith("valence: the service refuses the API key (HTTP 401")
        assert "Check VALENCE_API_KEY" in result.err
        assert "wrong" not in result.err
        assert [path.name for path in here.iterdir()] == ["calls"]

    def test_spent_budget(self, run: Run, clips: Path, account: Sandbox, here: Path) -> None:
        arguments = ["annotate", "calls", "-o", "calls.csv", "-q", "--concurrency", "1", "--json"]
        result = run(*arguments, "--max-calls", "2")
        assert result.code == 3
        *stopped, budget = result.err.splitlines()
        kept = json.loads(result.out)["done"]
        message = "items are kept in calls.csv.partial.jsonl and are not paid again. Run the same command to continue."
        nothing = "stopped: no item is finished; answers are kept in the cache. Run the same command to continue."
        assert stopped == [f"stopped: {kept} of 4 {message}" if kept else nothing]
        assert budget.startswith("valence: the budget of 2 calls is spent. Finished items are kept; raise --max-calls")
        assert not (here / "calls.csv").exists()
        result = run(*arguments)
        assert (result.code, result.err) == (0, "")
        summary = json.loads(result.out)
        assert (summary["earlier"], summary["done"]) == (kept, 4)
        assert len(rows(here / "calls.csv")) == 4
        assert account.calls == 3

    @pytest.mark.parametrize("path", ["calls", "calls/a.wav"])
    def test_outage(self, run: Run, clips: Path, make_account: MakeAccount, here: Path, path: str) -> None:
        """A job without any answer is an outage, even with few items."""
        make_account(faults=Faults(unavailable=1.0, retry_after=0))
        result = run("annotate", path, "-o", "calls.csv", "-q")
        assert result.code == 3
        assert result.err.splitlines()[-1].startswith("valence: no call was answered; the last error: calls/")
        assert result.err.endswith("Run again later.\n")
        assert not (here / "calls.csv").exists()

    def test_partial_file_is_not_reused_with_other_settings(
        self, run: Run, clips: Path, account: Sandbox, here: Path
    ) -> None:
        arguments = ["annotate", "calls", "-o", "calls.csv", "-q", "--no-cache", "--concurrency", "1"]
        assert run(*arguments, "--max-calls", "2").code == 3
        partial = here / "calls.csv.partial.jsonl"
        kept = partial.read_bytes()
        result = run(*arguments, "--model", "7emotions")
        assert result.code == 2
        assert result.err == (
            f"valence: calls.csv.partial.jsonl holds {len(kept.splitlines())} finished items of a command with other "
            "inputs or settings. Run that command to continue it, choose another output, or discard them with "
            "--force.\n"
        )
        assert partial.read_bytes() == kept
        assert account.calls == 2
        assert run(*arguments, "--model", "7emotions", "--force").code == 0
        assert account.calls == 2 + 3
        assert "emotion_calm" in rows(here / "calls.csv")[0]

    def test_changed_file_is_annotated_again(self, run: Run, clips: Path, account: Sandbox, here: Path) -> None:
        assert run("annotate", "calls", "-o", "calls.csv", "--max-calls", "2", "--concurrency", "1").code == 3
        (clips / "a.wav").write_bytes(clip(7, 6.0))
        assert run("annotate", "calls", "-o", "calls.csv").code == 0
        assert '"end"":6.0' in (here / "calls.csv").read_text()

    def test_incomplete_line_is_dropped(self, run: Run, clips: Path, account: Sandbox, here: Path) -> None:
        (clips / "b.wav").write_bytes(b"")
        assert run("annotate", "calls", "-o", "calls.csv", "--on-error", "raise").code == 1
        partial = here / "calls.csv.partial.jsonl"
        lines = {json.loads(line)["name"]: line for line in partial.read_bytes().splitlines(keepends=True)}
        partial.write_bytes(lines["calls/a.wav"] + lines["calls/b.wav"] + lines["calls/more/c.wav"][:-20])
        (clips / "b.wav").write_bytes(clip(1))
        result = run("annotate", "calls", "-o", "calls.csv", "--no-cache", "--json")
        assert result.code == 0
        summary = json.loads(result.out)
        assert (summary["earlier"], summary["calls"]) == (1, 3)
        assert len(rows(here / "calls.csv")) == 4

    @pytest.mark.parametrize("cache", [True, False])
    def test_full_disk(
        self, run: Run, clips: Path, account: Sandbox, here: Path, monkeypatch: pytest.MonkeyPatch, cache: bool
    ) -> None:
        add, added = Journal.add, itertools.count()

        def full(journal: Journal, row: Row, prediction: EmotionPrediction) -> None:
            if next(added) >= 2:
                raise OSError(28, "No space left on device")
            add(journal, row, prediction)

        arguments = ["annotate", "calls", "-o", "calls.csv", "-q", *([] if cache else ["--no-cache"])]
        with monkeypatch.context() as patch:
            patch.setattr(Journal, "add", full)
            result = run(*arguments)
        assert result.code == 2
        assert result.err == (
            "stopped: 2 of 4 items are kept in calls.csv.partial.jsonl and are not paid again. Run the same command to "
            "continue.\nvalence: No space left on device. Check the path, its permissions and the free disk space.\n"
        )
        paid = account.calls
        assert run(*arguments).code == 0
        assert len(rows(here / "calls.csv")) == 4
        assert account.calls <= (3 if cache else paid + 2)

    def test_line_that_fits_in_part_is_removed(self, here: Path) -> None:
        row, prediction = Row("a.wav", "a.wav", {}), EmotionPrediction("sad")
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        with Journal(here / "partial", "service", Settings()) as journal:
            journal.add(row, prediction)
            whole = (here / "partial").read_bytes()
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 50, limits[1]))
            try:
                with pytest.raises(OSError, match="File too large"):
                    journal.add(Row("b.wav", "b.wav", {}), prediction)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            assert (here / "partial").read_bytes() == whole
            journal.add(Row("b.wav", "b.wav", {}), prediction)
            assert journal.find(row) == journal.find(Row("b.wav", "b.wav", {}))

    def test_no_failure_warning_beside_the_summary(self, run: Run, clips: Path, account: Sandbox) -> None:
        (clips / "b.wav").write_bytes(b"")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            result = run("annotate", "calls", "-o", "calls.csv", "-q")
        assert result.err == "1 item of 4 failed:\n  calls/b.wav: the file is empty.\n"


class TestWrongUsage:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["nope", "-o", "o.csv"], "there is no file or folder 'nope'. Check the path, relative"),
            (["nope/*.wav", "-o", "o.csv"], "nothing matches 'nope/*.wav'."),
            (["empty", "-o", "o.csv"], "there is no audio in the inputs. Name audio files, or folders that contain"),
            (["calls", "-o", "o.xlsx"], "'o.xlsx' is not an output: name a file that ends in .csv, .jsonl, .parquet,"),
            (["calls", "-o", "no/o.csv"], "no' for o.csv does not exist. Create it first."),
            (["calls", "-o", "calls"], "contains other files. Choose another folder for the output."),
            (["calls"], "Missing option '-o' / '--output'. See valence annotate --help."),
            (["calls", "-o", "o.csv", "--short", "x"], "'x' is not one of 'pad', 'repeat', 'skip', 'error'. See val"),
            (["calls", "-o", "o.csv", "--max-calls", "0"], "--max-calls must be a whole number of at least 1, not 0."),
            (["calls", "-o", "o.csv", "--min-confidence", "3"], "--min-confidence must be a number between 0 and 1, n"),
            (["calls", "-o", "o.csv", "--concurrency", "0"], "--concurrency must be a whole number of at least 1, n"),
            (["calls", "-o", "o.csv", "--base-url", "ftp://x"], "--base-url must look like 'https://api.getvalenceai"),
            (["calls", "-o", "o.csv", "--audio-column", "x"], "--audio-column applies to tables, and there are none"),
            (["calls", "-o", "o.csv", "--sandbox", "--base-url", "http://127.0.0.1:1"], "mutually exclusive. Choose o"),
            (
                ["calls", "-o", "o.csv", "--report", "no/r.html"],
                "the folder 'no' for r.html does not exist. Create it first.",
            ),
            (["calls", "-o", "o.csv", "--nope"], "No such option: --nope"),
        ],
    )
    def test_error_is_one_line_with_a_remedy(
        self, run: Run, clips: Path, account: Sandbox, here: Path, arguments: list[str], message: str
    ) -> None:
        (here / "empty").mkdir()
        before = sorted(here.rglob("*"))
        result = run("annotate", *arguments)
        assert result.code == 2
        assert message in result.err
        assert result.err.startswith("valence: ")
        assert result.err.count("\n") == 1
        assert result.out == ""
        assert sorted(here.rglob("*")) == before
        assert account.calls == 0

    def test_folder_that_cannot_be_read(
        self, run: Run, clips: Path, account: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is an error, not a folder without files."""
        scandir = os.scandir

        def denied(path: str) -> Any:
            if str(path).endswith("more"):
                raise PermissionError(13, "Permission denied", path)
            return scandir(path)

        monkeypatch.setattr(os, "scandir", denied)
        result = run("annotate", "calls", "-o", "o.csv")
        assert result.code == 2
        assert result.err == (
            "valence: calls/more: Permission denied. Check the path, its permissions and the free disk space.\n"
        )
        assert account.calls == 0

    def test_debug_prints_the_traceback(self, run: Run) -> None:
        result = run("annotate", "nope", "-o", "o.csv", "--sandbox", "--debug")
        assert result.code == 2
        assert "Traceback" in result.err
        assert result.err.splitlines()[-1].startswith("valence: there is no file or folder 'nope'.")

    def test_concurrent_run_is_rejected(self, run: Run, clips: Path, account: Sandbox, here: Path) -> None:
        import fcntl

        with (here / "o.csv.partial.jsonl").open("w") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            result = run("annotate", "calls", "-o", "o.csv")
        assert result.code == 2
        assert "another process is writing" in result.err
        assert account.calls == 0
