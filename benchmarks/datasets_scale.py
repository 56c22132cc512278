"""Measure `map` on large datasets: overhead beyond `datasets` and HTTP, memory growth, and speed.

    python benchmarks/datasets_scale.py                     (about six minutes)
    python benchmarks/datasets_scale.py --quick             (under one minute; a tenth of the rows)
    python benchmarks/datasets_scale.py --json figures.json

README.md in this directory explains the method.
"""

from __future__ import annotations

import argparse
import gc
import http.client
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

#: Short clips of one second, padded to the service's minimum before they are sent.
RATE, SECONDS, SENT_SECONDS = 8_000, 1.0, 5.0
IN_FLIGHT = 16
LATENCY = 0.2
WANTED_SHARE = 0.95
SAMPLE_SECONDS = 0.05


def wav(pcm: Any) -> bytes:
    from valence_integrations._audio.wav import encode

    return encode(pcm, RATE)


def clips(rows: int, seed: int = 0) -> Iterator[bytes]:
    """Generate WAV files of noise, all different."""
    rng = np.random.default_rng(seed)
    for _ in range(rows):
        yield wav(rng.integers(-3000, 3000, int(RATE * SECONDS), dtype=np.int16))


def anonymous_mb() -> float:
    """Return the anonymous memory of this process in MB: pages of a dataset on disk do not count."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"RssAnon:\s+(\d+) kB", status)[0]) / 1024


@contextmanager
def memory() -> Iterator[list[float]]:
    """Sample the memory while the block runs."""
    samples = [anonymous_mb()]
    done = threading.Event()

    def sample() -> None:
        while not done.wait(SAMPLE_SECONDS):
            samples.append(anonymous_mb())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()


# Measurements, each in a separate process


def dataset(spec: dict[str, Any]) -> Any:
    from datasets import Audio, Dataset, load_dataset

    if spec["kind"] == "parquet":
        result = load_dataset("parquet", data_files=spec["path"], split="train", cache_dir=spec["folder"])
    else:
        result = Dataset.from_dict({"audio": [{"bytes": clip, "path": None} for clip in clips(spec["rows"])]})
    return result.cast_column("audio", Audio(decode=False))


def bare_map(spec: dict[str, Any]) -> Callable[[], int]:
    rows = dataset(spec)

    def constant(batch: Any) -> dict[str, list[Any]]:
        """Return as many columns of the same types, without a request."""
        scores = dict.fromkeys(("angry", "happy", "neutral", "sad"), 0.25)
        part = {"start": 0.0, "end": 1.0, "emotion": "sad", "confidence": 0.25}
        row = {"": "sad", "_confidence": 0.25, "_scores": scores, "_timeline": [part], "_source": "x", "_error": "x"}
        return {f"emotion{name}": [value] * len(batch["audio"]) for name, value in row.items()}

    return lambda: len(rows.map(constant, batched=True))


def annotator(spec: dict[str, Any]) -> Any:
    from valence_integrations import Engine, Settings, ValenceAnnotator

    settings = Settings(
        api_key=spec["api_key"], base_url=spec["url"], concurrency=spec["in_flight"], limits=None, cache=False
    )
    annotate = ValenceAnnotator(on_error="raise", engine=Engine(settings))
    annotate({"audio": list(clips(2 * spec["in_flight"], seed=1))})
    return annotate


def annotated_map(spec: dict[str, Any]) -> Callable[[], int]:
    annotate, rows = annotator(spec), dataset(spec)
    return lambda: len(rows.map(annotate, batched=True))


def predict_many(spec: dict[str, Any]) -> Callable[[], int]:
    engine, rows = annotator(spec).engine, list(clips(spec["rows"]))
    return lambda: len(engine.predict_many(rows))


def bare_http(spec: dict[str, Any]) -> Callable[[], int]:
    """Send as many files of the same size with the standard library only."""
    address = urlsplit(spec["url"])
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    body += wav(np.zeros(int(RATE * SENT_SECONDS), dtype=np.int16)) + b"\r\n--x--\r\n"
    headers = {"x-api-key": spec["api_key"], "Content-Type": "multipart/form-data; boundary=x"}
    local = threading.local()

    def one(_: int) -> bool:
        if not hasattr(local, "connection"):
            local.connection = http.client.HTTPConnection(address.hostname or "", address.port)
        local.connection.request("POST", "/emotionprediction", body, headers)
        return "main_emotion" in json.loads(local.connection.getresponse().read())

    def send_all() -> int:
        with ThreadPoolExecutor(spec["in_flight"]) as pool:
            return sum(pool.map(one, range(spec["rows"])))

    return send_all


def child(spec: dict[str, Any]) -> None:
    import datasets
    import pyarrow as pa

    datasets.disable_progress_bars()
    makers = {"bare": bare_map, "annotated": annotated_map, "http": bare_http, "predict_many": predict_many}
    run = makers[spec["what"]](spec)
    gc.collect()
    pa.default_memory_pool().release_unused()
    with memory() as samples:
        wall, cpu = time.perf_counter(), time.process_time()
        done = run()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    if done != spec["rows"]:
        raise RuntimeError(f"{done} of {spec['rows']} rows")
    quarters = [samples[(len(samples) - 1) * quarter // 4] for quarter in range(5)]
    print(json.dumps({"seconds": wall, "cpu_seconds": cpu, "memory": quarters, "peak": max(samples)}))


# Parent process


def measure(**spec: Any) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VALENCE_")}
    environment |= dict.fromkeys(("HF_HOME", "VALENCE_CACHE_DIR", "VALENCE_STATE_DIR"), str(spec["folder"]))
    environment["HF_HUB_OFFLINE"] = "1"
    command = [sys.executable, __file__, "--child", json.dumps(spec, default=str)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return {**json.loads(done.stdout), **{name: spec[name] for name in ("what", "kind", "rows", "in_flight")}}


def memory_growth(result: dict[str, Any]) -> float:
    return float(result["memory"][4] - result["memory"][1])


def print_row(result: dict[str, Any], name: str) -> None:
    rows = result["rows"]
    quarters = " ".join(f"{value:7.0f}" for value in result["memory"])
    print(
        f"{name:<34}{rows:>7,}{result['seconds']:>9.1f}{rows / result['seconds']:>9.0f}"
        f"{1000 * result['cpu_seconds'] / rows:>10.2f}   {quarters}",
        flush=True,
    )


def scale(rows: int, folder: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Measure overhead and memory: no latency, no cache, one call per row."""
    import datasets

    from valence_integrations.sandbox import Sandbox

    datasets.disable_progress_bars()
    path = folder / "clips.parquet"
    audio = [{"bytes": clip, "path": None} for clip in clips(rows)]
    datasets.Dataset.from_dict({"audio": audio}).to_parquet(path)
    del audio
    measured, figures = [], []
    with Sandbox() as sandbox:
        same = {"rows": rows, "in_flight": IN_FLIGHT, "url": sandbox.url, "api_key": sandbox.api_key, "path": path}
        sent = measure(what="http", kind="", folder=folder / "http", **same)
        print_row(sent, f"http.client, {IN_FLIGHT} in flight")
        measured.append(sent)
        for kind in ("memory", "parquet"):
            bare, ours = (
                measure(what=what, kind=kind, folder=folder / kind / what, **same) for what in ("bare", "annotated")
            )
            print_row(bare, f"{kind}: map of a constant")
            print_row(ours, f"{kind}: map(valence_annotate)")
            measured += [bare, ours]
            cpu, wall = (
                1000 * (ours[clock] - bare[clock] - sent[clock]) / rows for clock in ("cpu_seconds", "seconds")
            )
            figures.append(
                f"{kind}: {cpu:.2f} ms CPU and {wall:.2f} ms wall time overhead per row; memory growth after the "
                f"first quarter: {memory_growth(ours):+.0f} MB (map of a constant: {memory_growth(bare):+.0f})"
            )
    return measured, figures


