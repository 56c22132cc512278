"""One colour per emotion, the same in every picture."""

from __future__ import annotations

import colorsys
import hashlib

__all__ = ["COLORS", "color", "contrast", "ink"]

#: Colour of each emotion that the vendor's models return. Chosen by search, so that any two differ clearly (CIEDE2000
#: of at least 11; at least 14 within ``7emotions``) in normal, protan, deutan and tritan vision.
COLORS = {
    "angry": "#c2341f",
    "happy": "#eeba2b",
    "neutral": "#97999b",
    "sad": "#2984d5",
    "calm": "#2e6b59",
    "surprised": "#79c1f0",
    "disgusted": "#7f4785",
    "nervous": "#edc9d9",
    "irritated": "#772e28",
    "excited": "#eb6514",
    "sleepy": "#1b216a",
}


def color(emotion: str) -> str:
    """Colour of an emotion as ``#rrggbb``; for an unknown emotion it is derived from a hash of the name."""
    known = COLORS.get(emotion.casefold())
    if known is not None:
        return known
    digest = hashlib.sha256(emotion.casefold().encode("utf-8", "replace")).digest()
    rgb = colorsys.hls_to_rgb(digest[0] / 256, 0.3 + digest[1] / 256 * 0.45, 0.45)
    return "#" + "".join(f"{round(255 * part):02x}" for part in rgb)


def ink(background: str) -> str:
    """Text colour for a background: black or white, whichever has more contrast."""
    return max("#000000", "#ffffff", key=lambda text: contrast(text, background))


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, 1 to 21 [WCAG 2.2]."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(rgb: str) -> float:
    parts = [int(rgb[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
