"""Check the AsynchAPI's answers before the vendor's SDK reads them, which trusts them and hides states of a job."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from valence_integrations import errors
from valence_integrations._service.answer import Answer

__all__ = ["check_completed", "check_initiated", "check_state"]

#: States of a job that is not finished [SDK].
_UNFINISHED = ("initiated", "upload_completed", "processing")

#: What a request id may be: it becomes part of a URL. A masked key does not match.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._~:@=+-]{1,200}")

_REMEDY = "Check base_url; if it is correct, report this."


def check_initiated(answer: Answer, part_count: int) -> tuple[str, list[str]]:
    """Check the answer to an upload's start; return the request id and the URLs of the parts.

    The SDK sends the parts of the file in the order of the URLs, as many as there are.

    Raises
    ------
    InvalidResponseError
        If there is no valid request id, or not one URL for each part in order.
    """
    content = answer.json_object("the answer to the upload")
    request_id = content.get("request_id")
    if not isinstance(request_id, (str, int)) or not _REQUEST_ID.fullmatch(str(request_id)):
        raise errors.InvalidResponseError("the answer to the upload has no valid request id.", remedy=_REMEDY)
    parts = content.get("presigned_urls")
    rows = [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    urls = [row["url"] for row in rows if isinstance(row.get("url"), str)]
    if len(urls) != part_count or [row.get("part_number") for row in rows] != list(range(1, part_count + 1)):
        raise errors.InvalidResponseError(
            f"the answer to the upload does not have one URL for each of the {part_count} parts.", remedy=_REMEDY
        )
    return str(request_id), urls


def check_completed(answer: Answer) -> None:
    """Check the answer to the last step of an upload, of which no document says more than that it is there.

    Raises
    ------
    InvalidResponseError
        If it is a web page, as proxies and captive portals send it.
    """
    if answer.content.lstrip().startswith(b"<"):
        raise errors.InvalidResponseError("the answer to the upload is a web page.", remedy=_REMEDY)


def check_state(answer: Answer, request_id: str) -> str:
    """Check the answer to a poll; return the state of a job that is unfinished, or completed with a timeline.

    Raises
    ------
    AsynchFailedError
        If the service says ``failed``.
    InvalidResponseError
        If it says anything else, which does not mean that the job failed.
    """
    if answer.status_code == 202:
        return "initiated" if b'"initiated"' in answer.content else "processing"
    content = answer.json_object("the answer to the poll")
    state = content.get("status")
    if str(content.get("request_id", request_id)) != request_id:
        raise errors.InvalidResponseError(
            f"the answer to the poll is about another request than {request_id}.", remedy=_REMEDY
        )
    if state == "failed":
        reason = str(content.get("error") or content.get("error_code") or "no reason given")[:300]
        raise errors.AsynchFailedError(
            f"the service could not process it ({reason.rstrip('.')}).",
            remedy='Check the audio, or try long_audio="chunk".',
        )
    if state in _UNFINISHED or (state == "completed" and answer.status_code == 200 and _has_timeline(content)):
        return str(state)
    what = (
        "the job is completed, but has no timeline" if state == "completed" else f"unknown status {str(state)[:100]!r}"
    )
    raise errors.InvalidResponseError(
        f"cannot parse the answer to the poll ({what}).", status_code=answer.status_code, remedy=_REMEDY
    )


def _has_timeline(content: Mapping[str, Any]) -> bool:
    results = content.get("results")
    return any(
        isinstance(holder, dict) and isinstance(holder.get("emotions"), list) and bool(holder["emotions"])
        for holder in (content, results)
    )
