"""The one actor of a Ray cluster that gives out an account's permits, and the way to it."""

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

#: Where the actor's name counts: a job's own namespace would give each job a limiter of its own.
NAMESPACE = "valence"

#: A little of what the cluster's first node has one of, so that a limiter that is started again finds its files.
_FIRST_NODE = {"node:__internal_head__": 0.001}

#: A limiter that dies each time that it is made is not made again.
_ATTEMPTS = 5

_log = logging.getLogger("valence_integrations")


def limiter(settings: Settings) -> Any:
    """Return the limiter of an account, which is made if there is none."""
    account = account_of(settings)
    # Where it finds its files is the first one's to say; those who say something else have one of their own, and
    # at the same files the two keep the same limits.
    kind = hashlib.blake2b(f"{__version__}\n{settings.cache}".encode(), digest_size=4).hexdigest()
    actor = ray.remote(ClusterServer).options(
        name=f"{account}-{kind}",
        namespace=NAMESPACE,
        get_if_exists=True,
        # It outlives the worker that made it, and the job, whose limits are those of the next one, too.
        lifetime="detached",
        num_cpus=0,
        resources=_FIRST_NODE,
        max_restarts=-1,
        max_task_retries=-1,
        # It needs no key, and would else inherit that of the worker that makes it.
        runtime_env={"env_vars": {"VALENCE_API_KEY": ""}},
    )
    return actor.remote(settings, account)


def cluster_client(settings: Settings, *, shares_answers: bool) -> ClusterClient:
    """Make the way to the limiter; if it was killed for good, there will be another."""
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
                _log.warning("the limiter of the cluster is gone: it is made anew")
                actor = limiter(settings)
        assert died is not None
        raise died

    tell: Callable[..., object] = call
    return ClusterClient(ask, tell, shares_answers=shares_answers)
