from __future__ import annotations

import pytest

from valence_integrations import errors
from valence_integrations._service.retry import call_with_retries

FREE = [
    errors.NetworkError("none", sent=False),
    errors.ReadTimeoutError("a slow proxy", sent=False),
    errors.ServerError("busy", status_code=503),
    errors.RateLimitError("many"),
]
BILLED = [
    errors.ReadTimeoutError("slow"),
    errors.NetworkError("cut"),
    errors.InvalidResponseError("odd"),
    *(errors.ServerError("down", status_code=code) for code in (500, 502, 504)),
]


class Trial:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waits: list[float] = []
        self.failed: list[Exception] = []
        self.calls = self.again = 0
        monkeypatch.setattr("tenacity.nap.time.sleep", self.waits.append)

    def run(self, *script: object, max_attempts: int = 5, max_billed_attempts: int = 5) -> object:
        results = list(script)

        def attempt() -> object:
            self.calls += 1
            result = results.pop(0) if len(results) > 1 else results[0]
            if isinstance(result, Exception):
                raise result
            return result

        def again() -> None:
            self.again += 1

        return call_with_retries(
            attempt,
            max_attempts=max_attempts,
            max_billed_attempts=max_billed_attempts,
            on_failure=self.failed.append,
            on_retry=again,
        )


@pytest.fixture
def trial(monkeypatch: pytest.MonkeyPatch) -> Trial:
    return Trial(monkeypatch)


@pytest.mark.parametrize("error", [*FREE, *BILLED], ids=repr)
def test_transient_failures_are_retried(trial: Trial, error: Exception) -> None:
    assert trial.run(error, error, "happy") == "happy"
    assert (trial.calls, trial.again, trial.failed) == (3, 2, [error, error])


@pytest.mark.parametrize("error", FREE, ids=repr)
def test_unbilled_failures_use_all_attempts(trial: Trial, error: Exception) -> None:
    with pytest.raises(type(error)):
        trial.run(error, max_attempts=9)
    assert trial.calls == 9


@pytest.mark.parametrize("attempts", [1, 2, 5])
@pytest.mark.parametrize("error", BILLED, ids=repr)
def test_possibly_billed_attempts_are_limited(trial: Trial, error: Exception, attempts: int) -> None:
    with pytest.raises(type(error)):
        trial.run(error, max_attempts=9, max_billed_attempts=attempts)
    assert trial.calls == attempts


def test_unbilled_failures_do_not_count_as_billed(trial: Trial) -> None:
    unbilled, billed = errors.ServerError("busy", status_code=503), errors.ReadTimeoutError("slow")
    with pytest.raises(errors.ReadTimeoutError):
        trial.run(unbilled, unbilled, billed, "never", max_billed_attempts=1)
    assert trial.calls == 3


@pytest.mark.parametrize(
    "error",
    [
        errors.BadRequestError("bad", status_code=400),
        errors.AudioTooShortError("short"),
        errors.AuthenticationError("no"),
        errors.BudgetExceededError("spent"),
        ValueError("a fault of ours"),
    ],
    ids=repr,
)
def test_permanent_failures_are_not_retried(trial: Trial, error: Exception) -> None:
    with pytest.raises(type(error)):
        trial.run(error)
    assert trial.calls == 1


def test_backoff_grows(trial: Trial) -> None:
    with pytest.raises(errors.ServerError):
        trial.run(errors.ServerError("down", status_code=500))
    for wait, least in zip(trial.waits, [0.5, 1.0, 2.0, 4.0], strict=True):
        assert least <= wait <= least + 0.5


def test_429_waits_for_its_permit_only(trial: Trial) -> None:
    assert trial.run(errors.RateLimitError("many", retry_after=7.0), "happy") == "happy"
    assert trial.waits == [0.0]


@pytest.mark.parametrize(("asked", "waited"), [(3.0, 3.0), (9_000.0, 120.0)])
def test_503_waits_for_retry_after_up_to_maximum(trial: Trial, asked: float, waited: float) -> None:
    trial.run(errors.ServerError("busy", status_code=503, retry_after=asked), "happy")
    assert trial.waits == [waited]


def test_retries_print_nothing(trial: Trial, capfd: pytest.CaptureFixture[str]) -> None:
    trial.run(errors.NetworkError("cut"), "happy")
    assert capfd.readouterr() == ("", "")
