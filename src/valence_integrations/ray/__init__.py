"""Ray Data: audio columns in, emotion columns out, on every machine of a cluster.

::

    import ray
    from valence_integrations.ray import annotate_ray_dataset

    ray.init(runtime_env={"env_vars": {"VALENCE_API_KEY": ...}})
    ds = ray.data.read_binary_files("s3://bucket/calls/", include_paths=True)
    annotate_ray_dataset(ds, "bytes").drop_columns(["bytes"]).write_parquet("s3://bucket/emotions/")

The workers of all nodes share the account's limits: one small actor on the cluster's first node issues the permits.
"""

from __future__ import annotations

from valence_integrations.ray._actor import ValenceActor
from valence_integrations.ray._dataset import annotate_ray_dataset

__all__ = ["ValenceActor", "annotate_ray_dataset"]

for _public in (ValenceActor, annotate_ray_dataset):
    _public.__module__ = __name__
