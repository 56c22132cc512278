"""Measure one row of the table in a separate process, so that imports and garbage of other rows do not count.

The process sets up the caller and warms it up with a few separate clips. It prints a line of JSON, waits for a line on
stdin, runs the caller, and prints a line of JSON with the measurement.
"""

from __future__ import annotations

import gc
import http.client
import json
import queue
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

#: A function from paths to the emotion of each.
Caller = Callable[[Sequence[str]], list[Any]]

#: The SDK's default polling interval, in seconds.
SDK_INTERVAL = 5.0


def quickstart_multipart(spec: dict[str, Any]) -> Caller:
    """Send each file as the vendor's quickstart does."""
    import requests

    def one(file_path: str) -> Any:
        with Path(file_path).open("rb") as file:
            files = {"file": file}
            headers = {"x-api-key": spec["api_key"]}
            response = requests.post(spec["url"] + "/emotionprediction", files=files, headers=headers)
        return response.json()["main_emotion"]

    return lambda paths: [one(path) for path in paths]


def quickstart_json(spec: dict[str, Any]) -> Caller:
    """Send the samples of each file as JSON, as the vendor's quickstart does."""
    import librosa
    import requests

    headers = {"Content-Type": "application/json", "x-api-key": spec["api_key"]}

    def one(fp: str) -> Any:
        X, _ = librosa.load(fp, sr=44100, duration=4.5, offset=0.5)
        event = {"payload": [X[:198450].tolist()]}
        jevent = json.dumps(event)
        response = requests.post(spec["url"] + "/emotionprediction", json=jevent, headers=headers)
        return response.json()["main_emotion"]

    return lambda paths: [one(path) for path in paths]


def sdk(spec: dict[str, Any]) -> Caller:
    """Call the vendor's SDK, in a loop or in threads."""
    from valenceai import ValenceClient

    client = ValenceClient(api_key=spec["api_key"], base_url=spec["url"], show_progress=False)
    return _in_threads(spec["in_flight"], lambda path: client.discrete.emotions(file_path=path)["main_emotion"])


def sdk_long(spec: dict[str, Any]) -> Caller:
    """Upload with the vendor's SDK and poll as it does by default, in a loop or in threads."""
    from valenceai import ValenceClient

    client = ValenceClient(api_key=spec["api_key"], base_url=spec["url"], show_progress=False)

    def one(path: str) -> Any:
        request_id = client.asynch.upload(path)
        interval = SDK_INTERVAL * spec["scale"]
        return client.asynch.emotions(request_id, interval_seconds=interval)["emotions"][0]["emotion"]

    return _in_threads(spec["in_flight"], one)


def bare(spec: dict[str, Any]) -> Caller:
    """Send minimal requests with the standard library only: the best that machine and sandbox allow."""
    address = urlsplit(spec["url"])
    free: queue.SimpleQueue[http.client.HTTPConnection] = queue.SimpleQueue()
    for _ in range(spec["in_flight"]):
        free.put(http.client.HTTPConnection(address.hostname or "", address.port))
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    headers = {"x-api-key": spec["api_key"], "Content-Type": "multipart/form-data; boundary=x"}

    def one(path: str) -> Any:
        body = head + Path(path).read_bytes() + b"\r\n--x--\r\n"
        connection = free.get()
        connection.request("POST", "/emotionprediction", body, headers)
        answer = json.loads(connection.getresponse().read())
        free.put(connection)
        return answer["main_emotion"]

    return _in_threads(spec["in_flight"], one)


def predict_many(spec: dict[str, Any]) -> Caller:
    engine = _engine(spec)
    return lambda paths: [prediction.emotion for prediction in engine.predict_many(paths)]


def transform(spec: dict[str, Any]) -> Caller:
    from valence_integrations import ValenceEmotionTransformer

    transformer = ValenceEmotionTransformer(output="label", engine=_engine(spec))
    return lambda paths: transformer.fit_transform(list(paths))[:, 0].tolist()


def map_rows(spec: dict[str, Any]) -> Caller:
    return _map(spec)


def map_batched(spec: dict[str, Any]) -> Caller:
    return _map(spec, batched=True, batch_size=400)


def _map(spec: dict[str, Any], **options: Any) -> Caller:
    from datasets import Audio, Dataset

    from valence_integrations import ValenceAnnotator

    annotate = ValenceAnnotator(on_error="raise", engine=_engine(spec))

    def call(paths: Sequence[str]) -> list[Any]:
        dataset = Dataset.from_dict({"audio": list(paths)}).cast_column("audio", Audio())
        return list(dataset.map(annotate, **options)["emotion"])

    return call


def _engine(spec: dict[str, Any]) -> Any:
    from valence_integrations import Engine, Settings
    from valence_integrations.settings import RateLimits

    limits = None
    if spec["limiter"]:
        # The limiter runs, with limits that no row reaches.
        limits = RateLimits(
            requests_per_second=1_000,
            requests_per_minute=60_000,
            requests_per_hour=3_600_000,
            requests_per_day=86_400_000,
            burst_limit=1_000,
            max_concurrent_requests=spec["in_flight"],
        )
    return Engine(
        Settings(
            api_key=spec["api_key"],
            base_url=spec["url"],
            concurrency=spec["in_flight"],
            limits=limits,
            cache=spec["cache"],
        )
    )


def _in_threads(count: int, one: Callable[[str], Any]) -> Caller:
    if count == 1:
        return lambda paths: [one(path) for path in paths]
    pool = ThreadPoolExecutor(count)
    return lambda paths: list(pool.map(one, paths))


CALLERS: dict[str, Callable[[dict[str, Any]], Caller]] = {
    caller.__name__: caller
    for caller in (
        quickstart_multipart,
        quickstart_json,
        sdk,
        sdk_long,
        bare,
        predict_many,
        transform,
        map_rows,
        map_batched,
    )
}


def main() -> None:
    spec = json.loads(sys.stdin.readline())
    warnings.simplefilter("ignore", UserWarning)
    call = CALLERS[spec["caller"]](spec)
    call(spec["warm_up"])
    gc.collect()
    print(json.dumps({"ready": True}), flush=True)
    sys.stdin.readline()

    cpu, wall = time.process_time(), time.perf_counter()
    emotions = [emotion for _ in range(spec["rounds"]) for emotion in call(spec["paths"])]
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    answered = sum(isinstance(emotion, str) for emotion in emotions)
    print(json.dumps({"answered": answered, "seconds": wall, "cpu_seconds": cpu, "threads": threading.active_count()}))


if __name__ == "__main__":
    main()
