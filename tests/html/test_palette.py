from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from valence_integrations._html.palette import COLORS, color, contrast, ink
from valence_integrations.settings import EMOTIONS

#: Simulation matrices of colour vision types, for linear RGB [Machado, Oliveira & Fernandes 2009, severity 1.0].
EYES = {
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def lab(rgb: str, eyes: str) -> np.ndarray:
    """Convert a colour to CIELAB as seen with a type of colour vision."""
    parts = np.array([int(rgb[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    x, y, z = TO_XYZ @ np.clip(EYES[eyes] @ linear, 0, 1) / [0.95047, 1.0, 1.08883]
    x, y, z = (np.cbrt(v) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """CIEDE2000 [Sharma, Wu & Dalal 2005]."""
    (l1, a1, b1), (l2, a2, b2) = one, other
    chroma = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2
    g = 0.5 * (1 - np.sqrt(chroma**7 / (chroma**7 + 25**7)))
    c1, c2 = np.hypot((1 + g) * a1, b1), np.hypot((1 + g) * a2, b2)
    h1, h2 = (np.degrees(np.arctan2(b, (1 + g) * a)) % 360 for a, b in ((a1, b1), (a2, b2)))
    turn = (h2 - h1 + 180) % 360 - 180
    mean_h = (h1 + turn / 2) % 360
    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2
    t = (
        1
        - 0.17 * np.cos(np.radians(mean_h - 30))
        + 0.24 * np.cos(np.radians(2 * mean_h))
        + 0.32 * np.cos(np.radians(3 * mean_h + 6))
        - 0.20 * np.cos(np.radians(4 * mean_h - 63))
    )
    d_l = (l2 - l1) / (1 + 0.015 * (mean_l - 50) ** 2 / np.sqrt(20 + (mean_l - 50) ** 2))
    d_c = (c2 - c1) / (1 + 0.045 * mean_c)
    d_h = 2 * np.sqrt(c1 * c2) * np.sin(np.radians(turn / 2)) / (1 + 0.015 * mean_c * t)
    angle = 60 * np.exp(-(((mean_h - 275) / 25) ** 2))
    r = -2 * np.sqrt(mean_c**7 / (mean_c**7 + 25**7)) * np.sin(np.radians(angle))
    return float(np.sqrt(d_l**2 + d_c**2 + d_h**2 + r * d_c * d_h))


def test_ciede2000() -> None:
    """Check one pair of the published test data."""
    assert difference(np.array([50, 2.6772, -79.7751]), np.array([50, 0, -82.7485])) == pytest.approx(2.0425, abs=1e-4)


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize(("emotions", "least"), [(EMOTIONS["7emotions"], 14), (tuple(COLORS), 11)])
def test_any_two_emotions_differ_in_all_color_vision_types(eyes: str, emotions: tuple[str, ...], least: float) -> None:
    seen = {emotion: lab(color(emotion), eyes) for emotion in emotions}
    close = {pair: difference(seen[pair[0]], seen[pair[1]]) for pair in combinations(seen, 2)}
    assert min(close.values()) >= least, min(close, key=close.__getitem__)


@pytest.mark.parametrize("emotion", [*COLORS, "bored", "curious", "ängstlich"])
def test_text_contrast_is_sufficient_on_every_color(emotion: str) -> None:
    assert contrast(ink(color(emotion)), color(emotion)) >= 4.5


def test_every_emotion_of_the_vendor_has_a_color() -> None:
    named = {*EMOTIONS["4emotions"], *EMOTIONS["7emotions"], "nervous", "irritated", "excited", "sleepy"}
    assert set(COLORS) == named


def test_unknown_emotion_has_a_stable_color() -> None:
    assert color("bored") == "#92d6a3"
    assert color("Bored") == color("bored")
    assert color("curious") != color("bored")
    assert color("Happy") == COLORS["happy"]


def test_contrast_follows_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.478, abs=1e-3)
