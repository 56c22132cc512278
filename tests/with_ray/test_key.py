"""Where the key is stored and sent, and where it is not."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import ray
from ray import cloudpickle
from ray.exceptions import RayError

from tests.conftest import clips
from tests.with_ray.conftest import KEY, Nodes
from valence_integrations.errors import SettingsError
from valence_integrations.ray import ValenceActor, _limiter, annotate_ray_dataset
from valence_integrations.sandbox import Sandbox
from valence_integrations.settings import Settings


@pytest.mark.parametrize("refused", [{"api_key": "abc"}, {"engine": object()}])
def test_key_arguments_are_refused(refused: dict[str, object], nodes: Nodes) -> None:
    with pytest.raises(SettingsError, match=r"Set VALENCE_API_KEY in the environment of the nodes.*runtime_env"):
        ValenceActor(**refused)
    with pytest.raises(SettingsError, match="VALENCE_API_KEY"):
        annotate_ray_dataset(ray.data.from_items([{"audio": b""}]), **refused)


def test_key_is_not_pickled_and_not_in_the_limiter(nodes: Nodes, sandbox: Sandbox) -> None:
    ds = annotate_ray_dataset(ray.data.from_items([{"audio": b""}]), base_url=sandbox.url)
    assert KEY.encode() not in cloudpickle.dumps(ds)
    settings = Settings(base_url=sandbox.url)
    assert KEY.encode() not in cloudpickle.dumps(settings)
    limiter = _limiter.limiter(settings)
    assert ray.get(limiter.__ray_call__.remote(lambda _: os.environ["VALENCE_API_KEY"])) == ""


def test_key_from_runtime_environment(nodes: Nodes, make_sandbox: Callable[..., Sandbox]) -> None:
    with Sandbox(api_key="key-of-the-job") as sandbox:
        ds = ray.data.from_items([{"audio": clip} for clip in clips(3)])
        environment = {"env_vars": {"VALENCE_API_KEY": "key-of-the-job"}}
        done = annotate_ray_dataset(
            ds, base_url=sandbox.url, workers=1, ray_remote_args={"runtime_env": environment}
        ).take_all()
        assert [row["emotion_source"] for row in done] == ["discrete"] * 3


def test_missing_key_error_names_the_variable(nodes: Nodes, sandbox: Sandbox) -> None:
    ds = ray.data.from_items([{"audio": clip} for clip in clips(1)])
    environment = {"env_vars": {"VALENCE_API_KEY": ""}}
    done = annotate_ray_dataset(ds, base_url=sandbox.url, workers=1, ray_remote_args={"runtime_env": environment})
    with pytest.raises(RayError, match="Set the environment variable VALENCE_API_KEY"):
        done.take_all()
