from __future__ import annotations

import contextlib
import gc
import logging
import socket
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from valence_integrations import sandbox as package
from valence_integrations.sandbox import Sandbox


def test_public_names():
    assert package.__all__ == ["Faults", "Policy", "RequestRecord", "Sandbox"]


def test_repeated_use_leaves_no_thread(post, clip):
    before = set(threading.enumerate())
    started = time.monotonic()
    for _ in range(20):
        with Sandbox() as sandbox:
            assert requests.get(sandbox.url + "/v1/rate-limit/health", timeout=5).status_code == 200
    assert time.monotonic() - started < 4
    time.sleep(0.05)
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name == "valence-sandbox"]


def test_restart_clears_record(post, clip):
    sandbox = Sandbox()
    with sandbox:
        post(sandbox, clip)
    assert sandbox.calls == 1
    with pytest.raises(RuntimeError, match="not running"):
        _ = sandbox.url
    assert sandbox.start() is sandbox
    with pytest.raises(RuntimeError, match="already"):
        sandbox.start()
    assert sandbox.calls == 0
    assert post(sandbox, clip).status_code == 200
    sandbox.stop()
    sandbox.stop()


def test_several_sandboxes_run_independently(post, clip):
    with Sandbox(api_key="one") as one, Sandbox(api_key="two") as two:
        assert one.url != two.url
        assert post(two, clip).status_code == 200
        assert post(two, clip, headers={"x-api-key": "one"}).status_code == 401
        assert (one.calls, two.calls) == (0, 2)


def test_fixed_port_and_localhost():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Sandbox(port=port) as sandbox:
        assert sandbox.url == f"http://127.0.0.1:{port}"
        assert repr(sandbox) == f"Sandbox('http://127.0.0.1:{port}')"
        health = requests.get(f"http://localhost:{port}/v1/rate-limit/health", timeout=5)
        assert health.json()["status"] == "healthy"
        with pytest.raises(OSError, match="in use"), Sandbox(port=port):
            pass
    with Sandbox(host="localhost") as sandbox:
        assert requests.get(sandbox.url + "/v1/rate-limit/health", timeout=5).status_code == 200


def test_requests_wait_for_latency_in_parallel(post, clip):
    with Sandbox(latency=0.4) as sandbox:
        started = time.monotonic()
        with ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(lambda _: post(sandbox, clip), range(10)))
        took = time.monotonic() - started
    assert {answer.status_code for answer in answers} == {200}
    assert 0.4 <= took < 2
    assert sandbox.max_in_flight == 10
    assert sandbox.answered == 10


def test_latency_range(post, clip):
    with Sandbox(latency=(0.05, 0.15)) as sandbox:
        took = []
        for _ in range(5):
            started = time.monotonic()
            post(sandbox, clip)
            took.append(time.monotonic() - started)
    assert min(took) >= 0.05
    assert max(took) < 0.5
    assert max(took) - min(took) > 0.01


def test_connections_are_reused_and_counted(clip):
    with Sandbox() as sandbox, requests.Session() as session:
        session.headers["x-api-key"] = sandbox.api_key
        started = time.monotonic()
        for _ in range(10):
            session.post(sandbox.url + "/emotionprediction", files={"file": clip}, timeout=5)
        assert time.monotonic() - started < 5
        assert sandbox.connections == 1
        assert len({record.remote_port for record in sandbox.requests}) == 1
        times = [record.time for record in sandbox.requests]
        assert times == sorted(times)
        assert abs(times[-1] - time.monotonic()) < 5


def test_stop_is_immediate_with_open_connections_and_waiting_requests(post, clip):
    with ThreadPoolExecutor(1) as pool:
        with Sandbox(latency=30) as sandbox:
            waiting = pool.submit(post, sandbox, clip, timeout=20)
            idle = socket.create_connection(("127.0.0.1", int(sandbox.url.rpartition(":")[2])))
            while sandbox.calls == 0:
                time.sleep(0.01)
            started = time.monotonic()
        assert time.monotonic() - started < 1
        with pytest.raises(requests.ConnectionError):
            waiting.result(5)
        idle.close()


def test_stop_loses_no_connection_that_is_being_accepted():
    def connect():
        opened = []
        while not stopped.is_set():
            with contextlib.suppress(OSError):
                opened.append(socket.create_connection(("127.0.0.1", port)))
        for connection in opened:
            connection.close()

    lost: list[warnings.WarningMessage]
    with warnings.catch_warnings(record=True) as lost:
        warnings.simplefilter("always", ResourceWarning)
        for _ in range(5):
            stopped = threading.Event()
            with Sandbox() as sandbox:
                port = int(sandbox.url.rpartition(":")[2])
                client = threading.Thread(target=connect)
                client.start()
                while sandbox.connections < 5:
                    time.sleep(0.001)
            stopped.set()
            client.join()
            gc.collect()
    assert [str(warning.message) for warning in lost] == []


def test_no_output_and_no_logs(post, clip, caplog, capfd):
    with caplog.at_level(logging.INFO), Sandbox(latency=0) as sandbox:
        post(sandbox, clip)
        post(sandbox, b"", headers={})
        with socket.create_connection(("127.0.0.1", int(sandbox.url.rpartition(":")[2]))) as rude:
            rude.sendall(b"nonsense\r\n\r\n")
            assert rude.recv(100).startswith(b"HTTP/1.1 400")
    assert [record for record in caplog.records if not record.name.startswith(("urllib3", "asyncio"))] == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("missing", ["fastapi", "librosa", "python_multipart", "uvicorn"])
def test_missing_extra_error_names_install_command(monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=rf'needs {missing}: pip install "valence-integrations\[sandbox\]"') as caught:
        Sandbox()
    assert caught.value.name == missing


@pytest.mark.parametrize("wrong", [{"answers": "xml"}, {"timeline": "x"}])
def test_invalid_options(wrong):
    with pytest.raises(ValueError, match="must be"):
        Sandbox(**wrong)


FRESH = """
import sys, time
begun = time.perf_counter()
from valence_integrations.sandbox import Sandbox
assert not {"fastapi", "uvicorn", "librosa"} & set(sys.modules)
sandbox = Sandbox()
sandbox.start()
started = time.perf_counter() - begun
import requests, wave, io
buffer = io.BytesIO()
with wave.open(buffer, "wb") as file:
    file.setparams((1, 2, 16000, 0, "NONE", ""))
    file.writeframes(b"\\1\\2" * 96000)
begun = time.perf_counter()
answer = requests.post(
    sandbox.url + "/emotionprediction", files={"file": buffer.getvalue()}, headers={"x-api-key": sandbox.api_key}
)
first = time.perf_counter() - begun
assert answer.status_code == 200, answer.text
assert not {"scipy.signal", "valence_integrations.engine", "valence_integrations._audio.clip"} & set(sys.modules)
print(started, first)
sandbox.stop()
"""


def test_fresh_process_starts_quickly():
    out = subprocess.run([sys.executable, "-W", "error", "-c", FRESH], capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr
    assert out.stderr == ""
    started, first = map(float, out.stdout.split())
    assert started < 4
    assert first < 4


def test_process_exits_without_stop():
    code = "from valence_integrations.sandbox import Sandbox; Sandbox().start()"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    assert (out.returncode, out.stderr) == (0, "")
