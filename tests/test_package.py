"""The package as it is imported and installed: its names, and what comes along with it."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import entry_points, metadata, version
from importlib.resources import files

import pytest

import valence_integrations
from valence_integrations import engine, errors, report, results, sandbox, settings

#: What `import valence_integrations` may import over numpy: itself, and modules of the standard library.
OURS = {
    "valence_integrations",
    "valence_integrations._version",
    "valence_integrations.errors",
    *(f"valence_integrations.errors.{name}" for name in ("_base", "_codes", "_item", "_job")),
}
MOST_MODULES = 10


def test_public_names() -> None:
    assert valence_integrations.__all__ == [
        "EmotionPrediction",
        "EmotionSegment",
        "Engine",
        "Settings",
        "ValenceAnnotator",
        "ValenceEmotionPipeline",
        "ValenceEmotionTransformer",
        "__version__",
        "annotate_dataset",
        "errors",
        "register_pipeline",
        "valence_annotate",
    ]
    assert dir(valence_integrations) == sorted(valence_integrations.__all__)
    assert engine.__all__ == ["Engine", "Estimate", "Progress", "Segmented", "Stats"]
    assert report.__all__ == ["write_report"]
    assert results.__all__ == ["EmotionPrediction", "EmotionSegment", "to_frame"]
    assert sandbox.__all__ == ["Faults", "Policy", "RequestRecord", "Sandbox"]
    assert settings.__all__ == ["DEFAULT_BASE_URL", "DEFAULT_CONCURRENCY", "EMOTIONS", "RateLimits", "Settings"]
    assert errors.__all__ == [
        "AsynchError",
        "AsynchExpiredError",
        "AsynchFailedError",
        "AsynchTimeoutError",
        "AudioError",
        "AudioNotFoundError",
        "AudioTooLongError",
        "AudioTooShortError",
        "AuthenticationError",
        "BadRequestError",
        "BatchError",
        "BudgetExceededError",
        "CallError",
        "FileTooLargeError",
        "InvalidResponseError",
        "ItemError",
        "JobError",
        "MissingDependencyError",
        "MissingKeyError",
        "NetworkError",
        "PartialFailureWarning",
        "RateLimitError",
        "ReadTimeoutError",
        "RedirectError",
        "ServerError",
        "ServiceUnavailableError",
        "SettingsError",
        "UnreadableAudioError",
        "ValenceError",
    ]


@pytest.mark.parametrize("name", valence_integrations.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(valence_integrations, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'ValenceTransformer'"):
        _ = valence_integrations.ValenceTransformer  # type: ignore[attr-defined]


def test_the_import_is_light() -> None:
    code = (
        "import json, sys, numpy; before = set(sys.modules)\n"
        "import valence_integrations\n"
        "print(json.dumps(sorted(sys.modules.keys() - before)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = json.loads(ran.stdout)
    assert {name for name in imported if name.partition(".")[0] not in sys.stdlib_module_names} == OURS
    assert len(imported) <= MOST_MODULES


def test_what_comes_along() -> None:
    package = files("valence_integrations")
    assert (package / "py.typed").is_file()
    assert "prefers-color-scheme: dark" in (package / "report" / "style.css").read_text(encoding="utf-8")
    assert version("valence-integrations") == valence_integrations.__version__
    assert metadata("valence-integrations")["License-Expression"] == "Apache-2.0"
    assert {point.value for point in entry_points(group="pytest11")} >= {"valence_integrations.pytest_plugin"}
    (command,) = entry_points(group="console_scripts", name="valence-sandbox")
    assert command.load() is not None
