from __future__ import annotations

import copy
import doctest
import io
import json
import pickle
import pprint
import warnings
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import soundfile
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder
from sklearn.utils import estimator_html_repr

import valence_integrations.sklearn
from tests.conftest import voice
from valence_integrations import EmotionPrediction, Engine, Settings, ValenceEmotionTransformer, errors
from valence_integrations.settings import Secret

EMOTIONS = ["angry", "happy", "neutral", "sad"]
KEY = "a-very-secret-key"


@pytest.fixture(autouse=True)
def account(clean_environment, sandbox, monkeypatch):
    monkeypatch.setenv("VALENCE_API_BASE_URL", sandbox.url)
    monkeypatch.setenv("VALENCE_API_KEY", sandbox.api_key)


@pytest.fixture(scope="session")
def waveforms() -> list[np.ndarray]:
    return [voice(seconds=5 + seed, seed=seed) for seed in range(3)]


@pytest.fixture(scope="session")
def files(waveforms, tmp_path_factory) -> list[str]:
    paths = [tmp_path_factory.mktemp("clips") / f"{index}.wav" for index in range(3)]
    for path, waveform in zip(paths, waveforms, strict=True):
        soundfile.write(path, waveform, 16_000)
    return [str(path) for path in paths]


@pytest.fixture
def expected(files) -> np.ndarray:
    """Scores of the files, as predicted by the engine."""
    rows = [[found.scores[name] for name in EMOTIONS] for found in Engine().predict_many(files)]
    assert len(np.unique(rows, axis=0)) == 3
    return np.array(rows)


class FakeEngine:
    """Returns given predictions, and records the arguments of the call."""

    def __init__(self, *predictions, **settings):
        self.predictions = list(predictions)
        self.settings = Settings(**settings)

    def predict_many(self, items, on_error="raise", progress=False):
        self.asked = {"items": list(items), "on_error": on_error, "progress": progress}
        return self.predictions


def predicted(emotion, **scores):
    return EmotionPrediction(emotion, scores.get(emotion, 0.5), scores, source="discrete")


# Valid X


class OnlyArray:
    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.array, dtype=dtype)


def read(files):
    return [Path(file).read_bytes() for file in files]


def structs(files):
    return [{"bytes": data, "path": None} for data in read(files)]


def objects(values):
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def arrow(values, kind):
    pa = pytest.importorskip("pyarrow")
    kinds = {
        "string": pa.string(),
        "large_binary": pa.large_binary(),
        "struct": pa.struct({"bytes": pa.binary(), "path": pa.string()}),
    }
    return pd.Series(pd.array(values, dtype=pd.ArrowDtype(kinds[kind])), name="audio")


def pyarrow_array(values):
    return pytest.importorskip("pyarrow").chunked_array([values[:1], values[1:]])


