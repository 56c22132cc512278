from __future__ import annotations

import sys
from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex

from tests.conftest import EXAMPLES, voice
from valence_integrations import EmotionPrediction, EmotionSegment, errors
from valence_integrations._html.palette import COLORS

SHORT = EmotionPrediction.from_segments(
    [EmotionSegment(0.0, 6.0, "happy", 0.78, {"angry": 0.1, "happy": 0.78, "sad": 0.3})], duration=6.0
)
LONG = EmotionPrediction.from_segments(
    [
        EmotionSegment(0.0, 5.0, "sad", 0.5, {"sad": 0.5}),
        EmotionSegment(5.0, 10.0, None, 0.2, {"sad": 0.2}),
        EmotionSegment(10.0, 16.0, "sad", 0.7, {"sad": 0.7}),
    ],
    duration=16.5,
)


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    mpl.use("Agg")
    yield
    plt.close("all")


def test_scores_are_bars_in_emotion_colors() -> None:
    ax = SHORT.plot()
    assert [label.get_text() for label in ax.get_yticklabels()] == ["angry", "sad", "happy"]
    assert [bar.get_width() for bar in ax.patches] == [0.1, 0.3, 0.78]
    assert [to_hex(bar.get_facecolor()) for bar in ax.patches] == [COLORS[name] for name in ("angry", "sad", "happy")]
    assert ax.get_title() == "happy 0.78"


def test_timeline_height_is_the_confidence() -> None:
    ax = LONG.plot()
    assert [(box.get_x(), box.get_width(), box.get_height()) for box in ax.patches] == [
        (0.0, 5.0, 0.5),
        (5.0, 5.0, 0.2),
        (10.0, 6.0, 0.7),
    ]
    assert ax.patches[1].get_hatch()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["sad", "no emotion"]
    assert ax.get_xlim() == (0.0, 16.5)


def test_timeline_is_drawn_over_its_waveform() -> None:
    ax = LONG.plot((voice(16.5, 8_000), 8_000))
    assert [box.get_height() for box in ax.patches] == [2.0] * 3
    (waveform,) = ax.collections
    extent = waveform.get_paths()[0].get_extents()
    assert 16.4 < extent.x1 <= 16.5
    assert max(extent.y1, -extent.y0) == pytest.approx(1.0)


def test_short_item_is_drawn_over_its_waveform() -> None:
    ax = SHORT.plot(EXAMPLES / "audio" / "ruth_angry.ogg")
    assert len(ax.collections) == 1
    assert [box.get_width() for box in ax.patches] == [6.0]


def test_silence_and_few_samples_can_be_plotted() -> None:
    ax = SHORT.plot(np.zeros(100, dtype=np.float32))
    assert ax.collections[0].get_paths()[0].get_extents().y1 == 0.0


def test_plot_uses_the_given_axes() -> None:
    _, (left, right) = plt.subplots(1, 2)
    assert SHORT.plot(ax=right) is right
    assert len(right.patches) == 3
    assert not left.patches


def test_failed_item_raises_its_error() -> None:
    with pytest.raises(errors.UnreadableAudioError, match="empty"):
        EmotionPrediction(error=errors.UnreadableAudioError("the file is empty.")).plot()


def test_unreadable_audio_is_named() -> None:
    with pytest.raises(errors.UnreadableAudioError, match=r"no_such\.wav"):
        LONG.plot("no_such.wav")


@pytest.mark.parametrize(("module", "call"), [("matplotlib", "plot"), ("pandas", "to_frame")])
def test_missing_dependency_names_its_extra(module: str, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(errors.MissingDependencyError, match=r"valence-integrations\[report\]"):
        getattr(SHORT, call)()
