"""Measure Ray Data on this machine: the speed of this library and of the vendor's SDK, relative to the bound.

    make bench-ray                          (about five minutes)
    python benchmarks/bench_ray.py --short  (about two minutes; noisier)

The bound is min(concurrent calls / latency, calls per second), for all workers together. Clips per second count
answered clips by the server's clock, from the first call to the last answer, while some workers may still be starting.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from _audio import make_wavs
from _process import Server

os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_DATA_DISABLE_PROGRESS_BARS="1", RAY_AUTH_MODE="disabled")

LATENCY = 0.2
WORKERS, CONCURRENCY = 4, 16
CLIP_SECONDS, CLIP_RATE = 5.0, 8_000
BATCH = 64

#: Calls per second: a limit above what the concurrency allows, and one below.
FAST, SLOW = 900, 40

#: The share of the bound to reach.
SHARE = 0.9


class SdkActor:
    """What a user of the vendor's SDK would write."""

    def __init__(self, url: str, threads: int) -> None:
        from valenceai import ValenceClient

        self.client = ValenceClient(api_key=os.environ["VALENCE_API_KEY"], base_url=url, show_progress=False)
        self.pool = ThreadPoolExecutor(threads)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        batch["emotion"] = list(self.pool.map(self.one, batch["audio"]))
        return batch

    def one(self, path: str) -> str | None:
        try:
            return str(self.client.discrete.emotions(file_path=path)["main_emotion"])
        except Exception:
            return None


def measure(name: str, per_second: int, paths: list[str], caller: Any) -> bool:
    """Run one caller against a new sandbox; print its row, and return whether it reaches the target."""
    import ray

    server = Server(latency=LATENCY, policy={"requests_per_second": per_second, "max_concurrent_requests": CONCURRENCY})
    try:
        server.ask("reset")
        ds = ray.data.from_items(
            [{"audio": path} for path in paths], override_num_blocks=max(len(paths) // BATCH, WORKERS)
        )
        emotions = [row["emotion"] for row in caller(ds, server.url).select_columns(["emotion"]).take_all()]
        counters = server.ask("counters")
    finally:
        server.stop()
    bound = min(CONCURRENCY / LATENCY, per_second)
    rate = counters["calls"] / (counters["span_seconds"] + LATENCY)
    failed = emotions.count(None)
    columns = f"{len(paths):6}{failed:7}{counters['refused']:6}{counters['max_in_flight']:10}"
    print(f"{name:58}{columns}{rate:9.1f}{bound:7.0f}{rate / bound:8.1%}", flush=True)
    return not failed and not counters["refused"] and rate / bound >= SHARE


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="300 clips")
    count = 300 if parser.parse_args().short else 2_000

    import ray

    from valence_integrations.ray import annotate_ray_dataset

    def sdk(threads: int) -> Any:
        return lambda ds, url: ds.map_batches(
            SdkActor,
            fn_constructor_kwargs={"url": url, "threads": threads},
            batch_size=BATCH,
            num_cpus=0.5,
            compute=ray.data.ActorPoolStrategy(size=WORKERS),
        )

    def ours(**settings: Any) -> Any:
        return lambda ds, url: annotate_ray_dataset(ds, base_url=url, batch_size=BATCH, workers=WORKERS, **settings)

    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(VALENCE_API_KEY="sandbox-key", VALENCE_CACHE_DIR=str(Path(folder) / "cache"))
        os.environ["VALENCE_STATE_DIR"] = os.environ["VALENCE_CACHE_DIR"]
        ray.init(
            num_cpus=4,
            object_store_memory=200 * 2**20,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
        )
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        paths = make_wavs(Path(folder) / "clips", count, CLIP_SECONDS, CLIP_RATE, seed=7)
        machine = f"{os.cpu_count()} cores, Ray {ray.__version__}"
        print(f"{WORKERS} workers, {CONCURRENCY} concurrent calls in the cluster, latency {LATENCY} s, {machine}")
        columns = f"{'clips':>6}{'failed':>7}{'429s':>6}{'in flight':>10}"
        print(f"{'':58}{columns}{'clips/s':>9}{'bound':>7}{'share':>8}", flush=True)
        try:
            measure("map_batches, vendor's SDK in a loop", FAST, paths[:400], sdk(1))
            measure(
                f"map_batches, vendor's SDK in {CONCURRENCY // WORKERS} threads per worker",
                FAST,
                paths,
                sdk(CONCURRENCY // WORKERS),
            )
            measure(f"the same, limit {SLOW} calls/s", SLOW, paths, sdk(CONCURRENCY // WORKERS))
            good = [
                measure("annotate_ray_dataset", FAST, paths, ours()),
                measure('annotate_ray_dataset(cache="shared")', FAST, paths, ours(cache="shared")),
                measure(f"annotate_ray_dataset, limit {SLOW} calls/s", SLOW, paths, ours()),
            ]
        finally:
            ray.shutdown()
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