COLUMNS = {
    "list of paths": lambda files: files,
    "list of Path": lambda files: [Path(file) for file in files],
    "list of bytes": read,
    "list of dicts": structs,
    "tuple": tuple,
    "pandas object": lambda files: pd.Series(files, dtype=object),
    "pandas string": lambda files: pd.Series(files, dtype="string", index=[7, 7, 9]),
    "pandas str": lambda files: pd.Series(files),
    "pandas category": lambda files: pd.Series(files, dtype="category"),
    "pandas bytes": lambda files: pd.Series(read(files)),
    "pandas dicts": lambda files: pd.Series(structs(files)),
    "pandas arrow string": lambda files: arrow(files, "string"),
    "pandas arrow binary": lambda files: arrow(read(files), "large_binary"),
    "pandas arrow struct": lambda files: arrow(structs(files), "struct"),
    "pandas frame": lambda files: pd.DataFrame({"audio": files}),
    "pandas frame of dicts": lambda files: pd.DataFrame({"audio": structs(files)}),
    "pandas index": pd.Index,
    "polars string": lambda files: pl.Series(files),
    "polars binary": lambda files: pl.Series(read(files)),
    "polars struct": lambda files: pl.Series(structs(files)),
    "polars categorical": lambda files: pl.Series(files, dtype=pl.Categorical),
    "polars enum": lambda files: pl.Series(files, dtype=pl.Enum(files)),
    "polars object": lambda files: pl.Series([Path(file) for file in files], dtype=pl.Object),
    "polars frame": lambda files: pl.DataFrame({"audio": read(files)}),
    "array of str": np.array,
    "array of str, (n, 1)": lambda files: np.array(files).reshape(-1, 1),
    "array of objects": lambda files: objects(read(files)),
    "array of objects, (n, 1)": lambda files: objects(structs(files)).reshape(-1, 1),
    "only __array__": lambda files: OnlyArray(objects(files)),
    "pyarrow": pyarrow_array,
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_column_of_items(kind, files, expected):
    X = COLUMNS[kind](files)
    transformer = ValenceEmotionTransformer()
    scores = transformer.fit_transform(X)
    assert scores.dtype == np.float64
    np.testing.assert_array_equal(scores, expected)
    assert transformer.n_features_in_ == 1
    np.testing.assert_array_equal(transformer.transform(X), expected)


@pytest.mark.parametrize(
    "make",
    [
        list,
        objects,
        lambda waveforms: pd.Series(waveforms),
        lambda waveforms: pl.Series([waveform.tolist() for waveform in waveforms]),
        lambda waveforms: [waveform.tolist() for waveform in waveforms],
        lambda waveforms: [(waveform, 16_000) for waveform in waveforms],
        lambda waveforms: [{"array": waveform, "sampling_rate": 16_000} for waveform in waveforms],
    ],
    ids=["list", "array", "pandas", "polars", "lists", "tuples", "dicts"],
)
def test_column_of_waveforms_of_different_lengths(make, waveforms, expected):
    scores = ValenceEmotionTransformer().fit_transform(make(waveforms))
    np.testing.assert_allclose(scores, expected, atol=1e-3)


@pytest.mark.parametrize("make", [np.asarray, OnlyArray, pd.DataFrame, pl.DataFrame, lambda X: X.astype(object)])
def test_matrix_has_one_waveform_per_row_at_sampling_rate(make, waveforms):
    X = np.array([waveform[:40_000] for waveform in waveforms], dtype=np.float64)
    transformer = ValenceEmotionTransformer(sampling_rate=8_000)
    found = Engine(Settings(sampling_rate=8_000)).predict_many(list(X))
    scores = transformer.fit_transform(make(X) if make is not pl.DataFrame else pl.DataFrame(X, orient="row"))
    np.testing.assert_array_equal(scores, [[one.scores[name] for name in EMOTIONS] for one in found])
    assert transformer.n_features_in_ == 40_000


def test_integer_samples_keep_their_scale(waveforms):
    X = np.array([waveform[:80_000] * 32767 for waveform in waveforms]).astype(np.int16)
    found = Engine().predict_many(list(X))
    scores = ValenceEmotionTransformer().fit_transform(X)
    np.testing.assert_array_equal(scores, [[one.scores[name] for name in EMOTIONS] for one in found])


def test_datasets_column_is_not_decoded(files, expected):
    datasets = pytest.importorskip("datasets")
    dataset = datasets.Dataset.from_dict({"audio": files}).cast_column("audio", datasets.Audio())
    np.testing.assert_array_equal(ValenceEmotionTransformer().fit_transform(dataset["audio"]), expected)


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_missing_items_give_empty_rows(missing, files, expected):
    X = pd.Series([files[0], missing, files[2]], dtype=object)
    both = ValenceEmotionTransformer(output="both").fit_transform(X)
    np.testing.assert_array_equal(both[[0, 2], :4].astype(float), expected[[0, 2]])
    assert np.isnan(both[1, :4].astype(float)).all()
    assert both[1, 4] is None


@pytest.mark.parametrize(
    "X",
    [
        [None, None],
        pd.Series([np.nan, np.nan]),
        pd.DataFrame({"audio": [None, np.nan]}),
        pd.Series([pd.NA, pd.NA], dtype="Int64"),
        [pd.NaT, pd.NaT],
        pl.Series([None, None]),
        pl.DataFrame({"audio": [None, None]}),
    ],
)
def test_column_with_only_missing_items(X, sandbox):
    assert np.isnan(ValenceEmotionTransformer().fit_transform(X)).tolist() == [[True] * 4] * 2
    assert sandbox.calls == 0


@pytest.mark.parametrize("output", ["scores", "label", "both"])
@pytest.mark.parametrize("container", ["default", "pandas", "polars"])
def test_no_items_give_no_rows(output, container):
    transformer = ValenceEmotionTransformer(output=output).set_output(transform=container)
    assert transformer.fit_transform([]).shape == (0, {"scores": 4, "label": 1, "both": 5}[output])


# Invalid X


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (np.zeros(80_000), ValueError, "Reshape your data"),
        (np.zeros(80_000, dtype=np.int16), ValueError, "Reshape your data"),
        ([0.1, 0.2, 0.3], ValueError, "Reshape your data"),
        (pd.Series([0.1, 0.2]), ValueError, "Reshape your data"),
        (pd.Series([1, None], dtype="Int64"), ValueError, "Reshape your data"),
        ([pd.NaT, 0.1], ValueError, "Reshape your data"),
        (pl.Series([1, 2]), ValueError, "Reshape your data"),
        (pd.DataFrame({"age": [1, 2]}), ValueError, "choose the column that holds the audio"),
        (np.zeros((3, 1)), ValueError, r"1 feature\(s\).*X.reshape\(1, -1\)"),
        (np.zeros((2, 80_000, 2)), ValueError, "dim 3"),
        (np.array([[0.1, np.nan]]), ValueError, "NaN"),
        (np.array([[0.1, np.inf]]), ValueError, "inf"),
        (np.zeros((2, 3), dtype=complex), ValueError, "Complex data not supported"),
        (np.array([b"RIFF"]), TypeError, "drops the NUL bytes"),
        (np.array([[b"RIFF", b"RIFF"]]), TypeError, "drops the NUL bytes"),
        (scipy.sparse.csr_matrix(np.eye(2)), TypeError, "Sparse data was passed"),
        (scipy.sparse.dok_matrix(np.eye(2)), TypeError, "Sparse data was passed"),
        (pd.DataFrame({"audio": ["a.wav"], "age": [1]}), ValueError, r"2 columns: audio, age\..*X\[\['audio'\]\]"),
        (pl.DataFrame({"audio": ["a.wav"], "age": [1]}), ValueError, r"2 columns: audio, age\..*X\[\['audio'\]\]"),
        (np.array([["a.wav", "b.wav"]]), ValueError, "one column of audio"),
        (np.array([["a.wav", {}]], dtype=object), ValueError, "one column of audio"),
        ("a.wav", TypeError, r"not one str: give \[X\]"),
        (b"RIFF", TypeError, r"not one bytes: give \[X\]"),
        (Path("a.wav"), TypeError, r"not one \w*Path: give \[X\]"),
        ({"bytes": b"RIFF"}, TypeError, r"not one dict: give \[X\]"),
        (io.BytesIO(b"RIFF"), TypeError, r"not one BytesIO: give \[X\]"),
        ((path for path in ["a.wav"]), TypeError, r"not a generator.*list\(X\)"),
        (None, TypeError, "not a NoneType"),
    ],
)
def test_invalid_x_raises_regardless_of_on_error(X, error, message, sandbox):
    with pytest.raises(error, match=message):
        ValenceEmotionTransformer(on_error="null").fit(X)
    with pytest.raises(error, match=message):
        ValenceEmotionTransformer(on_error="null").fit(["a.wav"]).transform(X)
    assert sandbox.calls == 0


