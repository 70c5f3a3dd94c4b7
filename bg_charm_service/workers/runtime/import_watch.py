"""Tells when a module is loaded, and when that is over, with everything that it loads itself.

What a library changes while it is loaded is its own, and no charm's. Python tells only of the
beginning, so that its own function is stood in for, once in a process. Used by `shared_state`.
"""

from __future__ import annotations

import importlib
from typing import Any, Final, Protocol

_bootstrap: Final[Any] = vars(importlib)["_bootstrap"]

_find_and_load: Final = _bootstrap._find_and_load


class Listener(Protocol):
    """Is told of each import that is not part of another."""

    def import_begins(self) -> None:
        """Something that was not loaded yet is about to be."""

    def import_ends(self) -> None:
        """It is loaded, or was refused."""


class _Watch:
    """Who listens, and whether an import is under way."""

    listener: Listener | None = None
    is_importing = False


def listen(listener: Listener | None) -> None:
    """Tell this one from now on, and nobody else."""
    _Watch.listener = listener
    _bootstrap._find_and_load = _find_and_load if listener is None else _load


def _load(name: str, import_: Any) -> Any:
    listener = _Watch.listener
    if listener is None or _Watch.is_importing:
        return _find_and_load(name, import_)
    _Watch.is_importing = True
    try:
        listener.import_begins()
        return _find_and_load(name, import_)
    finally:
        _Watch.is_importing = False
        listener.import_ends()


# Taken for what it stands for: left out of tracebacks, and by warnings that name who imports.
_load.__code__ = _load.__code__.replace(co_filename=_find_and_load.__code__.co_filename)
