"""A charm's state as a page shows it: each field as text, large ones folded and cut. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from bg_charm_service.api.pages.formatting import counted, size

#: Longer texts are folded, in characters.
FOLD_CHARACTERS = 400

#: Longer texts are cut; the API has all of it.
CUT_CHARACTERS = 20_000

_SECRET = {"$secret": True}
_STREAM = {"$stream": True}


@dataclass(frozen=True, slots=True)
class ShownField:
    """One field: `text` is what is shown of its value, behind `summary` when it is folded."""

    name: str
    kind: str
    text: str
    summary: str = ""
    is_folded: bool = False
    is_cut: bool = False


def shown_fields(state: dict[str, Any], kinds: dict[str, str]) -> list[ShownField]:
    """Give every field of a state in the order of its class, without what marks it as a charm."""
    state = {name: value for name, value in state.items() if name != "$NAME" and value != _STREAM}
    names = [*(name for name in kinds if name in state), *(n for n in state if n not in kinds)]
    return [_shown(name, kinds.get(name, "value"), state[name]) for name in names]


def _shown(name: str, kind: str, value: Any) -> ShownField:
    if value == _SECRET:
        return ShownField(name, "secret", text="", summary="Secret, never shown")
    if isinstance(value, dict) and list(value) == ["$link"]:
        return ShownField(name, "link", text=str(value["$link"]))
    text = json.dumps(value, ensure_ascii=False, indent=2)
    is_folded = len(text) > FOLD_CHARACTERS
    is_cut = len(text) > CUT_CHARACTERS
    summary = _summary(value, len(text)) if is_folded else ""
    return ShownField(
        name,
        kind,
        text=text[:CUT_CHARACTERS],
        summary=summary,
        is_folded=is_folded,
        is_cut=is_cut,
    )


def _summary(value: Any, length: int) -> str:
    if isinstance(value, list):
        return f"List of {counted(len(value), 'item')}, {size(length)}"
    if isinstance(value, dict):
        return f"Object with {counted(len(value), 'key')}, {size(length)}"
    return f"Text of {counted(len(value), 'character')}"
