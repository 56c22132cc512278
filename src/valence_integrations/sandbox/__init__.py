"""A local stand-in for the Valence API, for tests, demos and benchmarks.

`Sandbox` serves the whole service over real HTTP from a thread of this process; ``python -m
valence_integrations.sandbox`` runs it as a command. `Faults` makes it fail on purpose, `Policy` makes it enforce rate
limits. Its scores come from a small acoustic rule (pitch, energy, spectral tilt). **It is not an emotion model**, and
the ``model_type`` of its answers says so.

It shares no code with the clients of this library, so that a misreading of the API cannot pass every test.
"""

from __future__ import annotations

from collections.abc import Sequence as Sequence  # the annotations of Faults name it

from ._faults import Faults
from ._journal import RequestRecord
from ._policy import Policy
from ._sandbox import Sandbox

__all__ = ["Faults", "Policy", "RequestRecord", "Sandbox"]

for _public in (Faults, Policy, RequestRecord, Sandbox):
    _public.__module__ = __name__
