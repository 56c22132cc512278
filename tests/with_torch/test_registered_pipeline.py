"""The genuine ``transformers.pipeline("valence-emotion", model=ValenceModel(...))``."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from datasets import Audio, Dataset, IterableDataset
from transformers import AutoConfig, Pipeline, pipeline
from transformers.pipelines.pt_utils import KeyDataset

from tests.conftest import EXAMPLES, voice
from valence_integrations import Engine, Settings, ValenceEmotionPipeline, ValenceModel, errors, register_pipeline
from valence_integrations.sandbox import Sandbox

SPEECH = [str(EXAMPLES / "audio" / name) for name in ("ben_happy.wav", "ben_sad.ogg", "carl_angry.flac")]
ENCODED = Dataset.from_dict({"audio": SPEECH}).cast_column("audio", Audio())
KEY = "a-very-secret-key"


def registered(**parameters: Any) -> Pipeline:
    return pipeline("valence-emotion", model=ValenceModel(), **parameters)


@pytest.fixture
def blocked_network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Block connections to and name lookups of other machines; return the attempts."""
    attempts: list[str] = []
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] != "127.0.0.1":
            attempts.append(str(address))
            raise OSError("no network")
        connect(self, address)

    def guarded_lookup(host: Any, *others: Any, **more: Any) -> Any:
        if host not in ("127.0.0.1", "localhost"):
            attempts.append(str(host))
            raise socket.gaierror("no network")
        return look_up(host, *others, **more)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_lookup)
    return attempts


def test_is_a_transformers_pipeline() -> None:
    pipe = registered()
    assert isinstance(pipe, Pipeline)
    assert pipe.task == "valence-emotion"
    assert pipe.device == torch.device("cpu")
    assert pipe.model.config.id2label == {0: "angry", 1: "happy", 2: "neutral", 3: "sad"}
    assert "ValencePipeline" in repr(pipe)


def test_same_results_as_valence_emotion_pipeline(blocked_network: list[str]) -> None:
    pipe, ours = registered(), ValenceEmotionPipeline()
    expected = ours(SPEECH)
    assert pipe(SPEECH[0]) == expected[0]
    assert pipe(SPEECH) == pipe.predict(SPEECH) == pipe.transform(SPEECH) == expected
    for many in (iter(SPEECH), ENCODED, ENCODED["audio"], KeyDataset(ENCODED, "audio"), ENCODED.to_iterable_dataset()):
        assert list(pipe(many)) == expected
    assert pipe(SPEECH[0], return_timestamps=True) == ours(SPEECH[0], return_timestamps=True)
    assert pipe([]) == []
    assert pipe(None) == []
    assert blocked_network == []


def test_constructor_and_call_parameters() -> None:
    ours = ValenceEmotionPipeline()
    pipe = registered(
        top_k=2, function_to_apply="softmax", return_timestamps=True, batch_size=4, num_workers=2, device=-1
    )
    assert pipe(SPEECH[0]) == ours(SPEECH[0], top_k=2, function_to_apply="softmax", return_timestamps=True)
    changed = pipe(SPEECH, top_k=None, function_to_apply="none", return_timestamps=False, batch_size=1, num_workers=0)
    assert changed == ours(SPEECH)
    assert registered(top_k=1)(SPEECH[0], top_k=3) == ours(SPEECH[0], top_k=3)
    for wrong in ({"top_k": -1}, {"function_to_apply": "sigmoid"}, {"batch_size": 0}, {"on_error": "ignore"}):
        with pytest.raises(errors.SettingsError, match=f"^{next(iter(wrong))} must be"):
            registered(**wrong)
    with pytest.raises(TypeError, match="unexpected keyword argument 'api_key'"):
        registered(api_key=KEY)


def test_failures() -> None:
    with pytest.raises(FileNotFoundError, match=r"/nowhere/a\.wav"):
        registered()("/nowhere/a.wav")
    with pytest.raises(errors.BatchError, match=r"item 1: /nowhere/a\.wav"):
        registered()([SPEECH[0], "/nowhere/a.wav"])
    assert registered(on_error="null")([SPEECH[0], "/nowhere/a.wav"])[1] == []


def test_items_are_sent_concurrently_with_limited_prefetch() -> None:
    read = []

    def items() -> Iterator[np.ndarray]:
        for seed in range(60):
            read.append(seed)
            yield voice(5, seed=seed)

    with Sandbox(latency=0.05) as sandbox:
        model = ValenceModel(base_url=sandbox.url, api_key=sandbox.api_key, concurrency=4, cache=False)
        found = pipeline("valence-emotion", model=model)(items())
        assert read == []
        first = [next(found) for _ in range(10)]
        assert 10 < len(read) <= 30
        assert sandbox.max_in_flight >= 3
        del found
    assert first == ValenceEmotionPipeline()([voice(5, seed=seed) for seed in range(10)])


