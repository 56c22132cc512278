"""An upload that was finished is never made again, whatever polls answer, and whenever the process is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.conftest import voice
from valence_integrations import Engine, errors
from valence_integrations.sandbox import Faults, Sandbox

MakeEngine = Callable[..., Engine]

CALL = voice(20.0, 8_000)

#: Answers to initiate, to the one part, and to complete.
UPLOAD = ["ok", "ok", "ok"]


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("valence_integrations._service.poller.FIRST_POLL", 0.02)
    monkeypatch.setattr("valence_integrations._service.poller.LONGEST_WAIT", 0.05)


def sandbox(*script: str) -> Sandbox:
    return Sandbox(faults=Faults(script=script, asynch=True), asynch_pickup=0.0, asynch_seconds_per_minute=0.0)


def engine_for(make_engine: MakeEngine, box: Sandbox) -> Engine:
    return make_engine(base_url=box.url, sampling_rate=8_000, max_attempts=3)


@pytest.mark.parametrize("refusal", ["400", "401", "403", "404", "redirect", "html", "truncate", "500", "drop"])
def test_one_refused_poll_is_made_again(make_engine: MakeEngine, refusal: str) -> None:
    with sandbox(*UPLOAD, refusal) as box:
        prediction = engine_for(make_engine, box).predict(CALL)
        assert (len(prediction.segments), prediction.error, box.uploads) == (4, None, 1)


@pytest.mark.parametrize("refusal", ["400", "401", "403", "redirect", "html"])
def test_refused_polls_leave_the_receipt(make_engine: MakeEngine, refusal: str) -> None:
    with sandbox(*UPLOAD, refusal, refusal, refusal) as box:
        with pytest.raises(errors.ValenceError):
            engine_for(make_engine, box).predict(CALL)
        prediction = engine_for(make_engine, box).predict(CALL)
        assert (len(prediction.segments), prediction.cached, box.uploads) == (4, False, 1)


def test_upload_that_the_service_repeatedly_does_not_know_is_made_again(make_engine: MakeEngine) -> None:
    with sandbox(*UPLOAD, "404", "404", "404") as box:
        with pytest.raises(errors.AsynchExpiredError):
            engine_for(make_engine, box).predict(CALL)
        assert len(engine_for(make_engine, box).predict(CALL).segments) == 4
        assert box.uploads == 2


@pytest.mark.parametrize(
    ("lost", "uploads"), [("cut", 1), ("truncate", 1), ("drop", 2), ("500", 2), ("html", 2)]
)  # after the last three, the service says that the first upload is not complete
def test_lost_answer_to_complete_makes_no_second_upload(make_engine: MakeEngine, lost: str, uploads: int) -> None:
    with sandbox("ok", "ok", lost) as box:
        assert len(engine_for(make_engine, box).predict(CALL).segments) == 4
        assert box.uploads == uploads


def test_failed_part_is_uploaded_anew(make_engine: MakeEngine) -> None:
    with sandbox("ok", "500") as box:
        assert len(engine_for(make_engine, box).predict(CALL).segments) == 4
        assert box.uploads == 2


KILLED = """
import os, signal, sys
import numpy as np
from valence_integrations import Engine, Settings
from valence_integrations._service import asynch
from valence_integrations.engine import _receipts
from tests.conftest import voice
where = sys.argv[2]
put = _receipts.UploadReceipts.put
def killed(self, digest, request_id, *, complete):
    if where == "before complete is stored" and complete:
        os.kill(os.getpid(), signal.SIGKILL)
    put(self, digest, request_id, complete=complete)
    if where == "after complete is stored" and complete or where == "after begun" and not complete:
        os.kill(os.getpid(), signal.SIGKILL)
_receipts.UploadReceipts.put = killed
Engine(Settings(base_url=sys.argv[1], api_key="sandbox-key", sampling_rate=8_000)).predict(voice(20.0, 8_000))
"""


@pytest.mark.parametrize(
    ("where", "uploads"),
    [("after begun", 2), ("before complete is stored", 1), ("after complete is stored", 1)],
)
def test_killed_upload_is_resumed(make_engine: MakeEngine, where: str, uploads: int) -> None:
    with sandbox() as box:
        killed = subprocess.run([sys.executable, "-c", KILLED, box.url, where], check=False)
        assert killed.returncode == -signal.SIGKILL
        prediction = engine_for(make_engine, box).predict(CALL)
        assert (len(prediction.segments), box.uploads) == (4, uploads)
        completed = [r for r in box.requests if r.path.endswith("/complete")]
        assert len(completed) == 1
