"""The picture of who does how much: a bar for each row, with the least and the most of the rounds.

SVG as text, without script, readable on white and on black. Used by the command line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape

from benchmarks.report import shown
from benchmarks.rows import Row

#: All in pixels: names, bars and numbers stand beside each other.
_NAMES, _BARS, _NUMBERS = 250, 480, 110
_HEAD, _PITCH, _BAR = 44, 34, 20

_STYLE = """
text { font: 13px sans-serif; fill: #57606a; }
.title { font-size: 15px; font-weight: bold; }
.ours { fill: #2563eb; }
.other { fill: #9ca3af; }
.spread { stroke: #57606a; stroke-width: 1.5; }
@media (prefers-color-scheme: dark) {
  text { fill: #c9d1d9; }
  .ours { fill: #60a5fa; }
  .other { fill: #6b7280; }
  .spread { stroke: #c9d1d9; }
}
"""


def draw(rows: Sequence[Row], title: str) -> str:
    """Draw rows as bars, the highest first; those of which something was asked stand out."""
    ordered = sorted(rows, key=lambda row: row.value, reverse=True)
    most = max(row.value if row.high is None else row.high for row in ordered)
    width, height = _NAMES + _BARS + _NUMBERS, _HEAD + _PITCH * len(ordered)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}">',
        f"<style>{_STYLE}</style>",
        f'<text class="title" x="{_NAMES}" y="24">{escape(title)}</text>',
    ]
    for place, row in enumerate(ordered):
        parts += _bar(row, _HEAD + place * _PITCH, _BARS / most)
    return "\n".join([*parts, "</svg>", ""])


def _bar(row: Row, top: int, scale: float) -> Iterator[str]:
    """Draw one row at a height; `scale` is pixels for one of its unit."""
    middle, baseline = top + _BAR / 2, top + _BAR - 5
    kind = "ours" if row.is_ours else "other"
    right = _NAMES + _BARS + 8
    yield f'<text x="{_NAMES - 8}" y="{baseline}" text-anchor="end">{escape(row.name)}</text>'
    yield (
        f'<rect class="{kind}" x="{_NAMES}" y="{top}" width="{row.value * scale:.1f}"'
        f' height="{_BAR}"/>'
    )
    if row.low is not None and row.high is not None:
        left, end = _NAMES + row.low * scale, _NAMES + row.high * scale
        yield (f'<line class="spread" x1="{left:.1f}" x2="{end:.1f}" y1="{middle}" y2="{middle}"/>')
    yield f'<text x="{right}" y="{baseline}">{escape(shown(row.value, row.unit))}</text>'