def test_boolean_matrix_raises():
    with pytest.raises(TypeError, match="must be numbers, not bool"):
        ValenceEmotionTransformer().fit(np.zeros((2, 3), dtype=bool))


def test_transform_requires_same_kind_of_x_as_fit(files):
    with pytest.raises(ValueError, match="fit saw one waveform of 9 samples a row"):
        ValenceEmotionTransformer().fit(np.zeros((2, 9))).transform(files)
    with pytest.raises(ValueError, match="X has 8 features, but ValenceEmotionTransformer is expecting 9"):
        ValenceEmotionTransformer().fit(np.zeros((2, 9))).transform(np.zeros((2, 8)))
    with pytest.raises(ValueError, match="X has 9 features, but ValenceEmotionTransformer is expecting 1"):
        ValenceEmotionTransformer().fit(files).transform(np.zeros((2, 9)))
    with pytest.raises(ValueError, match="Feature names unseen at fit time"):
        ValenceEmotionTransformer().fit(pd.DataFrame({"audio": files})).transform(pd.DataFrame({"sound": files}))
    with pytest.raises(NotFittedError):
        ValenceEmotionTransformer().transform(files)


def test_names_of_lists_and_series_are_not_compared(files, expected):
    transformer = ValenceEmotionTransformer().fit(pd.DataFrame({"audio": files}))
    np.testing.assert_array_equal(transformer.transform(files), expected)
    np.testing.assert_array_equal(transformer.transform(pd.Series(files, name="sound")), expected)


# Fit


def test_fit_needs_no_key_and_sends_nothing(files, sandbox, monkeypatch):
    monkeypatch.delenv("VALENCE_API_KEY")
    transformer = ValenceEmotionTransformer().fit(["no such file", *files])
    assert set(vars(transformer)) - set(transformer.get_params()) == {"n_features_in_"}
    with pytest.raises(errors.MissingKeyError, match="VALENCE_API_KEY"):
        transformer.transform(files)
    assert sandbox.calls == 0


