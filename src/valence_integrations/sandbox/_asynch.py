"""The AsynchAPI: upload a long file in parts, then poll for its timeline.

The vendor's service looks for new uploads about every 10 s, and takes 1 to 5 s for a minute of audio. The sandbox goes
through the same states, with the delays that `Sandbox` was given.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Query, Request, Response

from ._acoustics import scores
from ._errors import ApiError
from ._service import Service, json_answer, parse_json, record_of
from ._wav import Audio, read_wav

if TYPE_CHECKING:
    from ._policy import Policy

SEGMENT_SECONDS = 5.0
MIN_SECONDS = 5.0
MAX_BYTES = 1024**3
MAX_PARTS = 10_000

_PREFIX = "/v1/asynch/emotion"


@dataclass
class _Job:
    file_name: str
    part_count: int
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    upload_id: str = field(default_factory=lambda: secrets.token_hex(16))
    signature: str = field(default_factory=lambda: secrets.token_hex(16))
    parts: dict[int, bytes] = field(default_factory=dict)
    state: str = "initiated"
    result: dict[str, Any] = field(default_factory=dict)

    def take(self) -> bytes:
        """Return the uploaded file, and free its parts."""
        data = b"".join(self.parts[number] for number in sorted(self.parts))
        self.parts.clear()
        return data


class _Jobs:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._by_request: dict[str, _Job] = {}
        self._by_upload: dict[str, _Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, file_name: str, part_count: int) -> _Job:
        job = _Job(file_name, part_count)
        self._by_request[job.request_id] = self._by_upload[job.upload_id] = job
        return job

    def get(self, request_id: object) -> _Job:
        job = self._by_request.get(str(request_id))
        if job is None:
            raise ApiError(404, "NOT_FOUND", "Request ID not found")
        return job

    def store(self, upload_id: str, number: int, signature: str, data: bytes) -> str:
        """Store a part, and return its ETag."""
        job = self._by_upload.get(upload_id)
        if job is None or not 1 <= number <= job.part_count:
            raise ApiError(404, "NOT_FOUND", "No such part of no such upload")
        if signature != job.signature:
            raise ApiError(403, "ACCESS_DENIED", "The signature of the URL is not valid")
        job.parts[number] = data
        return _etag(data)

    def complete(self, job: _Job, upload_id: object, parts: object) -> None:
        """Check the parts, and start the processing."""
        if upload_id != job.upload_id:
            raise ApiError(404, "NOT_FOUND", "Upload ID not found")
        if job.state != "initiated":
            raise ApiError(400, "INVALID_REQUEST", "The upload is complete already")
        expected = [{"PartNumber": number, "ETag": _etag(job.parts[number])} for number in sorted(job.parts)]
        if len(expected) != job.part_count or parts != expected:
            raise ApiError(400, "INVALID_PART", "Parts are missing, out of order, or their ETags do not match")
        _check_size(sum(map(len, job.parts.values())), self._service.policy)
        job.state = "upload_completed"
        del self._by_upload[job.upload_id]
        task = asyncio.create_task(self._process(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _process(self, job: _Job) -> None:
        await asyncio.sleep(self._service.asynch_pickup)
        job.state = "processing"
        started = asyncio.get_running_loop().time()
        policy = self._service.policy
        try:
            duration, job.result["emotions"] = await self._service.compute(_timeline, job.take(), policy)
        except ApiError as error:
            job.state = "failed"
            job.result = error.body
            return
        processing_seconds = duration / 60 * self._service.asynch_seconds_per_minute
        await asyncio.sleep(processing_seconds - (asyncio.get_running_loop().time() - started))
        job.state = "completed"


def asynch_routes(service: Service) -> APIRouter:
    """Build the upload, storage and status routes."""
    router = APIRouter()
    jobs = _Jobs(service)

    @router.post(f"{_PREFIX}/upload/initiate")
    async def initiate(request: Request, file_name: str, part_count: int = Query(ge=1, le=MAX_PARTS)) -> Response:
        service.check_key(request)
        service.admit(request)
        service.journal.count("uploads")

        async def answer() -> Response:
            job = jobs.open(file_name, part_count)
            base = f"{service.storage_url}/storage/{job.upload_id}"
            urls = [
                {"part_number": number, "url": f"{base}/{number}?signature={job.signature}"}
                for number in range(1, part_count + 1)
            ]
            return json_answer({"upload_id": job.upload_id, "request_id": job.request_id, "presigned_urls": urls})

        return await service.deliver_asynch(request, answer)

    @router.put("/storage/{upload_id}/{number}")
    async def put_part(request: Request, upload_id: str, number: int, signature: str = "") -> Response:
        if "x-api-key" in request.headers:
            service.journal.count("key_leaks")
            raise ApiError(400, "KEY_LEAK", "An API key was sent to the storage: a presigned URL needs none")
        data = await request.body()
        record_of(request).sha256 = hashlib.sha256(data).hexdigest()

        async def answer() -> Response:
            return Response(headers={"ETag": jobs.store(upload_id, number, signature, data)})

        return await service.deliver_asynch(request, answer)

    @router.post(f"{_PREFIX}/upload/complete")
    async def complete(request: Request) -> Response:
        service.check_key(request)
        content = parse_json(await request.body())
        if not isinstance(content, dict):
            raise ApiError(400, "INVALID_REQUEST", "The body must be a JSON object")

        async def answer() -> Response:
            job = jobs.get(content.get("request_id"))
            jobs.complete(job, content.get("upload_id"), content.get("parts"))
            return json_answer({"request_id": job.request_id, "status": job.state})

        return await service.deliver_asynch(request, answer)

    @router.get(f"{_PREFIX}/status/{{request_id}}")
    async def status(request: Request, request_id: str, *, comprehensive_output: bool = False) -> Response:
        service.check_key(request)
        service.journal.count("polls")

        async def answer() -> Response:
            job = jobs.get(request_id)
            content: dict[str, Any] = {"request_id": request_id, "status": job.state}
            if job.state == "completed":
                content["emotions"] = _format_timeline(
                    job.result["emotions"], service.timeline, full=comprehensive_output
                )
            elif job.state == "failed":
                content.update(job.result)
            return json_answer(content)

        return await service.deliver_asynch(request, answer)

    @router.api_route("/redirected", methods=["GET", "POST"])
    async def redirected(request: Request) -> Response:
        if "x-api-key" in request.headers:
            service.journal.count("key_leaks")
        raise ApiError(400, "REDIRECTED", "A redirect to another host was followed")

    return router


def _timeline(data: bytes, policy: Policy | None) -> tuple[float, list[dict[str, Any]]]:
    """Return the duration, and one segment for each 5 s; the last may be shorter."""
    audio = read_wav(data)
    if audio.duration < MIN_SECONDS - 1e-9:
        raise ApiError(
            400,
            "AUDIO_TOO_SHORT",
            f"Audio is too short: {audio.duration:.2f} s, at least {MIN_SECONDS} s are needed",
            min_duration_seconds=MIN_SECONDS,
            actual_duration_seconds=round(audio.duration, 3),
        )
    max_seconds = policy.max_audio_duration_seconds if policy is not None else None
    if max_seconds is not None and audio.duration > max_seconds:
        raise ApiError(
            400,
            "AUDIO_TOO_LONG",
            f"Audio is too long: {audio.duration:.2f} s, the policy allows {max_seconds} s",
            max_duration_seconds=max_seconds,
            actual_duration_seconds=round(audio.duration, 3),
        )
    segments = []
    start = 0.0
    while start < audio.duration - 1e-9:
        segments.append(_segment(audio, start, min(start + SEGMENT_SECONDS, audio.duration)))
        start += SEGMENT_SECONDS
    return audio.duration, segments


def _segment(audio: Audio, start: float, end: float) -> dict[str, Any]:
    confidences = scores(audio.cut(start, end), audio.rate, "4emotions")
    emotion = max(confidences, key=confidences.__getitem__)
    return {
        "timestamp": round((start + end) / 2, 3),
        "start_time": start,
        "end_time": round(end, 3),
        "emotion": emotion,
        "confidence": confidences[emotion],
        "all_predictions": confidences,
    }


def _format_timeline(segments: list[dict[str, Any]], timeline: str, *, full: bool) -> list[dict[str, Any]]:
    if timeline == "t":
        return [
            {
                "t": f"{int(segment['start_time']) // 60:02d}:{int(segment['start_time']) % 60:02d}",
                "emotion": segment["emotion"],
                "confidence": segment["confidence"],
            }
            for segment in segments
        ]
    if full:
        return segments
    return [{name: value for name, value in segment.items() if name != "all_predictions"} for segment in segments]


def _check_size(size: int, policy: Policy | None) -> None:
    limit = MAX_BYTES
    if policy is not None and policy.max_audio_size_mb is not None:
        limit = min(limit, int(policy.max_audio_size_mb * 1024**2))
    if size > limit:
        raise ApiError(
            400,
            "FILE_TOO_LARGE",
            f"File size exceeds the maximum of {limit / 1024**2:g} MB",
            max_file_size_bytes=limit,
            actual_file_size_bytes=size,
        )


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
