"""What a command may replace, and what it leaves behind: an output with --force, and never an input."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Run, clip
from valence_integrations.cli.files import atomic_path
from valence_integrations.sandbox import Sandbox

TABLES = ["out.csv", "out.jsonl", "out.parquet"]


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestExistingOutput:
    @pytest.mark.parametrize("output", TABLES)
    def test_table_is_replaced_only_with_force(
        self, run: Run, clips: Path, account: Sandbox, here: Path, output: str
    ) -> None:
        (here / output).write_text("mine\n")
        before = files(here)
        result = run("annotate", "calls", "-o", output)
        assert result.code == 2
        assert result.err == (
            f"valence: {str(here / output)!r} already exists. Use --force to replace it, or choose another output.\n"
        )
        assert files(here) == before
        assert account.calls == 0
        assert run("annotate", "calls", "-o", output, "--force", "-q").code == 0
        assert (here / output).read_bytes() != b"mine\n"

    @pytest.mark.parametrize("output", [*TABLES, "out"])
    def test_output_of_other_inputs_is_kept(
        self, run: Run, clips: Path, account: Sandbox, here: Path, output: str
    ) -> None:
        assert run("annotate", "calls/a.wav", "-o", output, "-q").code == 0
        before = files(here)
        result = run("annotate", "calls/b.wav", "-o", output, "-q")
        assert result.code == 2
        assert "already exists. Use --force to replace it, or choose another output." in result.err
        assert files(here) == before
        assert account.calls == 1

    def test_empty_file_is_replaced(self, run: Run, clips: Path, account: Sandbox, here: Path) -> None:
        (here / "out.csv").touch()
        assert run("annotate", "calls", "-o", "out.csv").code == 0
        assert (here / "out.csv").stat().st_size > 0

    def test_folder_with_other_files_is_never_replaced(
        self, run: Run, clips: Path, account: Sandbox, here: Path
    ) -> None:
        (here / "out").mkdir()
        (here / "out" / "mine.txt").write_text("mine")
        result = run("annotate", "calls", "-o", "out", "--force")
        assert result.code == 2
        assert "contains other files" in result.err
        assert (here / "out" / "mine.txt").read_text() == "mine"

    def test_file_that_appears_during_the_job_is_kept(
        self, run: Run, clips: Path, account: Sandbox, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from valence_integrations.cli.job import Job

        predict = Job.predict

        def slow(job: Job, *, progress: bool) -> None:
            predict(job, progress=progress)
            (here / "out.csv").write_text("theirs")

        with monkeypatch.context() as patch:
            patch.setattr(Job, "predict", slow)
            result = run("annotate", "calls", "-o", "out.csv", "--no-cache", "-q")
        assert result.code == 2
        assert result.err.startswith("stopped: 4 of 4 items are kept in out.csv.partial.jsonl and are not paid again.")
        assert (here / "out.csv").read_text() == "theirs"
        assert run("annotate", "calls", "-o", "out.csv", "--no-cache", "-q", "--force").code == 0
        assert account.calls == 3

    def test_device_is_not_an_output(self, run: Run, clips: Path, account: Sandbox, here: Path) -> None:
        (here / "out.csv").symlink_to("/dev/full")
        result = run("annotate", "calls", "-o", "out.csv", "--force")
        assert result.code == 2
        assert result.err == "valence: 'out.csv' is neither a file nor a folder. Choose another output.\n"


class TestInputs:
    @pytest.mark.parametrize("kind", ["same", "spelling", "symlink", "hard link"])
    def test_table_is_not_replaced_by_its_output(
        self, run: Run, clips: Path, account: Sandbox, here: Path, kind: str
    ) -> None:
        (here / "list.csv").write_text("file\ncalls/a.wav\n")
        output = "list.csv" if kind == "same" else "calls/../list.csv" if kind == "spelling" else "out.csv"
        if kind == "symlink":
            (here / "out.csv").symlink_to(here / "list.csv")
        elif kind == "hard link":
            (here / "out.csv").hardlink_to(here / "list.csv")
        result = run("annotate", "list.csv", "-o", output, "--force")
        assert result.code == 2
        assert "would replace the input 'list.csv'. Choose another output." in result.err
        assert (here / "list.csv").read_text() == "file\ncalls/a.wav\n"
        assert account.calls == 0

    def test_audio_in_a_folder_is_not_replaced(self, run: Run, account: Sandbox, here: Path) -> None:
        (here / "table.csv").write_bytes(clip(0))  # audio, whatever its name
        (here / "list.jsonl").write_text('{"file": "table.csv"}\n')
        result = run("annotate", "list.jsonl", "-o", "table.csv", "--force")
        assert result.code == 2
        assert "would replace the input 'table.csv'" in result.err
        assert (here / "table.csv").read_bytes() == clip(0)

    @pytest.mark.parametrize("inputs", ["out", "out/metadata.jsonl", "list.csv"])
    def test_folder_that_contains_an_input_is_not_replaced(
        self, run: Run, clips: Path, account: Sandbox, here: Path, inputs: str
    ) -> None:
        assert run("annotate", "calls", "-o", "out", "-q").code == 0
        (here / "list.csv").write_text("file\ncalls/../out/a.wav\n")
        before = files(here)
        result = run("annotate", inputs, "-o", "out", "--force")
        assert result.code == 2
        assert "would replace the input" in result.err
        assert files(here) == before

    @pytest.mark.parametrize("report", ["calls/a.wav", "list.csv", "linked.html"])
    def test_report_replaces_no_input(self, run: Run, clips: Path, account: Sandbox, here: Path, report: str) -> None:
        (here / "list.csv").write_text("file\ncalls/a.wav\n")
        (here / "linked.html").hardlink_to(clips / "a.wav")
        before = files(here)
        result = run("annotate", "list.csv", "-o", "out.csv", "--report", report)
        assert result.code == 2
        assert "would replace the input" in result.err
        assert files(here) == before

    def test_report_and_output_differ(self, run: Run, clips: Path, account: Sandbox, here: Path) -> None:
        result = run("annotate", "calls", "-o", "out.csv", "--report", "./out.csv")
        assert result.code == 2
        assert result.err == (
            "valence: --report and --output both write 'out.csv'. Name another file for the report.\n"
        )

    @pytest.mark.parametrize("output", ["out.csv", "out"])
    def test_report_does_not_replace_what_it_reports_on(
        self, run: Run, clips: Path, account: Sandbox, here: Path, output: str
    ) -> None:
        assert run("annotate", "calls", "-o", output, "-q").code == 0
        written = here / output if output == "out.csv" else here / output / "metadata.jsonl"
        before = written.read_bytes()
        result = run("report", output, "-o", written)
        assert result.code == 2
        assert "would replace the input" in result.err
        assert written.read_bytes() == before


class TestPartialFile:
    def stop(self, run: Run, *inputs: str) -> None:
        options = ["--no-cache", "--concurrency", "1", "--max-calls", "1"]
        assert run("annotate", *inputs, "-o", "out.csv", "-q", *options).code == 3

    def test_of_other_inputs_is_kept(self, run: Run, clips: Path, account: Sandbox, here: Path) -> None:
        self.stop(run, "calls/a.wav", "calls/b.wav")
        before = files(here)
        result = run("annotate", "calls/more/c.wav", "-o", "out.csv", "--no-cache")
        assert result.code == 2
        assert result.err == (
            "valence: out.csv.partial.jsonl holds 1 finished item of a command with other inputs or settings. Run "
            "that command to continue it, choose another output, or discard them with --force.\n"
        )
        assert files(here) == before
        assert account.calls == 1
        # The first command goes on.
        assert run("annotate", "calls/a.wav", "calls/b.wav", "-o", "out.csv", "--no-cache").code == 0
        assert account.calls == 2

    def test_more_inputs_continue(self, run: Run, clips: Path, account: Sandbox, here: Path) -> None:
        self.stop(run, "calls/a.wav", "calls/b.wav")
        assert run("annotate", "calls", "-o", "out.csv", "--no-cache").code == 0
        assert account.calls <= 4

    def test_force_discards_it(self, run: Run, clips: Path, account: Sandbox, here: Path) -> None:
        self.stop(run, "calls/a.wav", "calls/b.wav")
        assert run("annotate", "calls/more/c.wav", "-o", "out.csv", "--no-cache", "--force", "-q").code == 0
        assert sorted(path.name for path in here.iterdir()) == ["calls", "out.csv"]

    @pytest.mark.parametrize("content", [b"my notes\n", b'{"file": "a.wav"}\n', b"\0" * 5_000])
    def test_file_of_somebody_else_is_kept(
        self, run: Run, clips: Path, account: Sandbox, here: Path, content: bytes
    ) -> None:
        other = here / "out.csv.partial.jsonl"
        other.write_bytes(content)
        result = run("annotate", "calls", "-o", "out.csv")
        assert result.code == 2
        assert result.err == (
            f"valence: {str(other)!r} is not a partial file of valence annotate, and a job needs this name. Rename it, "
            "choose another output, or discard it with --force.\n"
        )
        assert other.read_bytes() == content
        assert account.calls == 0
        assert run("annotate", "calls", "-o", "out.csv", "--force").code == 0

    def test_input_with_its_name_is_kept(self, run: Run, clips: Path, account: Sandbox, here: Path) -> None:
        other = here / "out.csv.partial.jsonl"
        other.write_text('{"file": "calls/a.wav"}\n')
        result = run("annotate", other.name, "-o", "out.csv", "--force")
        assert result.code == 2
        assert f"would replace the input {other.name!r}" in result.err
        assert other.read_text() == '{"file": "calls/a.wav"}\n'

    def test_link_is_not_followed(self, run: Run, clips: Path, account: Sandbox, here: Path) -> None:
        (here / "mine").touch()
        (here / "out.csv.partial.jsonl").symlink_to(here / "mine")
        assert run("annotate", "calls", "-o", "out.csv", "--force").code == 2
        assert (here / "mine").read_bytes() == b""
        assert account.calls == 0

    def test_damaged_line_loses_no_other(self, run: Run, clips: Path, account: Sandbox, here: Path) -> None:
        (clips / "b.wav").write_bytes(b"")
        arguments = ["annotate", "calls", "-o", "out.csv", "--on-error", "raise", "--no-cache", "-q"]
        assert run(*arguments).code == 1
        partial = here / "out.csv.partial.jsonl"
        lines = sorted(partial.read_bytes().splitlines(keepends=True), key=lambda line: json.loads(line)["name"])
        partial.write_bytes(lines[0] + b'{"name": broken}\n' + b"".join(lines[1:]))
        (clips / "b.wav").unlink()
        assert run(*arguments).code == 0
        assert account.calls == 2

    def test_is_kept_if_the_inputs_change_during_the_job(
        self, run: Run, clips: Path, account: Sandbox, here: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without a cache, the next run would pay for all items again."""
        from valence_integrations.cli.job import Job

        predict = Job.predict

        def slow(job: Job, *, progress: bool) -> None:
            predict(job, progress=progress)
            (clips / "b.wav").unlink()

        with monkeypatch.context() as patch:
            patch.setattr(Job, "predict", slow)
            result = run("annotate", "calls", "-o", "out.csv", "--no-cache", "-q")
        assert "The inputs have changed during the run, from 4 to 3 items. Run again, with --force.\n" in result.err
        assert run("annotate", "calls", "-o", "out.csv", "--no-cache", "-q", "--force").code == 0
        assert account.calls == 3
        assert sorted(path.name for path in here.iterdir()) == ["calls", "out.csv"]

    def test_only_the_owner_reads_it(self, run: Run, clips: Path, account: Sandbox, here: Path) -> None:
        (here / "out.csv.partial.jsonl").touch(0o644)
        self.stop(run, "calls/a.wav", "calls/b.wav")
        assert stat.S_IMODE((here / "out.csv.partial.jsonl").stat().st_mode) == 0o600


class TestAtomicPath:
    @pytest.fixture
    def umask(self) -> Iterator[None]:
        before = os.umask(0o022)
        yield
        os.umask(before)

    @pytest.mark.parametrize("folder", [False, True])
    def test_private_until_it_is_whole(self, here: Path, umask: None, folder: bool) -> None:
        path = here / "out"
        with atomic_path(path, folder=folder) as temporary:
            assert stat.S_IMODE(temporary.stat().st_mode) == (0o700 if folder else 0o600)
            assert not path.exists()
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if folder else 0o644)
        path.chmod(0o750 if folder else 0o640)
        with atomic_path(path, folder=folder):
            pass
        assert stat.S_IMODE(path.stat().st_mode) == (0o750 if folder else 0o640)
        assert [found.name for found in here.iterdir()] == ["out"]

    def test_error_leaves_nothing(self, here: Path) -> None:
        (here / "out").write_text("old")
        with pytest.raises(FileExistsError), atomic_path(here / "out") as temporary:
            temporary.touch(exist_ok=False)
        assert files(here) == {here / "out": b"old"}