def test_transform_sets_no_attributes(files):
    transformer = ValenceEmotionTransformer().fit(pd.Series(files, name="audio"))
    before = dict(vars(transformer))
    transformer.transform(files)
    assert vars(transformer) == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"output": "probabilities"},
        {"on_error": "ignore"},
        {"model": "unheard-of"},
        {"model": ""},
        {"emotions": "angry"},
        {"sampling_rate": 0},
        {"short_audio": "drop"},
        {"long_audio": "cut"},
        {"min_confidence": 38},
        {"concurrency": 0},
        {"base_url": "http://example.com"},
    ],
    ids=str,
)
def test_fit_checks_parameters(wrong, files):
    transformer = ValenceEmotionTransformer(**wrong)
    with pytest.raises(ValueError, match=next(iter(wrong))):
        transformer.fit(files)


# Names


@pytest.mark.parametrize(
    ("make", "prefix"),
    [
        (list, "emotion"),
        (pd.Series, "emotion"),
        (lambda files: pd.Series(files, name=3), "emotion"),
        (lambda files: pd.Series(files, name="call"), "call"),
        (lambda files: pl.Series(files), "emotion"),
        (lambda files: pl.Series("call", files), "call"),
        (lambda files: pd.DataFrame({"call": files}), "call"),
        (lambda files: pl.DataFrame({"call": files}), "call"),
        (lambda files: pd.DataFrame({0: files}), "emotion"),
        (lambda files: np.zeros((2, 3)), "emotion"),
        (lambda files: pd.DataFrame(np.zeros((2, 2)), columns=["a", "b"]), "emotion"),
    ],
)
def test_feature_names(make, prefix, files):
    scores = [f"{prefix}_{name}" for name in EMOTIONS]
    label = "emotion" if prefix == "emotion" else f"{prefix}_emotion"
    for output, names in {"scores": scores, "label": [label], "both": [*scores, label]}.items():
        transformer = ValenceEmotionTransformer(output=output).fit(make(files))
        assert transformer.get_feature_names_out().tolist() == names
    transformer.fit(files)
    assert transformer.get_feature_names_out(["anything"]).tolist()[-1] == "emotion"


def test_feature_names_follow_model_and_emotions(files):
    transformer = ValenceEmotionTransformer(model="7emotions").fit(files)
    assert transformer.get_feature_names_out()[2] == "emotion_disgusted"
    transformer = ValenceEmotionTransformer(model="ours", emotions=["nervous", "angry"]).fit(files)
    assert transformer.get_feature_names_out().tolist() == ["emotion_nervous", "emotion_angry"]


# Output


def test_labels(files, expected):
    labels = [EMOTIONS[best] for best in expected.argmax(axis=1)]
    found = ValenceEmotionTransformer(output="label").fit_transform(files)
    assert found.dtype == object
    assert found.tolist() == [[label] for label in labels]
    both = ValenceEmotionTransformer(output="both").fit_transform(files)
    assert both.dtype == object
    assert both.tolist() == [[*row, label] for row, label in zip(expected.tolist(), labels, strict=True)]
    encoded = OneHotEncoder(categories=[EMOTIONS], sparse_output=False).fit_transform(found)
    np.testing.assert_array_equal(encoded.argmax(axis=1), expected.argmax(axis=1))


def test_min_confidence_drops_labels_and_keeps_scores(files, expected):
    both = ValenceEmotionTransformer(output="both", min_confidence=1.0).fit_transform(files)
    np.testing.assert_array_equal(both[:, :4].astype(float), expected)
    assert both[:, 4].tolist() == [None] * 3


@pytest.mark.parametrize("make", [lambda files: pd.Series(files, index=[5, 5, 1], name="call"), list])
def test_pandas_output(make, files, expected):
    X = make(files)
    index = X.index if isinstance(X, pd.Series) else pd.RangeIndex(3)
    prefix = "call_" if isinstance(X, pd.Series) else "emotion_"
    scores = ValenceEmotionTransformer().set_output(transform="pandas").fit_transform(X)
    pd.testing.assert_frame_equal(
        scores, pd.DataFrame(expected, columns=[prefix + name for name in EMOTIONS], index=index)
    )
    both = ValenceEmotionTransformer(output="both").set_output(transform="pandas").fit_transform(X)
    pd.testing.assert_frame_equal(both.iloc[:, :4], scores)
    label = both.iloc[:, 4]
    assert label.dtype == pd.CategoricalDtype(EMOTIONS)
    assert label.tolist() == [EMOTIONS[best] for best in expected.argmax(axis=1)]
    alone = ValenceEmotionTransformer(output="label").set_output(transform="pandas").fit_transform(X)
    pd.testing.assert_frame_equal(alone, both.iloc[:, 4:])


