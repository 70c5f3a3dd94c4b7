"""How limits are shown: each with its value as it is written, and with whose word counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LimitView:
    """One limit as it counts; `value` is written the way it is set.

    `set_by` is service, space, charm or class: whose word counts.
    """

    name: str
    value: str
    set_by: str
    about: str


@dataclass(frozen=True, slots=True)
class LimitsView:
    """All limits of a charm or a space; `unmet` says what a class asks for and does not get."""

    limits: tuple[LimitView, ...]
    unmet: tuple[str, ...] = ()
