"""The Ray actor that issues an account's permits for the whole cluster, and its client."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import ActorDiedError

from valence_integrations._cluster.client import ClusterClient
from valence_integrations._cluster.server import ClusterServer, account_of
from valence_integrations._version import __version__
from valence_integrations.settings import Settings

__all__ = ["NAMESPACE", "cluster_client", "limiter"]

#: Fixed, because in the namespace of a job each job would have a limiter of its own.
NAMESPACE = "valence"

#: A fraction of the resource that only the head node has, so that a restarted limiter finds its files.
_FIRST_NODE = {"node:__internal_head__": 0.001}

#: Calls to a limiter that keeps dying, before giving up.
_ATTEMPTS = 5

_log = logging.getLogger("valence_integrations")


def limiter(settings: Settings) -> Any:
    """Return the limiter of an account; create it if it does not exist."""
    account = account_of(settings)
    # The limiter's cache setting is fixed by the first caller. Callers with another setting get another limiter; two
    # limiters with the same files still share the limits.
    kind = hashlib.blake2b(f"{__version__}\n{settings.cache}".encode(), digest_size=4).hexdigest()
    actor = ray.remote(ClusterServer).options(
        name=f"{account}-{kind}",
        namespace=NAMESPACE,
        get_if_exists=True,
        # It outlives the worker that created it and the job, because the next job has the same limits.
        lifetime="detached",
        num_cpus=0,
        resources=_FIRST_NODE,
        max_restarts=-1,
        max_task_retries=-1,
        # It needs no key; without this it would inherit that of the worker that creates it.
        runtime_env={"env_vars": {"VALENCE_API_KEY": ""}},
    )
    return actor.remote(settings, account)


def cluster_client(settings: Settings, *, shares_answers: bool) -> ClusterClient:
    """Return a client of the limiter, which creates a new limiter if it was killed."""
    actor = limiter(settings)

    def call(method: str, *args: Any) -> Any:
        return getattr(actor, method).remote(*args)

    def ask(method: str, *args: Any) -> Any:
        nonlocal actor
        died: ActorDiedError | None = None
        for _ in range(_ATTEMPTS):
            try:
                return ray.get(call(method, *args))
            except ActorDiedError as error:
                died = error
                _log.warning("the cluster's limiter died; starting a new one")
                actor = limiter(settings)
        assert died is not None
        raise died

    tell: Callable[..., object] = call
    return ClusterClient(ask, tell, shares_answers=shares_answers)
