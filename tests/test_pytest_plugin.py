"""The fixture `valence_sandbox`, as the tests of a user's project use it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import EXAMPLES
from tests.pages import BLOCK, ROOT

CLIP = str(EXAMPLES / "audio" / "maya_happy.flac")


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """Make a project whose code does not refer to a sandbox."""
    pytester.makeini("[pytest]\naddopts = --strict-markers -p no:cacheprovider\nfilterwarnings = error")
    pytester.makepyfile(
        ours=f"""
        from valence_integrations import valence_annotate

        CLIP = {CLIP!r}

        def annotate(clips):
            return valence_annotate({{"audio": clips}})["emotion"]

        def train(clips, labels):
            from sklearn.linear_model import LogisticRegression
            from sklearn.pipeline import make_pipeline
            from valence_integrations import ValenceEmotionTransformer

            return make_pipeline(ValenceEmotionTransformer(), LogisticRegression()).fit(clips, labels)
        """
    )
    return pytester


def run(project: pytest.Pytester, tests: str) -> pytest.RunResult:
    project.makepyfile(
        test_ours="import os, pytest\nfrom ours import *\nfrom valence_integrations.sandbox import *\n" + tests
    )
    return project.runpytest_subprocess()


def test_unchanged_code_runs_against_sandbox(project: pytest.Pytester) -> None:
    ran = run(
        project,
        """
def test_training(valence_sandbox):
    assert train([CLIP] * 3, [0, 1, 0]).predict([CLIP]) == [0]
    assert valence_sandbox.calls == 1
    assert valence_sandbox.requests[-1].path == "/emotionprediction"

def test_annotation(valence_sandbox):
    assert annotate([CLIP] * 2) == ["happy", "happy"]
    assert valence_sandbox.calls == 1

def test_environment_is_restored():
    assert "VALENCE_API_KEY" not in os.environ
    assert "VALENCE_API_BASE_URL" not in os.environ
""",
    )
    ran.assert_outcomes(passed=3)


def test_tests_share_no_state_on_same_port(project: pytest.Pytester) -> None:
    ran = run(
        project,
        """
import threading, time
from valence_integrations.engine import _shared

PORT = []

@pytest.fixture(autouse=True)
def same_port(monkeypatch):
    if PORT:
        first = Sandbox.__init__
        monkeypatch.setattr(Sandbox, "__init__", lambda self, **options: first(self, **options, port=PORT[0]))

@pytest.mark.parametrize("turn", range(3))
def test_answers_are_not_shared(valence_sandbox, turn, tmp_path):
    PORT.append(int(valence_sandbox.url.rsplit(":", 1)[1]))
    annotate([CLIP])
    assert valence_sandbox.calls == 1
    assert (tmp_path / "valence-cache" / "answers.sqlite3").exists()

def test_engines_are_closed():
    assert len(set(PORT)) == 1
    assert not _shared._shared
    deadline = time.monotonic() + 10
    while names := [thread.name for thread in threading.enumerate() if thread.name.startswith("valence-")]:
        assert time.monotonic() < deadline, names
        time.sleep(0.01)
""",
    )
    ran.assert_outcomes(passed=4)


def test_marker_sets_options(project: pytest.Pytester) -> None:
    ran = run(
        project,
        """
pytestmark = pytest.mark.valence_sandbox(api_key="ours", faults=Faults(script=["400"]))

@pytest.mark.valence_sandbox(faults=Faults(script=["503"], retry_after=0))
def test_nearest_marker_takes_precedence(valence_sandbox):
    annotate([CLIP])
    assert valence_sandbox.calls == 2
    assert valence_sandbox.requests[-2].fault == "503"
    assert os.environ["VALENCE_API_KEY"] == valence_sandbox.api_key == "ours"
""",
    )
    ran.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("0.1", "*valence_sandbox takes its options by name*"),
        ("latencyy=0.1", "*unexpected keyword argument 'latencyy'*"),
    ],
)
def test_invalid_options_are_an_error(project: pytest.Pytester, options: str, message: str) -> None:
    ran = run(project, f"@pytest.mark.valence_sandbox({options})\ndef test_it(valence_sandbox):\n    pass\n")
    ran.assert_outcomes(errors=1)
    ran.stdout.fnmatch_lines([message])


def test_missing_extra_error_names_extra(project: pytest.Pytester) -> None:
    project.makeconftest("import sys\nsys.modules['fastapi'] = None")
    project.makepyfile(test_ours="def test_it(valence_sandbox):\n    pass\n")
    ran = project.runpytest_subprocess()
    ran.assert_outcomes(errors=1)
    ran.stdout.fnmatch_lines(['*ImportError: the sandbox needs fastapi: pip install "valence-integrations?sandbox?"'])


def test_documented_tests_pass(project: pytest.Pytester) -> None:
    (project.path / "examples").symlink_to(EXAMPLES)
    blocks = [block for _, block in BLOCK.findall((ROOT / "docs" / "testing.md").read_text())]
    project.makepyfile("\n".join(blocks))
    project.runpytest_subprocess().assert_outcomes(passed=3)


def test_marker_is_listed(project: pytest.Pytester) -> None:
    ran = project.runpytest_subprocess("--markers")
    ran.stdout.fnmatch_lines(["@pytest.mark.valence_sandbox(?*options): options of *"])


def test_unused_plugin_imports_nothing_else(tmp_path: Path) -> None:
    code = (
        "import sys, pytest; before = set(sys.modules)\n"
        "import valence_integrations.pytest_plugin\n"
        "print(*sorted(sys.modules.keys() - before))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    ours = {name for name in ran.stdout.split() if name.startswith("valence_integrations")}
    assert {name for name in ours if not name.startswith("valence_integrations.errors.")} == {
        "valence_integrations",
        "valence_integrations._version",
        "valence_integrations.errors",
        "valence_integrations.pytest_plugin",
    }
    assert not {"numpy", "requests", "fastapi", "sklearn"} & set(ran.stdout.split())