def test_polars_output(files, expected):
    X = pl.DataFrame({"call": [*files, None]})
    both = ValenceEmotionTransformer(output="both").set_output(transform="polars").fit_transform(X)
    assert both.schema == {f"call_{name}": pl.Float64 for name in EMOTIONS} | {"call_emotion": pl.Enum(EMOTIONS)}
    np.testing.assert_array_equal(both[:3, :4].to_numpy(), expected)
    assert both["call_emotion"].to_list() == [*(EMOTIONS[best] for best in expected.argmax(axis=1)), None]
    alone = ValenceEmotionTransformer(output="label").set_output(transform="polars").fit_transform(X)
    assert alone.equals(both.select("call_emotion"))


@pytest.mark.parametrize(("container", "kind"), [("pandas", pd.DataFrame), ("polars", pl.DataFrame)])
def test_global_output_configuration(container, kind, files):
    with config_context(transform_output=container):
        found = ValenceEmotionTransformer(output="both").fit_transform(files)
    assert isinstance(found, kind)
    assert list(found.columns) == [*(f"emotion_{name}" for name in EMOTIONS), "emotion"]


def test_failed_items_raise_or_give_empty_rows(files, expected, tmp_path):
    X = [files[0], str(tmp_path / "none.wav"), files[2]]
    with pytest.raises(errors.BatchError, match=r"none\.wav") as caught:
        ValenceEmotionTransformer().fit_transform(X)
    assert list(caught.value.errors) == [1]
    with pytest.warns(errors.PartialFailureWarning, match=r"^1 of 3 items failed: 1 audio_not_found; ") as warned:
        both = ValenceEmotionTransformer(output="both", on_error="null").fit_transform(X)
    assert (len(warned), warned[0].filename, list(warned[0].message.errors)) == (1, __file__, [1])
    np.testing.assert_array_equal(both[[0, 2], :4].astype(float), expected[[0, 2]])
    assert np.isnan(both[1, :4].astype(float)).all()
    assert both[1, 4] is None


def test_skipped_items_give_empty_rows(files, expected):
    found = ValenceEmotionTransformer(short_audio="skip").fit_transform([np.zeros(8_000), files[0]])
    np.testing.assert_array_equal(found, [[np.nan] * 4, expected[0]])


def test_emotions_missing_in_the_answer_have_score_zero():
    engine = FakeEngine(predicted("sad", sad=0.9, calm=0.3), EmotionPrediction(error=errors.ItemError("broken")))
    found = ValenceEmotionTransformer(engine=engine, on_error="null", progress=True).fit_transform(["a", "b"])
    np.testing.assert_array_equal(found, [[0.0, 0.0, 0.0, 0.9], [np.nan] * 4])
    assert engine.asked == {"items": ["a", "b"], "on_error": "null", "progress": True}


def test_label_without_column_is_none_and_warns_once():
    engine = FakeEngine(
        predicted("calm", calm=0.9), predicted("nervous", nervous=0.8, sad=0.2), predicted("sad", sad=0.6)
    )
    with pytest.warns(UserWarning, match=r"calm, nervous\. Pass emotions=\('angry', .*'calm', 'nervous'\)") as caught:
        both = ValenceEmotionTransformer(engine=engine, output="both").fit(["a"]).transform(["a", "b", "c"])
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert both[:, 4].tolist() == [None, None, "sad"]
    np.testing.assert_array_equal(both[:, :4].astype(float), [[0, 0, 0, 0], [0, 0, 0, 0.2], [0, 0, 0, 0.6]])


def test_scores_warn_only_of_all_zero_rows():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine = FakeEngine(predicted("nervous", nervous=0.8, sad=0.2))
        ValenceEmotionTransformer(engine=engine).fit_transform(["a"])
    with pytest.warns(UserWarning, match="Happy"):
        ValenceEmotionTransformer(engine=FakeEngine(predicted("Happy", Happy=0.8))).fit_transform(["a"])


# The engine


def test_engine_settings_take_precedence(files, sandbox, monkeypatch):
    monkeypatch.delenv("VALENCE_API_KEY")
    engine = Engine(Settings(api_key=sandbox.api_key, model="7emotions"))
    transformer = ValenceEmotionTransformer(engine=engine)
    scores = transformer.fit_transform(files)
    found = engine.predict_many(files)
    assert transformer.get_feature_names_out().tolist() == [f"emotion_{name}" for name in engine.settings.columns]
    np.testing.assert_array_equal(scores, [[one.scores[name] for name in engine.settings.columns] for one in found])
    assert clone(transformer).engine is engine


