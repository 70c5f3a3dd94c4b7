"""What a charm class says of how often its state should change: `expects`.

Read when a charm is added or updated, not when it runs: a class that has something else of that
name goes on as it is. Used by the worker's `charm_binding`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from bg_charm_service.domain.errors import StateError
from bg_charm_service.domain.model import FieldKind
from bg_charm_service.sdk.class_schema import DeclarationError
from bg_charm_service.sdk.fields import CharmField
from bg_charm_service.sdk.reminders import seconds_after

EXPECTS: Final = "expects"

#: Kinds of fields that the charm itself keeps something in.
_STORED: Final = (FieldKind.VALUE, FieldKind.SECRET, FieldKind.ITEMS)

_WANTED: Final = 'expected a text such as "1d", or {"field": "1d"}'


def read_expectations(cls: type, fields: Mapping[str, CharmField]) -> dict[str, float]:
    """Give the fields that should change, and after how many seconds; empty for any field.

    Raises DeclarationError. A field or a stream of that name is the author's own.
    """
    wanted = inspect.getattr_static(cls, EXPECTS, None)
    if wanted is None or EXPECTS in fields or inspect.isfunction(wanted):
        return {}
    if not isinstance(wanted, Mapping):
        return {"": _seconds(cls, wanted)}
    for name in wanted:
        field = fields.get(name) if isinstance(name, str) else None
        if field is None or field.kind not in _STORED:
            known = ", ".join(fields) or "none"
            reason = f"{name!r:.80} is no field that it stores; it has {known}"
            raise DeclarationError(cls.__name__, EXPECTS, reason)
    if not wanted:
        raise DeclarationError(cls.__name__, EXPECTS, f"{_WANTED}, not nothing")
    return {name: _seconds(cls, value) for name, value in wanted.items()}


def _seconds(cls: type, value: Any) -> float:
    if isinstance(value, str | int | float | timedelta) and not isinstance(value, bool):
        try:
            seconds = seconds_after(value)
        except StateError:
            seconds = 0.0
        if seconds > 0:
            return seconds
    raise DeclarationError(cls.__name__, EXPECTS, f"{_WANTED}, not {value!r:.80}")
