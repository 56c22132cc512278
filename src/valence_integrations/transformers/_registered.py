"""The model, configuration and pipeline classes for ``transformers.pipeline``.

No other module of this library imports torch or transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

import torch
from transformers import AutoConfig, Pipeline, PretrainedConfig, PreTrainedModel
from transformers.pipelines import PIPELINE_REGISTRY

from valence_integrations.engine import Engine, given_settings, shared_engine
from valence_integrations.results import EmotionPrediction
from valence_integrations.settings import EMOTIONS, OnError, Settings, check_choice
from valence_integrations.transformers._outputs import Parameters, classify

__all__ = ["ValenceConfig", "ValenceModel", "register"]

TASK = "valence-emotion"


class ValenceConfig(PretrainedConfig):  # type: ignore[misc]
    """Name of the service's model, and its labels.

    It does not hold the service's address, so that a folder from an untrusted source cannot redirect the key.
    """

    model_type = TASK

    def __init__(self, model: str = "4emotions", id2label: Mapping[Any, str] | None = None, **others: Any) -> None:
        labels = list(id2label.values()) if id2label else EMOTIONS.get(model, ())
        others["label2id"] = {label: number for number, label in enumerate(labels)}
        super().__init__(id2label=dict(enumerate(labels)), **others)
        self.model = model


class ValenceModel(PreTrainedModel):  # type: ignore[misc]
    """The Valence API as a model for ``transformers.pipeline("valence-emotion", model=ValenceModel())``.

    It has no weights: its pipeline calls the service. Settings that are not given are read from the environment when
    the model is created, see `Settings`.

    Parameters
    ----------
    model : str, optional
        ``"4emotions"`` (the default), ``"7emotions"`` or the name of a custom model.
    engine : Engine, optional
        An engine to use, with its settings; no other settings can then be given.
    **settings
        As for `Settings`.

    Attributes
    ----------
    engine : Engine
        The engine that makes the predictions.
    config : PretrainedConfig
        The model's name, and its labels.

    Raises
    ------
    SettingsError
        If a setting has an invalid value.

    See Also
    --------
    register_pipeline : Must be called first.
    ValenceEmotionPipeline : The same without torch and transformers.

    Notes
    -----
    ``save_pretrained`` saves the name of the model and its labels, but no settings and no key:
    ``ValenceModel.from_pretrained(folder, ...)`` reads them from its arguments or the environment.

    Examples
    --------
    >>> import numpy as np
    >>> from transformers import pipeline
    >>> from valence_integrations import ValenceModel, register_pipeline
    >>> from valence_integrations.sandbox import Sandbox
    >>> register_pipeline()
    >>> hum = np.sin(np.arange(6 * 16_000) * 0.08)
    >>> with Sandbox() as sandbox:
    ...     model = ValenceModel(base_url=sandbox.url, api_key=sandbox.api_key, cache=False)
    ...     classify = pipeline("valence-emotion", model=model, top_k=2)
    ...     labels = classify([hum, hum / 2])
    >>> [len(label) for label in labels]
    [2, 2]
    """

    config_class = ValenceConfig
    main_input_name = "audio"
    input_modalities = "audio"

    def __init__(
        self, model: str | ValenceConfig | None = None, *, engine: Engine | None = None, **settings: Any
    ) -> None:
        config = None
        if isinstance(model, ValenceConfig):
            # from_pretrained passes the configuration.
            config, model = model, model.model
            settings = {"emotions": tuple(config.id2label.values()), **settings}
        given = given_settings(engine, model=model, **settings)
        engine = shared_engine(Settings(**given)) if engine is None else engine
        super().__init__(config or ValenceConfig(engine.settings.model, dict(enumerate(engine.settings.columns))))
        self.engine = engine
        # Transformers can neither place nor save a model without any weight.
        self.unused = torch.nn.Parameter(torch.zeros(1), requires_grad=False)
        self.post_init()


ValenceModel.__module__ = "valence_integrations.transformers"


class ValencePipeline(Pipeline):  # type: ignore[misc]
    """The pipeline that ``transformers.pipeline("valence-emotion")`` returns.

    A call passes all inputs to the engine at once. The stages of the base class (`preprocess`, `forward`,
    `postprocess`) handle a single item, and only serve code that calls them directly.
    """

    _load_tokenizer = False
    _load_feature_extractor = False
    _load_image_processor = False
    _load_video_processor = False
    _load_processor = False

    def __init__(self, *args: Any, on_error: OnError = "raise", **others: Any) -> None:
        check_choice("on_error", on_error, get_args(OnError))
        super().__init__(*args, **others)
        self.on_error: OnError = on_error
        self._parameters = Parameters().changed(
            batch_size=self._batch_size, num_workers=self._num_workers, **self._postprocess_params
        )

    def __call__(self, inputs: Any, **parameters: Any) -> Any:
        """Classify one item or a collection, as `ValenceEmotionPipeline` does."""
        return classify(self.model.engine, inputs, self._parameters.changed(**parameters), self.on_error)

    def _sanitize_parameters(self, **parameters: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        return {}, {}, parameters

    def preprocess(self, item: Any) -> dict[str, Any]:
        """Stage 1 for one item: wrap it in a dict."""
        return {"audio": item}

    def _forward(self, inputs: dict[str, Any]) -> EmotionPrediction:
        found: EmotionPrediction = self.model.engine.predict(inputs["audio"])
        return found

    def postprocess(self, found: EmotionPrediction, **parameters: Any) -> Any:
        """Stage 3 for one item: its labels."""
        return self._parameters.changed(**parameters).output(found, self.model.engine.settings.columns)

    def save_pretrained(self, save_directory: Any, **others: Any) -> None:
        """Save the model's name and labels, but not the code of the pipeline, which is part of this library."""
        self.model.save_pretrained(save_directory, **others)


def register() -> None:
    """Register the task and the configuration with transformers."""
    AutoConfig.register(TASK, ValenceConfig, exist_ok=True)
    if TASK not in PIPELINE_REGISTRY.get_supported_tasks():
        PIPELINE_REGISTRY.register_pipeline(TASK, ValencePipeline, pt_model=ValenceModel, type="audio")
