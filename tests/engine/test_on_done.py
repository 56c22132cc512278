"""`iter_predict` reports each item when it is finished, not when it is its turn."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import cast

import pytest

from tests.cli.conftest import clip
from valence_integrations import EmotionPrediction, Engine, Settings, errors
from valence_integrations.sandbox import Sandbox


def test_items_behind_a_slow_one_are_reported_first() -> None:
    done: dict[int, EmotionPrediction] = {}
    others = threading.Event()

    def on_done(position: int, prediction: EmotionPrediction) -> None:
        done[position] = prediction
        if len(done) == 3:
            others.set()

    items = [clip(0, 20.0), clip(1), b"no audio", clip(2)]
    with Sandbox(asynch_pickup=1.5) as sandbox:
        settings = Settings(base_url=sandbox.url, api_key=sandbox.api_key, cache=False)
        with Engine(settings) as engine:
            predictions = engine.iter_predict(items, on_error="null", on_done=on_done)
            first = threading.Thread(target=lambda: done.setdefault(-1, next(predictions)))
            first.start()
            assert others.wait(10)
            assert sorted(done) == [1, 2, 3]
            first.join()
            rest = list(predictions)
    assert [done[0], *(done[position] for position in (1, 2, 3))] == [done[-1], *rest]
    assert done[2].error is not None


@pytest.mark.parametrize("stop", ["budget", "interrupt"])
def test_every_answer_is_reported_before_a_stopped_job_raises(stop: str) -> None:
    done: dict[int, EmotionPrediction] = {}
    with Sandbox(latency=0.05) as sandbox:
        settings = Settings(
            base_url=sandbox.url, api_key=sandbox.api_key, cache=False, max_calls=7 if stop == "budget" else None
        )
        with Engine(settings) as engine:
            predictions = engine.iter_predict(
                [clip(seed) for seed in range(30)], on_error="null", on_done=done.__setitem__
            )
            if stop == "budget":
                with pytest.raises(errors.BudgetExceededError):
                    list(predictions)
            else:
                next(predictions)
                with pytest.raises(KeyboardInterrupt):
                    cast("Generator[EmotionPrediction]", predictions).throw(KeyboardInterrupt())
            # Nothing is reported later.
            assert len(done) == sandbox.calls
        assert len(done) == sandbox.calls
