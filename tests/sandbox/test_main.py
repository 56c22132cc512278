from __future__ import annotations

import re
import signal
import subprocess
import sys

import pytest
import requests

from valence_integrations.sandbox import Faults, Policy
from valence_integrations.sandbox.__main__ import _parser, main


def test_command_prints_settings_serves_and_stops_on_interrupt():
    command = [sys.executable, "-m", "valence_integrations.sandbox", "--port", "0", "--faults", "script=503"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        banner = "".join(process.stdout.readline() for _ in range(9))
        url = re.search(r"^export VALENCE_API_BASE_URL=(http://127.0.0.1:\d+)$", banner, re.MULTILINE)[1]
        key = re.search(r"^export VALENCE_API_KEY=(.+)$", banner, re.MULTILINE)[1]
        assert "not an emotion model" in banner
        headers = {"x-api-key": key}
        status = requests.get(f"{url}/v1/rate-limit/status", headers=headers, timeout=5)
        assert status.json()["policy_name"] == "sandbox_unlimited"
        files = {"file": b""}
        assert requests.post(f"{url}/emotionprediction", files=files, headers=headers, timeout=5).status_code == 503
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert process.returncode == 0
    assert err == ""
    assert "stopped" in out


def test_options():
    options = _parser().parse_args(
        [
            "--latency=0.1-0.5",
            "--policy=requests_per_second=5,max_audio_size_mb=0.5,policy_name=mine",
            "--faults=drop=0.25,seed=3,asynch=true,script=500+ok",
        ]
    )
    assert options.latency == (0.1, 0.5)
    assert options.policy == Policy(requests_per_second=5, max_audio_size_mb=0.5, policy_name="mine")
    assert options.faults == Faults(drop=0.25, seed=3, asynch=True, script=("500", "ok"))
    assert _parser().parse_args(["--latency", "0.2", "--policy"]).latency == 0.2
    assert _parser().parse_args(["--policy"]).policy == Policy.standard()
    assert _parser().parse_args([]).policy is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--faults", "typo=1"], "unknown name 'typo'"),
        (["--faults", "drop=2"], "shares"),
        (["--faults", "drop=x"], "could not convert"),
        (["--policy", "burst_limit=0"], "must be positive"),
    ],
)
def test_invalid_options(arguments, message, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_unavailable_host(capsys):
    assert main(["--host", "192.0.2.1", "--port", "0"]) == 1
    assert "valence-sandbox: " in capsys.readouterr().err
