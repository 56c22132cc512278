"""Interrupt a command in its own process: finished items are kept, and are paid only once."""

from __future__ import annotations

import csv
import json
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import clip, start
from valence_integrations.cli.report import read_output
from valence_integrations.sandbox import Sandbox

CLIPS = 40


@pytest.fixture
def account(make_account: Callable[..., Sandbox], here: Path) -> Sandbox:
    (here / "calls").mkdir()
    for seed in range(CLIPS):
        (here / "calls" / f"{seed:02}.wav").write_bytes(clip(seed))
    return make_account(latency=0.05)


def wait_for_calls(account: Sandbox, number: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 30
    while account.answered < number:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)


def written(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return [row["emotion"] for row in csv.DictReader(file)]


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_job_resumes(account: Sandbox, here: Path, signal_number: signal.Signals) -> None:
    process = start("annotate", "calls", "-o", "calls.csv", "--json", "--concurrency", "2")
    wait_for_calls(account, 10, process)
    process.send_signal(signal_number)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    done = json.loads(out)["done"]
    assert 0 < done < CLIPS
    assert err.splitlines()[-1] == (
        f"interrupted: {done} of {CLIPS} items are kept in calls.csv.partial.jsonl and are not paid again. "
        "Run the same command to continue."
    )
    assert "Traceback" not in err
    assert sorted(path.name for path in here.iterdir()) == ["calls", "calls.csv.partial.jsonl"]

    again = start("annotate", "calls", "-o", "calls.csv", "--json", "--concurrency", "10")
    out, _ = again.communicate(timeout=30)
    assert again.returncode == 0
    assert json.loads(out)["earlier"] == done
    assert all(written(here / "calls.csv"))
    assert len(written(here / "calls.csv")) == CLIPS
    assert account.calls == CLIPS
    assert sorted(path.name for path in here.iterdir()) == ["calls", "calls.csv"]


def test_killed_job_resumes(account: Sandbox, here: Path) -> None:
    process = start("annotate", "calls", "-o", "calls.parquet", "-q", "--concurrency", "2")
    wait_for_calls(account, 10, process)
    process.kill()
    process.communicate(timeout=20)
    assert not (here / "calls.parquet").exists()
    again = start("annotate", "calls", "-o", "calls.parquet", "-q", "--json", "--concurrency", "10")
    out, err = again.communicate(timeout=30)
    assert (again.returncode, err) == (0, "")
    assert json.loads(out)["earlier"] > 0
    # Only calls in flight when the process died are repeated.
    assert CLIPS <= account.calls <= CLIPS + 2
    assert sorted(path.name for path in here.iterdir()) == ["calls", "calls.parquet"]


def test_interrupted_job_without_a_cache_resumes(account: Sandbox, here: Path) -> None:
    arguments = ["annotate", "calls", "-o", "folder", "-q", "--json", "--no-cache", "--concurrency", "2"]
    process = start(*arguments)
    wait_for_calls(account, 10, process)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 130
    done = json.loads(out)["done"]
    again = start(*arguments)
    out, _ = again.communicate(timeout=30)
    assert json.loads(out)["calls"] == CLIPS - done
    assert len(list((here / "folder").glob("*.wav"))) == CLIPS


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_answers_behind_a_slow_item_are_kept_without_a_cache(
    make_account: Callable[..., Sandbox], here: Path, signal_number: signal.Signals
) -> None:
    make_account(asynch_pickup=2.0)
    (here / "calls").mkdir()
    (here / "calls" / "0.wav").write_bytes(clip(0, 20.0))
    for seed in range(1, 9):
        (here / "calls" / f"{seed}.wav").write_bytes(clip(seed))
    arguments = ["annotate", "calls", "-o", "calls.csv", "-q", "--json", "--no-cache"]
    process = start(*arguments)
    partial = here / "calls.csv.partial.jsonl"
    deadline = time.monotonic() + 30
    while not partial.exists() or partial.read_bytes().count(b"\n") < 8:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal_number)
    _, err = process.communicate(timeout=20)
    if signal_number != signal.SIGKILL:
        message = "interrupted: 8 of 9 items are kept in calls.csv.partial.jsonl and are not paid again."
        assert err == f"{message} Run the same command to continue.\n"
    out, _ = start(*arguments).communicate(timeout=30)
    summary = json.loads(out)
    assert (summary["earlier"], summary["calls"], summary["done"]) == (8, 1, 9)
    assert all(written(here / "calls.csv"))


def test_every_paid_answer_is_kept_when_the_budget_is_spent(account: Sandbox, here: Path) -> None:
    arguments = ["annotate", "calls", "-o", "calls.csv", "-q", "--json", "--no-cache", "--concurrency", "5"]
    out, err = start(*arguments, "--max-calls", "17").communicate(timeout=30)
    assert json.loads(out)["done"] == account.calls == 17
    assert err.startswith("stopped: 17 of 40 items are kept in calls.csv.partial.jsonl and are not paid again. Run the")
    out, err = start(*arguments).communicate(timeout=30)
    assert (json.loads(out)["earlier"], err) == (17, "")
    assert account.calls == CLIPS


@pytest.mark.parametrize("output", ["calls.csv", "folder"])
def test_kills_at_any_moment(account: Sandbox, here: Path, output: str) -> None:
    """No half output; what is finished is paid once, and nothing is left over."""
    moments = random.Random(output)
    arguments = ["annotate", "calls", "-o", output, "-q", "--no-cache", "--concurrency", "2"]
    kills = 0
    while not (here / output).exists() and kills < 3:
        process = start(*arguments)
        kept = lines(here / f"{output}.partial.jsonl")
        deadline = time.monotonic() + 30
        while process.poll() is None and lines(here / f"{output}.partial.jsonl") == kept:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.3))
        process.kill()
        process.communicate(timeout=20)
        kills += 1
    if not (here / output).exists():
        process = start(*arguments)
        _, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (0, "")
        assert sorted(path.name for path in here.iterdir()) == ["calls", output]
    found = {Path(name).name: prediction for name, prediction in read_output(str(here / output))}
    assert sorted(found) == [f"{seed:02}.wav" for seed in range(CLIPS)]
    assert all(prediction.emotion for prediction in found.values())
    # Only calls in flight when the process died are repeated.
    assert CLIPS <= account.calls <= CLIPS + 2 * kills


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_closed_stdout_causes_no_traceback(here: Path, account: Sandbox) -> None:
    process = start("estimate", "calls")
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=30) != 0
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
