"""All error codes; the table in docs/errors.md explains each."""

from __future__ import annotations

from typing import Literal, TypeAlias

__all__ = ["Code"]

#: Stable: a code is never renamed, and its meaning never changes.
Code: TypeAlias = Literal[
    # the item and its audio
    "item_invalid",
    "audio_not_found",
    "audio_path_invalid",
    "audio_open_failed",
    "url_not_fetched",
    "audio_format_unknown",
    "audio_needs_av",
    "audio_damaged",
    "audio_changed",
    "audio_empty",
    "audio_unreadable",
    "waveform_invalid",
    "sampling_rate_invalid",
    "audio_too_short",
    "audio_too_long",
    "file_too_large",
    "segments_invalid",
    "segment_outside_audio",
    "segments_failed",
    "no_memory",
    # the call
    "bad_request",
    "endpoint_not_found",
    "rate_limited",
    "server_error",
    "network_unreachable",
    "tls_failed",
    "connection_broken",
    "network_error",
    "read_timeout",
    "invalid_response",
    # long items
    "upload_url_refused",
    "upload_unknown",
    "asynch_failed",
    "asynch_expired",
    "asynch_timeout",
    # the job
    "invalid_setting",
    "invalid_environment",
    "settings_conflict",
    "emotions_unknown",
    "column_not_found",
    "column_conflict",
    "input_invalid",
    "output_invalid",
    "missing_key",
    "authentication_failed",
    "redirected",
    "budget_exceeded",
    "service_unavailable",
    "no_threads",
    "forked_job",
    "process_ended",
    # the rest
    "batch_failed",
    "missing_dependency",
    "not_recorded",
    "other",
]
