"""A policy that changes while a job runs; the service is the sandbox."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tests.conftest import clips
from valence_integrations import Engine
from valence_integrations.sandbox import Policy, Sandbox


def test_policy_that_drops_costs_one_429(make_engine: Callable[..., Engine]) -> None:
    fast, slow = (Policy(requests_per_second=rate, max_concurrent_requests=5) for rate in (10, 3))
    with Sandbox(policy=fast) as sandbox:
        engine = make_engine(base_url=sandbox.url, concurrency=1)
        items = iter(clips(30))
        engine.predict_many([next(items) for _ in range(9)])
        sandbox.change_policy(slow)
        predictions = engine.predict_many(list(items))
        assert [prediction.error for prediction in predictions] == [None] * 21
        assert [record.status for record in sandbox.requests].count(429) == 1
        assert engine.stats.rate_limited == 1


def test_calls_under_way_when_the_policy_drops_cost_one_hold(make_engine: Callable[..., Engine]) -> None:
    """Nothing is sent until the hold is over, and the new policy holds from then on."""
    fast, slow = (Policy(requests_per_second=rate, max_concurrent_requests=8) for rate in (50, 3))
    with Sandbox(policy=fast, latency=0.1) as sandbox:
        engine = make_engine(base_url=sandbox.url, concurrency=4)
        items = clips(24)
        answered = engine.iter_predict(items)
        for _ in range(8):
            next(answered)
        changed = threading.Thread(target=sandbox.change_policy, args=(slow,))
        changed.start()
        changed.join()
        assert len(list(answered)) == 16
        calls = [record for record in sandbox.requests if record.method == "POST"]
        refused = [record.time for record in calls if record.status == 429]
        assert 1 <= len(refused) <= 4
        after = [record.time for record in calls if record.time > refused[-1]]
        assert after[0] - refused[0] >= 1.0
        assert all(later - earlier >= 1.0 for earlier, later in zip(after, after[3:], strict=False))
