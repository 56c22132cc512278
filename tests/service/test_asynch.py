from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import voice
from valence_integrations import Settings, errors
from valence_integrations._audio import wav
from valence_integrations._audio.open import open_clip
from valence_integrations._service.asynch import AsynchClient, temporary_wav
from valence_integrations._service.poller import Poller, deadline_seconds
from valence_integrations._service.transport import Transport
from valence_integrations.sandbox import Faults, Policy, Sandbox

DONE = {"status": "completed", "emotions": []}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Service:
    """Answers polls from a script; its last entry is repeated."""

    def __init__(self, *script: object) -> None:
        self.script = list(script)
        self.polls = 0

    def __call__(self, request_id: str) -> dict[str, Any] | None:
        self.polls += 1
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[return-value]


def run(service: Service, duration: float = 60.0) -> tuple[Any, list[float]]:
    """Poll one job to its end on a fake clock; returns its future and when it was polled."""
    clock = Clock()
    poller = Poller(service, clock)
    job = poller.pending("r-1", duration, lambda: False)
    times = []
    again = True
    while again:
        clock.now = job.due
        times.append(clock.now)
        again = poller.step(job)
    return job.future, times


def test_polling_backs_off_to_five_seconds() -> None:
    future, times = run(Service(*[None] * 8, DONE))
    assert future.result() == DONE
    assert times[:4] == pytest.approx([1.0, 2.0, 3.5, 5.75])
    assert np.diff(times)[-3:] == pytest.approx([5.0, 5.0, 5.0])


@pytest.mark.parametrize("duration", [20.0, 60.0, 3600.0])
def test_unfinished_job_times_out_at_deadline(duration: float) -> None:
    future, times = run(Service(None), duration)
    assert times[-1] == deadline_seconds(duration) == 120 + duration / 3
    with pytest.raises(errors.AsynchTimeoutError, match=r"r-1.*not finished in time.*24 hours") as caught:
        future.result()
    assert caught.value.request_id == "r-1"


@pytest.mark.parametrize(
    "trouble",
    [errors.NetworkError("cut"), errors.ReadTimeoutError("slow"), errors.ServerError("down", status_code=500)],
)
def test_polling_continues_after_transient_errors(trouble: Exception) -> None:
    future, times = run(Service(trouble, trouble, DONE))
    assert future.result() == DONE
    assert len(times) == 3


def test_timeout_error_names_last_poll_error() -> None:
    future, _ = run(Service(errors.ServerError("database gone", status_code=500)))
    with pytest.raises(errors.AsynchTimeoutError, match="database gone"):
        future.result()


def test_poll_waits_after_429() -> None:
    _, times = run(Service(errors.RateLimitError("many", retry_after=17.0), DONE))
    assert times == [1.0, 18.0]


UNKNOWN = errors.BadRequestError("gone", status_code=404, code="upload_unknown")
REFUSED = errors.BadRequestError("no", status_code=400)


def test_failed_job_ends_polling() -> None:
    future, times = run(Service(errors.AsynchFailedError("no")))
    assert times == [1.0]
    with pytest.raises(errors.AsynchFailedError):
        future.result()


@pytest.mark.parametrize(
    ("script", "raised"),
    [
        ([errors.AuthenticationError("no")], errors.AuthenticationError),
        ([errors.RedirectError("no")], errors.RedirectError),
        ([REFUSED], errors.BadRequestError),
        ([errors.InvalidResponseError("no")], errors.InvalidResponseError),
        ([UNKNOWN], errors.AsynchExpiredError),
        ([UNKNOWN, REFUSED, UNKNOWN], errors.BadRequestError),
    ],
)
def test_third_refusal_in_a_row_ends_polling(script: list[object], raised: type[Exception]) -> None:
    future, times = run(Service(*script))
    assert times == [1.0, 2.0, 3.5]
    with pytest.raises(raised) as caught:
        future.result()
    assert type(caught.value) is raised


@pytest.mark.parametrize(
    "refusal", [UNKNOWN, REFUSED, errors.AuthenticationError("no"), errors.RedirectError("no")], ids=repr
)
def test_job_survives_two_refusals_at_a_time(refusal: Exception) -> None:
    future, times = run(Service(refusal, refusal, None, refusal, refusal, DONE))
    assert future.result() == DONE
    assert len(times) == 6


def test_stopped_job_is_not_polled() -> None:
    service = Service(DONE)
    poller = Poller(service, Clock())
    job = poller.pending("r-1", 60.0, lambda: True)
    assert poller.step(job) is False
    assert job.future.cancelled()
    assert service.polls == 0


def test_jobs_share_one_thread_that_ends_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("valence_integrations._service.poller.FIRST_POLL", 0.01)
    poller = Poller(lambda request_id: {"id": request_id})
    futures = [poller.add(f"r-{n}", 60.0) for n in range(20)]
    polling = [thread for thread in threading.enumerate() if thread.name == "valence-poller"]
    assert [future.result(5)["id"] for future in futures] == [f"r-{n}" for n in range(20)]
    assert len(polling) == 1
    polling[0].join(5)
    assert not polling[0].is_alive()


@pytest.fixture
def call(tmp_path: Path) -> Path:
    path = tmp_path / "call.wav"
    path.write_bytes(wav.encode(np.rint(voice(31.0, 8_000) * 30_000).astype(np.int16), 8_000))
    return path