def test_parameter_conflicting_with_engine_raises(files):
    engine = Engine(Settings(sampling_rate=8_000, emotions=["sad", "angry"]))
    ValenceEmotionTransformer(engine=engine, sampling_rate=8_000, emotions=("sad", "angry")).fit(files)
    with pytest.raises(errors.SettingsError, match=r"model is '7emotions', but the engine's is '4emotions'"):
        ValenceEmotionTransformer(engine=engine, model="7emotions").fit(files)


def test_transformers_with_equal_settings_share_connections(files, sandbox):
    for _ in range(3):
        ValenceEmotionTransformer(cache=False, concurrency=1).fit_transform(files)
    assert sandbox.calls == 9
    assert sandbox.connections <= 2


ENVIRONMENT = {
    "VALENCE_MODEL": ("model", "7emotions", "4emotions"),
    "VALENCE_EMOTIONS": ("emotions", "happy, sad", ("angry",)),
    "VALENCE_SHORT_AUDIO": ("short_audio", "repeat", "pad"),
    "VALENCE_LONG_AUDIO": ("long_audio", "chunk", "asynch"),
    "VALENCE_MIN_CONFIDENCE": ("min_confidence", "0.38", 0.0),
    "VALENCE_CONCURRENCY": ("concurrency", "3", 5),
}


@pytest.mark.parametrize("variable", ENVIRONMENT)
def test_none_means_what_settings_say(variable, monkeypatch):
    name, text, given = ENVIRONMENT[variable]
    assert ValenceEmotionTransformer()._settings() == Settings()
    monkeypatch.setenv(variable, text)
    assert ValenceEmotionTransformer()._settings() == Settings()
    assert getattr(ValenceEmotionTransformer()._settings(), name) not in (given, None)
    assert getattr(ValenceEmotionTransformer(**{name: given})._settings(), name) == given


def test_long_audio_of_the_environment_counts(sandbox, monkeypatch):
    monkeypatch.setenv("VALENCE_LONG_AUDIO", "skip")
    monkeypatch.setenv("VALENCE_MODEL", "7emotions")
    scores = ValenceEmotionTransformer().fit_transform([voice(20.0), voice(5.0)])
    assert scores.shape == (2, 7)
    assert np.isnan(scores).all(axis=1).tolist() == [True, False]
    assert sandbox.calls == 1


INVALID = {
    "output": "text",
    "model": 4,
    "emotions": "happy",
    "sampling_rate": True,
    "short_audio": "chunk",
    "long_audio": ["chunk"],
    "min_confidence": float("nan"),
    "on_error": None,
    "concurrency": "x",
    "cache": 3,
    "progress": "yes",
    "api_key": "",
    "base_url": "https://api.getvalenceai.com:99999",
    "engine": {},
}


@pytest.mark.parametrize("name", INVALID)
def test_an_invalid_parameter_is_named_in_fit_and_in_transform(name, files, sandbox):
    assert set(INVALID) == set(ValenceEmotionTransformer().get_params())
    transformer = ValenceEmotionTransformer(**{name: INVALID[name]})
    with pytest.raises(errors.SettingsError, match=rf"^{name} must") as caught:
        transformer.fit(files)
    assert caught.value.setting == name
    transformer = ValenceEmotionTransformer().fit(files).set_params(**{name: INVALID[name]})
    with pytest.raises(errors.SettingsError, match=rf"^{name} must"):
        transformer.transform(files)
    assert sandbox.requests == []


# Numbers that are not audio


TABLES = {
    "array": lambda: np.random.default_rng(0).random((50, 4)),
    "integers": lambda: np.arange(200).reshape(50, 4),
    "just too short": lambda: np.zeros((50, 1_599)),
    "lists": lambda: np.random.default_rng(0).random((50, 4)).tolist(),
    "pandas": lambda: pd.DataFrame(np.random.default_rng(0).random((50, 4)), columns=list("abcd")),
    "polars": lambda: pl.DataFrame({name: np.arange(50) for name in "abcd"}),
}


@pytest.mark.parametrize("form", TABLES)
def test_a_table_of_numbers_is_not_sent(form, sandbox, monkeypatch):
    monkeypatch.delenv("VALENCE_API_KEY")
    with pytest.warns(UserWarning, match=r"^X is a matrix of numbers with .* columns.*nothing was sent") as caught:
        both = ValenceEmotionTransformer(output="both").fit_transform(TABLES[form]())
    assert (len(caught), caught[0].filename) == (1, __file__)
    assert both.shape == (50, 5)
    assert np.isnan(both[:, :4].astype(float)).all()
    assert both[:, 4].tolist() == [None] * 50
    assert sandbox.requests == []


