"""A charm's state as a page shows it: each field as text, large ones folded and cut.

What is very large is cut before it is read: to write it nicely would hold up everybody. Pure.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from bg_charm_service.api.pages.formatting import counted, size

#: Longer texts are folded, in characters.
FOLD_CHARACTERS = 400

#: Values of a collection up to this size are shown as they are stored, a line each, in bytes.
LINE_BYTES = 200

#: Longer texts are cut; the API has all of it.
CUT_CHARACTERS = 20_000

#: Fields are written nicely while they are no larger than this in all, as stored, in bytes.
NICE_BYTES = 256 * 1024

#: The members of larger ones are not counted, in all, in bytes.
COUNTED_BYTES = 1024 * 1024

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


@dataclass(frozen=True, slots=True)
class LargeValue:
    """A value that is not read: as it is stored, and how many members it has, if that is known."""

    stored: bytes
    count: int | None


def read_state(state: bytes) -> dict[str, Any]:
    """Read a state, an object of its fields; what is too large is left as it is."""
    nice_bytes, counted_bytes = NICE_BYTES, COUNTED_BYTES
    fields: dict[str, Any] = {}
    for name, raw in msgspec.json.decode(state, type=dict[str, msgspec.Raw]).items():
        stored = bytes(raw)
        if len(stored) <= nice_bytes:
            nice_bytes -= len(stored)
            fields[name] = json.loads(stored)
        elif len(stored) <= counted_bytes:
            counted_bytes -= len(stored)
            fields[name] = LargeValue(stored, _count(stored))
        else:
            fields[name] = LargeValue(stored, None)
    return fields


def shown_fields(state: dict[str, Any], kinds: dict[str, str]) -> list[ShownField]:
    """Give every field of a state in the order of its class, without what marks it as a charm."""
    state = {name: value for name, value in state.items() if name != "$NAME" and value != _STREAM}
    names = [*(name for name in kinds if name in state), *(n for n in state if n not in kinds)]
    return [_shown(name, kinds.get(name, "value"), state[name]) for name in names]


def shown_values(values: list[tuple[str, bytes]]) -> list[ShownField]:
    """Give values of a collection by their keys, in that order."""
    nice_bytes = NICE_BYTES
    shown = []
    for name, stored in values:
        nice_bytes -= len(stored)
        if len(stored) <= LINE_BYTES:
            shown.append(ShownField(name, "value", text=stored.decode()))
            continue
        value = json.loads(stored) if nice_bytes >= 0 else LargeValue(stored, None)
        folded = _shown_text(name, "value", value)
        shown.append(replace(folded, is_folded=True, summary=_beginning(stored)))
    return shown


def _beginning(stored: bytes) -> str:
    """How a value begins, so that items can be told apart, and how large it is."""
    text = stored[:LINE_BYTES].decode(errors="ignore")
    return f"{text}…, {size(len(stored))}"


def _shown(name: str, kind: str, value: Any) -> ShownField:
    if value == _SECRET and kind == "oauth":
        return ShownField(name, "sign-in", text="", summary="Sign-in; its tokens are never shown")
    if value == _SECRET:
        return ShownField(name, "secret", text="", summary="Secret, never shown")
    if kind == "items" and isinstance(value, dict):
        told = f"{counted(value['$items'], 'item')}, {size(value['bytes'])}"
        return ShownField(name, kind, text="", summary=told)
    if isinstance(value, dict) and list(value) == ["$link"]:
        return ShownField(name, "link", text=str(value["$link"]))
    return _shown_text(name, kind, value)


def _shown_text(name: str, kind: str, value: Any) -> ShownField:
    if isinstance(value, LargeValue):
        return _shown_as_stored(name, kind, value)
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


def _shown_as_stored(name: str, kind: str, value: LargeValue) -> ShownField:
    # No character takes more than four bytes; the last one may be cut in two.
    text = value.stored[: 4 * CUT_CHARACTERS].decode(errors="ignore")[:CUT_CHARACTERS]
    is_cut = len(text) < len(value.stored)
    what, member = {b"[": ("List", "item"), b"{": ("Object", "key")}.get(
        value.stored[:1], ("Text", "")
    )
    if member and value.count is not None:
        what += f" {'of' if what == 'List' else 'with'} {counted(value.count, member)}"
    summary = f"{what}, {size(len(value.stored))}"
    return ShownField(name, kind, text=text, summary=summary, is_folded=True, is_cut=is_cut)


def _count(stored: bytes) -> int | None:
    kinds: dict[bytes, Any] = {b"[": list[msgspec.Raw], b"{": dict[str, msgspec.Raw]}
    kind = kinds.get(stored[:1])
    return None if kind is None else len(msgspec.json.decode(stored, type=kind))


def _summary(value: Any, length: int) -> str:
    if isinstance(value, list):
        return f"List of {counted(len(value), 'item')}, {size(length)}"
    if isinstance(value, dict):
        return f"Object with {counted(len(value), 'key')}, {size(length)}"
    return f"Text of {counted(len(value), 'character')}"
