"""The colours of the pages keep to contrast AA, in light and dark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

STYLE = Path(__file__).parents[2] / "bg_charm_service" / "api" / "static" / "style.css"

#: Text colours, and what stands behind them.
TEXTS = ("text", "muted", "accent", "ok-text", "bad-text", "warn-text")
GROUNDS = ("ground", "card")
MORE = (("text", "bad-soft"), ("bad-text", "bad-soft"), ("muted", "bad-soft"), ("text", "code"))

#: What the eye has to tell from its ground without being text: dots and bars.
MARKS = (("ok", "card"), ("bad", "card"), ("bad", "bad-soft"))


def colours(scheme: str) -> dict[str, str]:
    """Give the named colours of light or dark; dark ones replace light ones."""
    blocks = re.findall(r":root \{(.*?)\}", STYLE.read_text(), re.DOTALL)
    found: dict[str, str] = {}
    for block in blocks[: 1 if scheme == "light" else 2]:
        found.update(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", block))
    return found


def luminance(colour: str) -> float:
    """How bright a colour is, as WCAG defines it."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """The ratio of two colours."""
    brighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(scheme: str) -> None:
    """Every text colour has 4.5 to 1 on every ground that it stands on; marks have 3 to 1."""
    named = colours(scheme)
    pairs = [*((text, ground) for text in TEXTS for ground in GROUNDS), *MORE]
    weak = {pair: contrast(named[pair[0]], named[pair[1]]) for pair in pairs}
    assert {} == {pair: ratio for pair, ratio in weak.items() if ratio < 4.5}
    marks = {pair: contrast(named[pair[0]], named[pair[1]]) for pair in MARKS}
    assert {} == {pair: ratio for pair, ratio in marks.items() if ratio < 3}
