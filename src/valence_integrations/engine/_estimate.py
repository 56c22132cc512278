"""Estimate a job before its first call, from headers, digests and the cache."""

from __future__ import annotations

import copy
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from valence_integrations._audio import wav
from valence_integrations._audio.clip import Clip
from valence_integrations._audio.open import open_clip
from valence_integrations._audio.routing import MAX_BYTES, Route, decide, prepare
from valence_integrations._format import counted, size, span
from valence_integrations._limits.policy import Policy, Window, minimum_seconds
from valence_integrations._store.cache import cache_key
from valence_integrations.engine._process import ProcessResources
from valence_integrations.engine._receipts import UploadReceipts
from valence_integrations.engine._recipes import Recipe, file_digest, recipe_key
from valence_integrations.engine._segmented import Segmented, combine_errors, excerpts
from valence_integrations.errors import ItemError
from valence_integrations.settings import RateLimits, Settings

__all__ = [
    "Estimate",
    "estimate",
]

#: Body of a call with ``payload="json"``: 198 450 numbers of 7 to 10 characters (measured).
_JSON_BYTES = 1_800_000

#: Bytes kept of a digest: no two of 10^12 items collide by chance.
_DIGEST_BYTES = 16

_MAX_LISTED = 3


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Estimated calls, data and time of a job, from headers, digests and the cache.

    ``print`` shows it as a table.

    Attributes
    ----------
    items : int
        Number of items.
    missing : int
        Items that are ``None``, NaN or another missing value, or have no segments.
    unreadable : dict of int to ItemError
        By position, the error of each item that would fail before any call: unreadable, or of a length for which the
        policy is ``"error"``. A `Segmented` item is listed if a segment fails so; calls for the others are counted.
    skipped : int
        Items that are not sent because of their length.
    padded : int
        Items that are lengthened.
    chunked : int
        Items that are cut into several clips.
    asynch : int
        Items that go to the AsynchAPI.
    distinct : int
        Distinct items among those to be sent.
    cached : int
        Distinct items whose answer is in the cache, or whose earlier upload can be resumed.
    undecoded : int
        Distinct items counted as billable, because only decoding could tell whether they are cached.
    uncut : int
        Distinct items to be cut whose cuts, which depend on the pauses, only decoding could tell: how many calls they
        need is estimated from their length. Those are compressed, stereo or over 8 MB.
    calls : int
        Billable calls, including uploads, without retries. Approximate if there are `uncut` items.
    audio_seconds : float
        Billable seconds of audio, counted as for ``max_audio_seconds``.
    bytes : int
        Bytes to be sent.
    seconds : float
        Shortest time that the account's rate limits allow.
    """

    items: int
    missing: int
    unreadable: dict[int, ItemError] = field(repr=False)
    skipped: int
    padded: int
    chunked: int
    asynch: int
    distinct: int
    cached: int
    undecoded: int
    uncut: int
    calls: int
    audio_seconds: float
    bytes: int
    seconds: float

    @property
    def audio_minutes(self) -> float:
        """Minutes of billable audio."""
        return self.audio_seconds / 60

    def __str__(self) -> str:
        rows = [
            ("items", f"{self.items:,}"),
            *((f"  {name}", f"{getattr(self, name):,}") for name in ("missing", "skipped")),
            ("  unreadable", f"{len(self.unreadable):,}"),
            *((f"  {name}", f"{getattr(self, name):,}") for name in ("padded", "chunked", "asynch")),
            ("distinct", f"{self.distinct:,}"),
            ("  cached", f"{self.cached:,}"),
            ("to be paid", ""),
            ("  calls", f"{'about ' if self.uncut else ''}{self.calls:,}"),
            ("  audio", f"{self.audio_minutes:,.1f} min"),
            ("  bytes", size(self.bytes)),
            ("  at best", span(self.seconds)),
        ]
        width = max(len(value) for _, value in rows)
        lines = [f"{name:<14}{value:>{width}}".rstrip() for name, value in rows]
        if self.undecoded:
            lines.append(f"{self.undecoded:,} must be decoded to tell whether they are cached: counted as billable.")
        if self.uncut:
            lines.append(f"{counted(self.uncut, 'item')} must be decoded to be cut: the number of cuts is an estimate.")
        lines += [f"item {index}: {error}" for index, error in islice(self.unreadable.items(), _MAX_LISTED)]
        if len(self.unreadable) > _MAX_LISTED:
            lines.append(f"and {len(self.unreadable) - _MAX_LISTED:,} more in .unreadable")
        return "\n".join(lines)


class _Call(NamedTuple):
    """A call that an item needs: its API and digest, the billable seconds, the bytes to send."""

    api: str
    digest: str
    seconds: float
    size: int


class _CallPlan(NamedTuple):
    """Calls that an item needs, `exact` if the job makes exactly these, and the error of its segments that fail."""

    calls: tuple[_Call, ...] = ()
    padded: bool = False
    exact: bool = True
    error: ItemError | None = None


def estimate(items: Iterable[object], resources: ProcessResources) -> Estimate:
    """Estimate a job without calling the service."""
    settings = resources.settings
    plan_calls = _CallPlanner(settings, resources)
    counts: Counter[str] = Counter()
    unreadable: dict[int, ItemError] = {}
    seen: set[bytes] = set()
    billed: set[bytes] = set()
    calls = sent = 0
    seconds = 0.0
    for index, item in enumerate(items):
        counts["items"] += 1
        clip = None
        try:
            clip = open_clip(item.audio if isinstance(item, Segmented) else item, settings.sampling_rate)
            plan = None if clip is None else plan_calls(clip, item if isinstance(item, Segmented) else None)
        except ItemError as error:
            unreadable[index] = _own_copy(error, clip)
            continue
        if plan is None:
            counts["missing"] += 1
            continue
        if plan.error is not None:
            unreadable[index] = plan.error
        if not plan.calls:
            counts["skipped"] += plan.error is None
            continue
        counts["padded"] += plan.padded
        counts["asynch"] += plan.calls[0].api == "asynch"
        counts["chunked"] += len(plan.calls) > 1
        keys = [_short_digest(call.api, call.digest) for call in plan.calls]
        identity = keys[0] if len(keys) == 1 else _short_digest(*map(bytes.hex, keys))
        if identity in seen:
            continue
        seen.add(identity)
        todo = [
            (key, call)
            for key, call in zip(keys, plan.calls, strict=True)
            if not (plan.exact and _is_answered(resources, call))
        ]
        counts["cached"] += not todo
        counts["undecoded"] += not plan.exact
        counts["uncut"] += not plan.exact and len(plan.calls) > 1
        for key, call in todo:
            if key not in billed:
                billed.add(key)
                calls, seconds, sent = calls + 1, seconds + call.seconds, sent + call.size
    return Estimate(
        items=counts["items"],
        missing=counts["missing"],
        unreadable=unreadable,
        skipped=counts["skipped"],
        padded=counts["padded"],
        chunked=counts["chunked"],
        asynch=counts["asynch"],
        distinct=len(seen),
        cached=counts["cached"],
        undecoded=counts["undecoded"],
        uncut=counts["uncut"],
        calls=calls,
        audio_seconds=seconds,
        bytes=sent,
        seconds=minimum_seconds(calls, _windows(settings)),
    )


class _CallPlanner:
    """Plan the calls that a clip needs.

    If the samples are in memory (a waveform, or a small WAV file that is sent unchanged), the audio is prepared as in
    the job, so the calls are exact. They are also exact for a file that was sent before. Otherwise they are derived
    from the header, and the bytes of the file identify the item.
    """

    def __init__(self, settings: Settings, resources: ProcessResources) -> None:
        self._settings = settings
        self._cache = resources.cache
        self._envelope = sum(map(len, resources.discrete.body(b""))) if settings.payload == "multipart" else None

    def __call__(self, clip: Clip, segmented: Segmented | None = None) -> _CallPlan | None:
        """Plan a clip or, if it is `segmented`, its segments; return None if there are none."""
        if segmented is not None:
            return self._by_segments(clip, segmented)
        route = decide(clip.duration, self._settings)
        if route.source is None:
            return _CallPlan()
        in_memory = not clip.is_file or (clip.ready and isinstance(clip.source, bytes))
        untouched = clip.ready and route.change is None and route.source != "chunk"
        if untouched and (route.source == "asynch" or clip.size <= MAX_BYTES):
            return _CallPlan((self._call(route.source, clip.digest(), clip.duration, clip.size),))
        if in_memory:
            return self._by_samples(clip)
        key = recipe_key(clip, self._settings)
        known = self._cache.recipe(key) if key is not None and self._cache is not None else None
        if known is not None:
            return self._by_recipe(Recipe.from_value(known))
        # A recipe's key depends on the file's bytes, so it identifies them as well as their digest does.
        return self._by_header(route, clip.rate, key or clip.digest())

    def _by_recipe(self, recipe: Recipe) -> _CallPlan:
        calls = [self._call(recipe.source, sent.digest, sent.end - sent.start, sent.size) for sent in recipe.parts]
        return _CallPlan(tuple(calls), recipe.padded)

    def _by_samples(self, clip: Clip) -> _CallPlan:
        clip, route, parts = prepare(clip, self._settings)
        if route.source == "asynch":
            data = clip.wav()
            return _CallPlan((self._call("asynch", file_digest(data), route.duration, len(data)),))
        calls = [self._call(route.source, part.digest, part.seconds, part.size) for part in parts]
        return _CallPlan(tuple(calls), route.padded)

    def _by_segments(self, clip: Clip, item: Segmented) -> _CallPlan | None:
        """Cut out the segments and plan each by itself, as the job does; segments that fail need no call."""
        cuts = excerpts(item, clip).audio
        if not cuts:
            return None
        plans: list[_CallPlan] = []
        failures: list[ItemError] = []
        for cut in cuts:
            if isinstance(cut, ItemError):
                failures.append(_own_copy(cut))
                continue
            try:
                plans.append(self._by_samples(cut))
            except ItemError as error:
                failures.append(_own_copy(error, cut))
        return _CallPlan(
            tuple(call for plan in plans for call in plan.calls),
            any(plan.padded for plan in plans),
            error=combine_errors(failures, len(cuts)),
        )

    def _by_header(self, route: Route, rate: int, identity: str) -> _CallPlan:
        calls = [
            self._call(
                route.source, f"source {identity} {number}", seconds, wav.HEADER_SIZE + 2 * round(seconds_sent * rate)
            )
            for number, (seconds, seconds_sent) in enumerate(route.calls)
        ]
        return _CallPlan(tuple(calls), route.padded, exact=False)

    def _call(self, source: str | None, digest: str, seconds: float, size: int) -> _Call:
        if source == "asynch":
            return _Call("asynch", digest, seconds, size)
        return _Call("discrete", digest, seconds, _JSON_BYTES if self._envelope is None else self._envelope + size)


def _own_copy(error: ItemError, clip: Clip | None = None) -> ItemError:
    """Copy the error of a clip, without the traceback, whose frames hold audio."""
    own = copy.copy(error)
    return own if clip is None else own.named(clip.name)


def _is_answered(resources: ProcessResources, call: _Call) -> bool:
    """Whether the answer to a call is in the cache, or its upload can be resumed."""
    cache, settings = resources.cache, resources.settings
    if cache is None:
        return False
    if cache.get(cache_key(settings, call.api, call.digest)) is not None:
        return True
    return call.api == "asynch" and UploadReceipts(cache, settings).find(call.digest) is not None


def _windows(settings: Settings) -> Sequence[Window]:
    """Windows of the settings, else of the documented standard policy: asking the service would be a call."""
    if settings.limits is None:
        return ()
    return Policy.from_limits(settings.limits if isinstance(settings.limits, RateLimits) else RateLimits()).windows


def _short_digest(*names: str) -> bytes:
    return hashlib.blake2b("\n".join(names).encode(), digest_size=_DIGEST_BYTES).digest()
