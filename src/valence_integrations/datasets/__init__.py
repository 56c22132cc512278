"""Hugging Face `datasets`: audio columns in, emotion columns out.

::

    from datasets import Audio, Dataset
    from valence_integrations import valence_annotate

    dataset = Dataset.from_dict({"audio": paths}).cast_column("audio", Audio())
    dataset = dataset.map(valence_annotate, batched=True)

`valence_annotate` reads its settings from the environment; `ValenceAnnotator` takes them as parameters;
`annotate_dataset` annotates a whole dataset, a dict of splits, or a stream.
"""

from __future__ import annotations

from valence_integrations.datasets._annotator import ValenceAnnotator
from valence_integrations.datasets._dataset import annotate_dataset

__all__ = ["ValenceAnnotator", "annotate_dataset", "valence_annotate"]

for _public in (ValenceAnnotator, annotate_dataset):
    _public.__module__ = __name__

#: An annotator that reads all settings from the environment: ``dataset.map(valence_annotate, batched=True)``.
valence_annotate = ValenceAnnotator()
