"""Commands other than annotate, help texts, and program start."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.cli.conftest import Run, clip, start
from valence_integrations import __version__
from valence_integrations.sandbox import Faults, Policy, Sandbox

COMMANDS = [
    "",
    "annotate",
    "estimate",
    "report",
    "doctor",
    "sandbox",
    "cache",
    "cache info",
    "cache clear",
    "cache export",
]


class TestHelp:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_help_fits_a_screen_and_has_an_example(self, run: Run, command: str) -> None:
        result = run(*command.split(), "--help")
        assert result.code == 0
        lines = result.out.splitlines()
        assert len(lines) <= 40
        assert max(map(len, lines)) <= 80
        assert re.search(f"example.*\n? *valence {command}", result.out, re.IGNORECASE)
        assert "\x1b" not in result.out

    @pytest.mark.parametrize("command", ["", "cache"])
    def test_help_without_a_command(self, run: Run, command: str) -> None:
        result = run(*command.split())
        assert result.code == 2
        assert "Commands:" in result.out

    def test_misspelled_command_gets_a_suggestion(self, run: Run) -> None:
        result = run("anotate")
        assert result.code == 2
        assert result.err == "valence: No such command 'anotate'. Did you mean 'annotate'? See valence --help.\n"

    def test_version(self, run: Run) -> None:
        assert run("--version").out == f"valence {__version__}\n"


class TestStart:
    def test_as_a_module_and_as_a_script(self) -> None:
        script = Path(sys.executable).with_name("valence")
        for command in ([sys.executable, "-m", "valence_integrations"], [str(script)]):
            result = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
            assert (result.stdout, result.stderr) == (f"valence {__version__}\n", "")

    def test_missing_extra_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "typer.py").write_text("raise ModuleNotFoundError('no typer')")
        process = start("doctor", PYTHONPATH=str(tmp_path))
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out) == (2, "")
        assert (
            err == 'valence: the command line needs an optional dependency: pip install "valence-integrations[cli]"\n'
        )

    def test_completion(self) -> None:
        found = {"valence ann": "annotate", "valence annotate --sh": "--short", "valence cache i": "info"}
        for words, expected in found.items():
            environment = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
            process = start(_VALENCE_COMPLETE="complete_bash", **environment)
            out, err = process.communicate(timeout=20)
            assert (out.split(), err) == ([expected], "")

    def test_help_imports_nothing_heavy(self) -> None:
        code = (
            "import sys; from valence_integrations.cli.app import app\n"
            "print(sorted({'numpy', 'requests', 'sklearn', 'datasets', 'pandas', 'matplotlib'} & set(sys.modules)))"
        )
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert result.stdout == "[]\n"


class TestEstimate:
    def test_table_without_calls(
        self, run: Run, clips: Path, account: Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("VALENCE_API_KEY")
        (clips / "bad.wav").touch()
        (clips / "short.wav").write_bytes(clip(8, 2.0))
        (clips / "long.wav").write_bytes(clip(9, 20.0))
        result = run("estimate", "calls")
        assert (result.code, result.err) == (0, "")
        counts = dict(re.findall(r"^ *(\w+) +([\d,]+)\b", result.out, re.MULTILINE))
        assert counts["items"] == "7"
        assert (counts["unreadable"], counts["padded"], counts["stored"]) == ("1", "1", "1")
        assert (counts["different"], counts["cached"], counts["calls"]) == ("5", "0", "5")
        assert re.search(r"^  time +0 s  at least, given the limits of the account$", result.out, re.MULTILINE)
        assert "  calls/bad.wav: the file is empty." in result.out
        assert account.requests == []

    def test_json(self, run: Run, clips: Path, account: Sandbox) -> None:
        (clips / "bad.wav").touch()
        run("annotate", "calls/a.wav", "-o", "out.csv")
        found = json.loads(run("estimate", "calls", "--json").out)
        assert (found["items"], found["distinct"], found["cached"], found["calls"]) == (5, 3, 1, 2)
        assert found["unreadable"] == [
            {
                "item": "calls/bad.wav",
                "type": "UnreadableAudioError",
                "code": "audio_empty",
                "error": "calls/bad.wav: the file is empty.",
            }
        ]

    def test_settings(self, run: Run, here: Path) -> None:
        (here / "long.wav").write_bytes(clip(9, 40.0))
        found = json.loads(run("estimate", "long.wav", "--long", "chunk", "--json").out)
        assert (found["chunked"], found["asynch"]) == (1, 0)
        assert (found["calls"], found["uncut"]) == (3, 0)
        assert "about" not in run("estimate", "long.wav", "--long", "chunk").out

    def test_calls_of_undecoded_audio_are_approximate(self, run: Run, here: Path) -> None:
        soundfile.write(here / "long.flac", np.zeros(40 * 8_000), 8_000)
        out = run("estimate", "long.flac", "--long", "chunk").out
        assert re.search(r"^  calls +about 3$", out, re.MULTILINE)
        assert "1 item must be decoded to be cut: the number of cuts is an estimate." in out

    def test_folder_without_audio(self, run: Run, here: Path) -> None:
        result = run("estimate", ".")
        assert result.code == 2
        assert "there is no audio in the inputs" in result.err


class TestCache:
    def test_info_export_and_clear(self, run: Run, clips: Path, account: Sandbox, here: Path, tmp_path: Path) -> None:
        run("annotate", "calls", "-o", "out.csv")
        result = run("cache", "info")
        assert re.match(
            rf"file     {tmp_path}/cache/\w+.sqlite3\nanswers  3\nsize     [\d.]+ kB\noldest   20", result.out
        )
        result = run("cache", "export", "answers.jsonl")
        assert (result.code, result.err) == (0, "answers.jsonl: 3 answers\n")
        assert len((here / "answers.jsonl").read_text().splitlines()) == 3
        assert run("cache", "clear", "--older-than", "1", "--yes").err == "0 answers deleted.\n"
        assert run("cache", "clear", "--yes").err == "3 answers deleted.\n"
        assert "answers  0\nsize" in run("cache", "info").out

    def test_sandbox_has_its_own_cache(self, run: Run, clips: Path) -> None:
        run("annotate", "calls", "-o", "out.csv", "--sandbox")
        assert "answers  0\n" in run("cache", "info").out
        assert "answers  3\n" in run("cache", "info", "--sandbox").out

    def test_clear_requires_confirmation(self, run: Run) -> None:
        result = run("cache", "clear")
        assert result.code == 2
        assert result.err == "valence: deleted answers have to be paid for again. Confirm with --yes.\n"

    def test_export_to_a_missing_folder(self, run: Run) -> None:
        result = run("cache", "export", "no/answers.jsonl")
        assert result.code == 2
        assert "No such file or directory. Check the path" in result.err


class TestDoctor:
    def test_no_problem(self, run: Run, make_account: Callable[..., Sandbox], tmp_path: Path) -> None:
        account = make_account(policy=Policy.standard())
        result = run("doctor")
        assert (result.code, result.err) == (0, "")
        assert "ok  key      found in the environment variable VALENCE_API_KEY\n" in result.out
        assert re.search(rf"ok  service  {account.url} is healthy \(\d+ ms\)\n", result.out)
        assert "ok  account  policy standard_policy; the key is accepted\n" in result.out
        assert "    requests per hour: 1,000, 0 used\n" in result.out
        assert re.search(rf"ok  cache    {tmp_path}/cache: 0 answers, [\d.]+ kB\n", result.out)
        assert re.search(r"ok  datasets +datasets \d", result.out)
        assert account.api_key not in result.out
        assert account.calls == 0

    def test_missing_key(self, run: Run, account: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VALENCE_API_KEY", "  ")
        result = run("doctor")
        assert result.code == 2
        assert "!!  key      not found. Set the environment variable VALENCE_API_KEY" in result.out
        assert "is healthy" in result.out

    def test_rejected_key(self, run: Run, account: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VALENCE_API_KEY", "secret-but-wrong")
        result = run("doctor")
        assert result.code == 2
        assert "!!  account  the service refuses the API key (HTTP 401" in result.out
        assert "secret" not in result.out

    def test_unreachable_service(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VALENCE_API_KEY", "secret")
        result = run("doctor", "--base-url", "http://127.0.0.1:9")
        assert result.code == 3
        assert "!!  service  http://127.0.0.1:9: 127.0.0.1:9 cannot be reached" in result.out
        assert "secret" not in result.out


class TestSandbox:
    def test_sandbox_runs_until_interrupted(self) -> None:
        process = start("sandbox", "--port", "0", "--latency", "0.1")
        assert process.stdout is not None
        banner = "".join(process.stdout.readline() for _ in range(9))
        assert re.search(r"^export VALENCE_API_BASE_URL=http://127.0.0.1:\d+$", banner, re.MULTILINE)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out, err) == (0, "\nstopped\n", "")

    @pytest.mark.parametrize(
        ("option", "value", "message"),
        [
            ("--faults", "typo=1", "unknown name 'typo'"),
            ("--port", "99999", "must be a whole number between 0 and 65535, not '99999'"),
            ("--port", "x", "must be a whole number between 0 and 65535, not 'x'"),
            ("--latency", "x", "invalid _latency value: 'x'"),
        ],
    )
    def test_invalid_option(self, run: Run, option: str, value: str, message: str) -> None:
        result = run("sandbox", option, value)
        assert result.code == 2
        assert f"valence sandbox: error: argument {option}: {message}" in result.err
        assert "Traceback" not in result.err


KEY = "valence-key-5f21c09e77"


def test_key_is_in_no_output(
    run: Run, clips: Path, make_account: Callable[..., Sandbox], here: Path, tmp_path: Path
) -> None:
    make_account(api_key=KEY, faults=Faults(script=["ok", "500", "500", "500", "500", "500", "ok"]))
    (clips / "bad.wav").touch()
    outputs = []
    for output in ("out.csv", "out.jsonl", "out.parquet", "out"):
        outputs.append(run("annotate", "calls", "-o", output, "--json", "--report", f"{output}.html", "--debug"))
        outputs.append(run("report", output, "-o", f"{output}.later.html", "--debug"))
    outputs.append(run("annotate", "calls", "-o", "kept.csv", "--no-cache", "--max-calls", "1", "--debug"))
    assert (here / "kept.csv.partial.jsonl").stat().st_size > 0
    outputs += [run("estimate", "calls", "--json"), run("doctor"), run("cache", "info"), run("cache", "export", "e")]
    outputs.append(run("annotate", "nope", "-o", "x.csv", "--debug"))
    assert all(result.code != 70 for result in outputs)
    assert not [result for result in outputs if KEY in result.out + result.err]
    written = [path for path in (*here.rglob("*"), *tmp_path.rglob("*")) if path.is_file()]
    assert len(written) > 20
    assert not [path for path in written if KEY.encode() in path.read_bytes()]
