"""A process of the chaos lane: annotate the items of a plan, and write what became of each."""

from __future__ import annotations

import faulthandler
import importlib
import io
import json
import logging
import resource
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any


def set_up(own: dict[str, Any]) -> io.StringIO:
    """Let the disk be full and the clock jump, as asked for; return all log lines to come."""
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    warnings.simplefilter("ignore", UserWarning)
    log = io.StringIO()
    logging.basicConfig(level=logging.DEBUG, stream=log)
    if own["file_size"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (own["file_size"], resource.RLIM_INFINITY))
    if own["clock_jump"] is not None:
        real, jump, at = time.time, own["clock_jump"], own["clock_jump_at"]
        time.time = lambda: real() + (jump if time.monotonic() >= at else 0.0)
    return log


def rows(predictions: Any) -> list[dict[str, Any]]:
    """Return what is compared: the answer, or the kind and code of the error."""
    from valence_integrations import errors

    return [
        {
            "emotion": prediction.emotion,
            "scores": prediction.scores,
            "segments": [[segment.start, segment.end, segment.emotion] for segment in prediction.segments],
            "error": None if prediction.error is None else prediction.error.code,
            "ours": prediction.error is None or isinstance(prediction.error, errors.ItemError),
            "message": "" if prediction.error is None else str(prediction.error),
        }
        for prediction in predictions
    ]


def annotate(plan: dict[str, Any], folder: Path, settings: dict[str, Any], *, lazy: bool) -> list[dict[str, Any]]:
    """Annotate the items of a plan."""
    from valence_integrations import Engine, Settings
    from valence_integrations.settings import RateLimits

    limits = settings.get("limits")
    if isinstance(limits, dict):
        settings = {**settings, "limits": RateLimits(**limits)}
    items: list[object] = []
    for item in plan["items"]:
        path = folder / "items" / item["file"]
        items.append(path.read_bytes() if item["form"] == "bytes" else str(path))
    with Engine(Settings(**settings)) as engine:
        if lazy:
            return rows(engine.iter_predict(items, on_error="null"))
        return rows(engine.predict_many(items, on_error="null"))


def main() -> None:
    folder, name = Path(sys.argv[1]), sys.argv[2]
    plan = json.loads((folder / "plan.json").read_text())
    own = json.loads(sys.argv[3])
    log = set_up(own)
    # An interrupt during an import is no matter of this library.
    for module in ("soundfile", "soxr", "valence_integrations.engine"):
        importlib.import_module(module)
    from valence_integrations import errors

    outcome: dict[str, Any] = {}
    try:
        (folder / f"{name}.begun").touch()
        outcome["rows"] = annotate(plan, folder, {**plan["settings"], **own["settings"]}, lazy=own["lazy"])
    except errors.ValenceError as error:
        outcome["stopped"] = [type(error).__name__, error.code, str(error)]
    except KeyboardInterrupt:
        outcome["interrupted"] = True
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        (folder / f"{name}.log").write_text(log.getvalue())
    (folder / f"{name}.json").write_text(json.dumps(outcome))


if __name__ == "__main__":
    main()
