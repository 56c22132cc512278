"""The engine: annotate items concurrently and in order; pay for each distinct clip once."""

from __future__ import annotations

from typing import Any as Any  # the annotations of Segmented name it

from valence_integrations.engine._engine import Engine
from valence_integrations.engine._estimate import Estimate
from valence_integrations.engine._progress import Progress
from valence_integrations.engine._segmented import Segmented
from valence_integrations.engine._shared import check_engine as check_engine
from valence_integrations.engine._shared import close_shared as close_shared
from valence_integrations.engine._shared import given_settings as given_settings
from valence_integrations.engine._shared import shared_engine as shared_engine
from valence_integrations.engine._stats import Stats
from valence_integrations.engine._warnings import calling_line as calling_line
from valence_integrations.engine._warnings import warn_outside as warn_outside
from valence_integrations.engine._warnings import warn_partial_failure as warn_partial_failure
from valence_integrations.engine._warnings import warn_unknown_emotions as warn_unknown_emotions
from valence_integrations.errors import ItemError as ItemError  # the annotations of Estimate name it
from valence_integrations.settings import ShortSegments as ShortSegments  # and those of Segmented this

__all__ = ["Engine", "Estimate", "Progress", "Segmented", "Stats"]

for _public in (Engine, Estimate, Progress, Segmented, Stats):
    _public.__module__ = __name__
