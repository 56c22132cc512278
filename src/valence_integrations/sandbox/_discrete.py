"""The DiscreteAPI: one short clip in, one answer out."""

from __future__ import annotations

import hashlib
import time
import uuid
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response

from ._acoustics import EMOTIONS, scores
from ._errors import ApiError
from ._journal import DISCRETE_PATHS
from ._service import Service, content_length, json_answer, parse_json, record_of
from ._wav import Audio, read_wav

MODEL_TYPE = "sandbox-acoustic-rule (not an emotion model)"

MAX_BYTES = 6 * 1024 * 1024
MIN_SECONDS = 4.5
MAX_SECONDS = 15.0
SKIPPED_SECONDS = 0.5
JSON_RATE = 44_100

_MULTIPART_OVERHEAD = 64 * 1024


def discrete_routes(service: Service) -> APIRouter:
    """Build the two prediction routes."""
    router = APIRouter()

    async def predict(request: Request, model: str = "4emotions") -> Response:
        service.check_key(request)
        service.admit(request)
        number = service.next_number()
        data, is_json = await _read_body(request)
        due = time.perf_counter() + _latency(service, number)
        record_of(request).sha256 = hashlib.sha256(data).hexdigest()

        async def answer() -> Response:
            if model not in EMOTIONS:
                raise ApiError(400, "INVALID_MODEL", f"Unknown model {model!r}: take {' or '.join(EMOTIONS)}")
            started = time.perf_counter()
            audio = await service.compute(_samples_from_json if is_json else read_wav, data)
            record_of(request).duration = audio.duration
            _check_length(audio, is_json=is_json)
            analyzed = audio.samples if is_json else audio.cut(SKIPPED_SECONDS)
            confidences = await service.compute(scores, analyzed, audio.rate, model)
            content = shape(service.answers, confidences, 1000 * (time.perf_counter() - started))
            service.journal.count("answered")
            return json_answer(content)

        return await service.deliver(number, request, answer, due)

    for path in sorted(DISCRETE_PATHS):
        router.post(path)(predict)
    return router


def shape(name: str, confidences: dict[str, float], milliseconds: float) -> dict[str, Any]:
    """Return an answer in one of the known shapes: live, readme, dominant or list."""
    main = max(confidences, key=confidences.__getitem__)
    confidence = confidences[main]
    if name == "readme":
        return {"emotions": confidences, "main_emotion": main}
    if name == "dominant":
        return {"dominant_emotion": main, "confidence": confidence, "all_predictions": confidences}
    if name == "list":
        listed = [{"emotion": emotion, "confidence": value} for emotion, value in confidences.items()]
        return {"main_emotion": main, "confidence": confidence, "emotions": listed}
    return {
        "main_emotion": main,
        "confidence": confidence,
        "all_predictions": confidences,
        "model_type": MODEL_TYPE,
        "processing_time_ms": round(milliseconds, 1),
        "request_id": str(uuid.uuid4()),
    }


async def _read_body(request: Request) -> tuple[bytes, bool]:
    """Return the audio in the body, and whether the body is JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_length(request) > MAX_BYTES + _MULTIPART_OVERHEAD:
        raise _too_large(content_length(request))
    if kind == "application/json":
        data = await request.body()
    elif kind == "multipart/form-data":
        async with request.form() as form:
            part = form.get("file")
            if part is None or isinstance(part, str):
                raise ApiError(400, "MISSING_FILE", "The multipart body has no file part named 'file'")
            data = await part.read()
    else:
        raise ApiError(400, "INVALID_REQUEST", "Send multipart/form-data with a part 'file', or application/json")
    if len(data) > MAX_BYTES:
        raise _too_large(len(data))
    return data, kind == "application/json"


def _too_large(size: int) -> ApiError:
    return ApiError(
        400,
        "FILE_TOO_LARGE",
        f"File size exceeds the maximum of {MAX_BYTES // 1024**2} MB",
        max_file_size_bytes=MAX_BYTES,
        actual_file_size_bytes=size,
    )


def _samples_from_json(body: bytes) -> Audio:
    """Parse ``{"payload": [samples]}``, JSON-encoded once, or twice as in the vendor's quickstart."""
    content = parse_json(body)
    if isinstance(content, str):
        content = parse_json(content.encode())
    if not isinstance(content, dict) or "payload" not in content:
        raise ApiError(400, "INVALID_REQUEST", "The JSON body has no 'payload'")
    try:
        samples = np.array(content["payload"], dtype=np.float32)
    except (TypeError, ValueError):
        samples = np.empty(0, dtype=np.float32)
    if samples.ndim != 2 or len(samples) != 1 or not np.isfinite(samples).all():
        raise ApiError(400, "INVALID_REQUEST", "'payload' must be a list that holds one list of finite numbers")
    return Audio(samples[0], JSON_RATE)


def _check_length(audio: Audio, *, is_json: bool) -> None:
    """Enforce the limits of 4.5 and 15 s.

    The service skips the first 0.5 s of a file and does not count it, so a file under 5.0 s is refused. JSON samples
    already begin after the skipped part. It is not known whether the limit of 15 s counts the skipped part; the
    sandbox counts it, to be safe.
    """
    counted = audio.duration if is_json else audio.duration - SKIPPED_SECONDS
    if counted < MIN_SECONDS - 1e-9:
        raise ApiError(
            400,
            "AUDIO_TOO_SHORT",
            f"Audio is too short: {counted:.2f} s, at least {MIN_SECONDS} s are needed",
            min_duration_seconds=MIN_SECONDS,
            actual_duration_seconds=round(max(counted, 0.0), 3),
        )
    if audio.duration > MAX_SECONDS + 1e-9:
        raise ApiError(
            400,
            "AUDIO_TOO_LONG",
            f"Audio is too long: {audio.duration:.2f} s, at most {MAX_SECONDS} s are allowed",
            max_duration_seconds=MAX_SECONDS,
            actual_duration_seconds=round(audio.duration, 3),
        )


def _latency(service: Service, number: int) -> float:
    low, high = service.latency
    return low + (high - low) * float(np.random.default_rng([service.faults.seed, number, 1]).random())