def speed(sizes: dict[int, int], folder: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Measure the share of the bound, with the default batch_size of `map`."""
    from valence_integrations.sandbox import Sandbox

    measured, figures = [], []
    with Sandbox(latency=LATENCY) as sandbox:
        for in_flight, rows in sizes.items():
            shares = {}
            for what, name in (("predict_many", "predict_many"), ("annotated", "map(valence_annotate)")):
                result = measure(
                    what=what,
                    kind="memory",
                    rows=rows,
                    in_flight=in_flight,
                    url=sandbox.url,
                    api_key=sandbox.api_key,
                    folder=folder / f"{what}-{in_flight}",
                )
                print_row(result, f"{in_flight} in flight: {name}")
                shares[what] = rows / result["seconds"] / (in_flight / LATENCY)
                measured.append({**result, "share": shares[what]})
            figures.append(
                f"latency {LATENCY:g} s, {in_flight} in flight: map reaches {shares['annotated']:.3f} of the bound "
                f"(>= {WANTED_SHARE}: {'reached' if shares['annotated'] >= WANTED_SHARE else 'MISSED'}), "
                f"predict_many {shares['predict_many']:.3f}"
            )
    return measured, figures


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results to FILE")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child)
        return
    rows = 2_000 if options.quick else 20_000
    sizes = {16: 400} if options.quick else {5: 1_000, 16: 2_000}
    print(
        f"Clips of {SECONDS:g} s at {RATE} Hz, all different, sent as {SENT_SECONDS:g} s; no cache, no rate limit; "
        f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start.\n"
    )
    print(f"{'':<34}{'rows':>7}{'seconds':>9}{'rows/s':>9}{'CPU ms':>10}   memory in MB: start, 1/4, 1/2, 3/4, end")
    with tempfile.TemporaryDirectory(prefix="valence-bench-") as folder:
        measured, figures = scale(rows, Path(folder))
        more, shares = speed(sizes, Path(folder))
    print("\n" + "\n".join([*figures, *shares]))
    if options.json is not None:
        options.json.write_text(json.dumps({"measured": measured + more, "figures": figures + shares}, indent=2) + "\n")


if __name__ == "__main__":
    main()