def test_preprocess_forward_and_postprocess() -> None:
    pipe = registered(top_k=2)
    (expected,) = ValenceEmotionPipeline(top_k=2)(SPEECH[:1])
    assert pipe.postprocess(pipe.forward(pipe.preprocess(SPEECH[0]))) == expected
    assert pipe.postprocess(pipe.forward(pipe.preprocess(SPEECH[0])), top_k=1) == expected[:1]
    assert pipe.run_single(SPEECH[0], {}, {}, {}) == expected


def test_registering_again_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    before = transformers.pipelines.PIPELINE_REGISTRY.check_task("valence-emotion")
    with caplog.at_level(logging.WARNING, "transformers"):
        register_pipeline()
    assert transformers.pipelines.PIPELINE_REGISTRY.check_task("valence-emotion") == before
    assert caplog.records == []


def test_model_settings(service: Sandbox) -> None:
    assert len(pipeline("valence-emotion", model=ValenceModel("7emotions", concurrency=2))(SPEECH[0])) == 7
    engine = Engine(Settings(emotions=("happy", "curious")))
    model = ValenceModel(engine=engine)
    assert model.engine is engine
    assert model.config.label2id == {"happy": 0, "curious": 1}
    with pytest.warns(UserWarning, match="No answer names curious"):
        labels = pipeline("valence-emotion", model=model)(SPEECH[0])
    assert [label["label"] for label in labels] == ["happy", "curious"]
    with pytest.raises(errors.SettingsError, match="Set model, base_url there"):
        ValenceModel("7emotions", engine=engine, base_url=service.url)
    with pytest.raises(errors.SettingsError, match="emotions of the model 'mine' are unknown"):
        ValenceModel("mine")


def test_key_is_never_shown_saved_or_pickled(tmp_path: Path) -> None:
    model = ValenceModel(api_key=KEY)
    pipe = pipeline("valence-emotion", model=model)
    pipe.save_pretrained(tmp_path / "pipe")
    model.save_pretrained(tmp_path / "model")
    saved = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert len(saved) == 4
    texts = [repr(pipe), str(model), repr(model.config), json.dumps(model.config.to_dict(), default=str)]
    for text in [*map(str.encode, texts), *saved, pickle.dumps(model), pickle.dumps(pipe)]:
        assert KEY.encode() not in text
    assert copy.deepcopy(model).engine.settings.api_key == KEY
    assert pickle.loads(pickle.dumps(pipe))(SPEECH) == ValenceEmotionPipeline()(SPEECH)


def test_saved_model_can_be_loaded(tmp_path: Path, blocked_network: list[str]) -> None:
    pipeline("valence-emotion", model=ValenceModel("mine", emotions=("happy", "sad"))).save_pretrained(tmp_path)
    model = ValenceModel.from_pretrained(tmp_path, long_audio="chunk", api_key=KEY)
    settings = model.engine.settings
    assert (settings.model, settings.columns, settings.long_audio) == ("mine", ("happy", "sad"), "chunk")
    assert settings.api_key == KEY
    ValenceModel().save_pretrained(tmp_path)
    assert pipeline("valence-emotion", model=str(tmp_path))(SPEECH) == ValenceEmotionPipeline()(SPEECH)
    assert blocked_network == []


def test_loaded_config_does_not_set_base_url_or_key(tmp_path: Path, service: Sandbox) -> None:
    ValenceModel().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "base_url": "https://example.com", "api_key": KEY}))
    settings = ValenceModel.from_pretrained(tmp_path).engine.settings
    assert settings.base_url == service.url
    assert settings.api_key == service.api_key
    assert AutoConfig.from_pretrained(tmp_path).model == "4emotions"


def test_config_without_model() -> None:
    config = AutoConfig.for_model("valence-emotion", model="7emotions")
    assert list(config.label2id) == list(Settings(model="7emotions").columns)
    assert ValenceModel(config).engine.settings.columns == Settings(model="7emotions").columns


def test_data_loader_batches_are_refused() -> None:
    loader = torch.utils.data.DataLoader([voice(5), voice(5)], batch_size=2)
    with pytest.raises(TypeError, match="DataLoader yields batches, not items: pass its dataset"):
        registered()(loader)


def test_stream_without_features_requires_column() -> None:
    def rows() -> Iterator[dict[str, str]]:
        yield from ({"audio": path} for path in SPEECH)

    stream = IterableDataset.from_generator(rows)
    with pytest.raises(TypeError, match=r"give the column .*dataset\['audio'\]"):
        registered()(stream)
    assert list(registered()(stream["audio"])) == ValenceEmotionPipeline()(SPEECH)