def test_a_matrix_of_waveforms_is_sent(sandbox, monkeypatch):
    monkeypatch.setenv("VALENCE_LONG_AUDIO", "skip")
    assert np.isfinite(ValenceEmotionTransformer(cache=False).fit_transform(np.zeros((1, 1_600)))).all()
    assert np.isfinite(
        ValenceEmotionTransformer(cache=False, sampling_rate=8_000).fit_transform(np.zeros((1, 800)))
    ).all()
    assert sandbox.calls == 2


# The key


@pytest.fixture
def holders(files):
    transformer = ValenceEmotionTransformer(api_key=KEY)
    pipeline = make_pipeline(transformer, LogisticRegression())
    return [
        transformer,
        clone(transformer).fit(files),
        pipeline,
        make_column_transformer((transformer, "audio")),
        GridSearchCV(pipeline, {"logisticregression__C": [1.0]}),
        ValenceEmotionTransformer(engine=Engine(Settings(api_key=KEY))),
    ]


def test_key_is_not_shown(holders):
    for holder in holders:
        shown = [repr(holder), str(holder), repr(holder.get_params()), estimator_html_repr(holder)]
        if hasattr(holder, "_get_params_html"):
            shown.append(repr(holder._get_params_html()))
            shown.append(holder._get_params_html()._repr_html_inner())
        shown += [f"{name} {value} {value!r}" for name, value in holder.get_params(deep=True).items()]
        shown += [pprint.pformat(holder), pprint.pformat(vars(holder)), repr(vars(holder)), f"{holder}"]
        assert not [text for text in shown if KEY in text]
    key = holders[0].get_params()["api_key"]
    assert [str(key), f"{key}", f"{key:>5}", json.dumps(key), json.dumps([key])] == [
        "***",
        "***",
        "  ***",
        '"***"',
        '["***"]',
    ]
    assert repr(holders[0]) == "ValenceEmotionTransformer(api_key='***')"


def test_key_is_not_stored(holders, tmp_path):
    for holder in holders:
        assert KEY.encode() not in pickle.dumps(holder)
        joblib.dump(holder, tmp_path / "holder")
        assert KEY.encode() not in (tmp_path / "holder").read_bytes()
    assert len({joblib.hash(ValenceEmotionTransformer(api_key=key)) for key in ("one", "two", None)}) == 1


def test_no_frame_of_an_exception_shows_the_key(files, monkeypatch):
    """pytest -l and other tools show the local variables of every frame."""
    key = Secret(KEY)
    monkeypatch.delenv("VALENCE_API_KEY")
    for X in (files, ["none.wav"]):
        transformer = ValenceEmotionTransformer(api_key=key, cache=False).fit(X)
        with pytest.raises(errors.ValenceError) as caught:
            transformer.transform(X)
        frames = [frame for frame in caught.traceback if "valence_integrations" in str(frame.path)]
        assert len(frames) >= 2
        shown = [repr(value) for frame in frames for value in frame.frame.f_locals.values()]
        assert not [text for text in shown if KEY in text]


def test_clones_and_copies_keep_key(holders):
    for twin in (clone(holders[0]), copy.copy(holders[0]), copy.deepcopy(holders[0]), copy.deepcopy(holders[2])[0]):
        assert twin.get_params()["api_key"] == KEY
    fitted = copy.deepcopy(holders[1])
    assert fitted is not holders[1]
    assert fitted.n_features_in_ == 1


def test_loaded_transformer_reads_key_from_environment(files, expected, sandbox, monkeypatch):
    monkeypatch.delenv("VALENCE_API_KEY")
    transformer = ValenceEmotionTransformer(api_key=sandbox.api_key).fit(pd.Series(files, name="call"))
    np.testing.assert_array_equal(transformer.transform(files), expected)
    loaded = pickle.loads(pickle.dumps(transformer))
    assert loaded.get_feature_names_out()[0] == "call_angry"
    with pytest.raises(errors.MissingKeyError):
        clone(loaded).set_params(cache=False).fit(files).transform(files)
    monkeypatch.setenv("VALENCE_API_KEY", sandbox.api_key)
    np.testing.assert_array_equal(loaded.transform(files), expected)
    loaded.set_params(api_key=KEY)
    assert KEY not in repr(loaded)
    with pytest.raises(errors.AuthenticationError) as caught:
        loaded.set_params(cache=False).transform(files)
    assert KEY not in str(caught.value)


# With other estimators


def frame(files, container=pd.DataFrame):
    return container({"audio": files * 4, "age": list(range(12))})


TARGET = np.array([0, 1, 1] * 4)