def client_for(sandbox: Sandbox, api_key: str | None = None, **settings: Any) -> AsynchClient:
    made = Settings(base_url=sandbox.url, api_key=api_key or sandbox.api_key, **settings)
    return AsynchClient(made, Transport(made, 4))


@pytest.fixture
def quick() -> Iterator[Sandbox]:
    with Sandbox(asynch_pickup=0.05, asynch_seconds_per_minute=0.0) as sandbox:
        yield sandbox


def until_done(client: AsynchClient, request_id: str) -> dict[str, Any]:
    for _ in range(200):
        if (result := client.poll(request_id)) is not None:
            return result
        threading.Event().wait(0.02)
    raise AssertionError("the sandbox did not finish the job")


def test_upload_and_poll_through_the_vendors_sdk(quick: Sandbox, call: Path) -> None:
    client = client_for(quick)
    request_id = client.upload(call)
    result = until_done(client, request_id)
    assert (result["status"], len(result["emotions"])) == ("completed", 7)
    assert set(result["emotions"][0]["all_predictions"]) == {"angry", "happy", "neutral", "sad"}
    assert quick.uploads == 1
    assert quick.key_leaks == 0


def test_calls_share_connections(quick: Sandbox, call: Path) -> None:
    client = client_for(quick)
    for _ in range(3):
        client.upload(call)
    hosts = 2  # the service and its storage
    assert quick.connections <= hosts


def test_rejected_key_raises_without_retries(quick: Sandbox, call: Path) -> None:
    request_id = client_for(quick).upload(call)
    for act in (lambda: client_for(quick, "wrong").upload(call), lambda: client_for(quick, "wrong").poll(request_id)):
        with pytest.raises(errors.AuthenticationError, match="VALENCE_API_KEY") as caught:
            act()
        assert "wrong" not in str(caught.value)


def test_unknown_request_differs_from_pending_one(quick: Sandbox) -> None:
    with pytest.raises(errors.BadRequestError) as caught:
        client_for(quick).poll("no-such-request")
    assert caught.value.status_code == 404


def test_failed_job_differs_from_pending_one(quick: Sandbox, tmp_path: Path) -> None:
    noise = tmp_path / "noise.wav"
    noise.write_bytes(b"no audio" * 1000)
    client = client_for(quick)
    request_id = client.upload(noise)
    with pytest.raises(errors.AsynchFailedError, match="could not process") as caught:
        until_done(client, request_id)
    assert caught.value.request_id == request_id


def test_file_over_policy_size_raises_item_error(call: Path) -> None:
    with Sandbox(policy=Policy(max_audio_size_mb=0.1)) as sandbox:
        with pytest.raises(errors.FileTooLargeError, match='long_audio="chunk"') as caught:
            client_for(sandbox).upload(call)
        assert (caught.value.max_size_mb, sandbox.uploads) == (0.1, 0)


def test_sdk_upload_times_out(call: Path) -> None:
    with Sandbox(faults=Faults(script=["hang"], asynch=True)) as sandbox:
        client = client_for(sandbox, timeout=(1.0, 0.3))
        with pytest.raises(errors.ReadTimeoutError, match=r"within 0\.3 s"):
            client.upload(call)


@pytest.mark.parametrize(
    ("script", "raised"),
    [
        (["500"], errors.ServerError),
        (["ok", "500"], errors.ServerError),
        (["ok", "ok", "500"], errors.ServerError),
        (["drop"], errors.NetworkError),
        (["ok", "drop"], errors.NetworkError),
        (["ok", "ok", "drop"], errors.NetworkError),
        (["truncate"], errors.InvalidResponseError),
        (["html"], errors.InvalidResponseError),
        (["redirect"], errors.RedirectError),
        (["ok", "redirect"], errors.RedirectError),
        (["ok", "403"], errors.BadRequestError),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_failures_in_each_upload_step(call: Path, script: list[str], raised: type[Exception]) -> None:
    with Sandbox(faults=Faults(script=script, asynch=True)) as sandbox:
        with pytest.raises(raised) as caught:
            client_for(sandbox).upload(call)
        assert type(caught.value) is raised
        assert sandbox.key_leaks == 0


def test_temporary_files_are_always_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    clip = open_clip((voice(16.0), 16_000))
    assert clip is not None
    with temporary_wav(clip) as path:
        assert path.read_bytes() == clip.wav()
        assert path.name == "audio.wav"
    with pytest.raises(RuntimeError), temporary_wav(clip):
        raise RuntimeError
    bad = open_clip(np.array([0.0, np.nan]))
    assert bad is not None
    with pytest.raises(errors.UnreadableAudioError), temporary_wav(bad):
        pass
    assert list(tmp_path.iterdir()) == []


def test_user_sdk_and_root_logger_are_untouched(quick: Sandbox, call: Path) -> None:
    code = f"""
import logging
from pathlib import Path
from valence_integrations import Settings
from valence_integrations._service.asynch import AsynchClient
from valence_integrations._service.transport import Transport
settings = Settings(base_url={quick.url!r}, api_key={quick.api_key!r})
AsynchClient(settings, Transport(settings, 2)).upload(Path({str(call)!r}))
root = logging.getLogger()
assert (root.handlers, root.level) == ([], logging.WARNING), (root.handlers, root.level)
import requests, valenceai.client, valenceai.rate_limit
assert valenceai.client.requests is requests is valenceai.rate_limit.requests
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")


def test_user_root_handlers_are_kept(quick: Sandbox, call: Path) -> None:
    before = list(logging.getLogger().handlers)
    client_for(quick).upload(call)
    assert logging.getLogger().handlers == before