@pytest.mark.parametrize("column", ["audio", ["audio"]])
@pytest.mark.parametrize("container", [pd.DataFrame, pl.DataFrame])
def test_column_transformer(column, container, files, expected):
    columns = ColumnTransformer([("voice", ValenceEmotionTransformer(), column)], remainder="passthrough")
    found = columns.fit_transform(frame(files, container))
    np.testing.assert_array_equal(found, np.column_stack([np.tile(expected, (4, 1)), np.arange(12)]))
    assert columns.get_feature_names_out()[0] == "voice__audio_angry"
    np.testing.assert_array_equal(columns.transform(frame(files[::-1], container))[:3, :4], expected[::-1])


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_column_transformer_with_dataframe_output(container, files, expected):
    columns = ColumnTransformer(
        [("voice", ValenceEmotionTransformer(output="both"), "audio")],
        remainder="passthrough",
        verbose_feature_names_out=False,
    ).set_output(transform=container)
    found = columns.fit_transform(frame(files, {"pandas": pd.DataFrame, "polars": pl.DataFrame}[container]))
    assert list(found.columns) == [*(f"audio_{name}" for name in EMOTIONS), "audio_emotion", "age"]
    np.testing.assert_array_equal(found[[f"audio_{name}" for name in EMOTIONS]][:3].to_numpy(), expected)


def test_column_transformer_with_array_input(files, expected):
    X = np.array([[file, index] for index, file in enumerate(files)], dtype=object)
    for column in (0, [0]):
        found = make_column_transformer((ValenceEmotionTransformer(), column)).fit_transform(X)
        np.testing.assert_array_equal(found, expected)


def test_feature_union(files, expected):
    union = make_union(ValenceEmotionTransformer(), FunctionTransformer(lambda X: np.array([[len(x)] for x in X])))
    np.testing.assert_array_equal(union.fit_transform(files)[:, :4], expected)


def test_cross_validation_pays_for_each_clip_once(files, sandbox):
    pipeline = make_pipeline(ValenceEmotionTransformer(), LogisticRegression())
    scores = cross_val_score(pipeline, pd.Series(files * 4), TARGET, cv=2, error_score="raise")
    assert len(scores) == 2
    assert sandbox.calls == 3


def test_grid_search_in_two_processes(files, sandbox):
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown()  # workers see the environment of their start
    pipeline = Pipeline([("voice", ValenceEmotionTransformer()), ("model", LogisticRegression())])
    grid = {"voice__model": ["4emotions", "7emotions"], "model__C": [0.1, 10.0]}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2, error_score="raise").fit(files * 4, TARGET)
    get_reusable_executor().shutdown()
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    best = search.best_estimator_["voice"]
    found = Engine(Settings(model=best.model)).predict_many(files)
    rows = [[one.scores[name] for name in Settings(model=best.model).columns] for one in found]
    np.testing.assert_array_equal(best.transform(files), rows)


def test_pipeline_memory_skips_transformer_and_stores_no_key(files, sandbox, tmp_path):
    store = tmp_path / "store"
    for key in (sandbox.api_key, f" {sandbox.api_key} "):
        transformer = ValenceEmotionTransformer(api_key=key, cache=False)
        make_pipeline(transformer, LogisticRegression(), memory=str(store)).fit(files, [0, 1, 1])
    assert sandbox.calls == 3
    stored = [path for path in store.rglob("*") if path.is_file()]
    assert stored
    assert not [path for path in stored if sandbox.api_key.encode() in path.read_bytes()]


@pytest.mark.parametrize("container", [pd.DataFrame, pl.DataFrame])
def test_skrub(container, files, expected):
    skrub = pytest.importorskip("skrub")
    X = frame(files, container)
    applied = skrub.ApplyToCols(ValenceEmotionTransformer(output="both"), cols=["audio"]).fit_transform(X)
    assert list(applied.columns) == [*(f"audio_{name}" for name in EMOTIONS), "audio_emotion", "age"]
    np.testing.assert_array_equal(applied[[f"audio_{name}" for name in EMOTIONS]][:3].to_numpy(), expected)
    vectorizer = skrub.TableVectorizer(specific_transformers=[(ValenceEmotionTransformer(), ["audio"])])
    vectorized = vectorizer.fit_transform(X)
    assert list(vectorized.columns) == [*(f"audio_{name}" for name in EMOTIONS), "age"]
    again = vectorizer.transform(X)
    np.testing.assert_array_equal(again[[f"audio_{name}" for name in EMOTIONS]][:3].to_numpy(), expected)


def test_examples_in_docstrings():
    assert doctest.testmod(valence_integrations.sklearn).failed == 0
