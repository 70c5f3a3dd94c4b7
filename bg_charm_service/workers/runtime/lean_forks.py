"""Forks without what libraries do around each of them, which takes as long as the fork itself.

It gives locks anew that another thread may have held, and the zygote has one thread: none is held.
Random numbers are the exception, which must not be the same in two workers. Where a charm may fork
by itself, its worker takes up what was left out. Used by the zygote.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

Hook = Callable[[], Any]

#: What was to be done around forks, as `os.register_at_fork` was told.
_left_out: Final[list[dict[str, Hook]]] = []


@contextmanager
def left_out() -> Iterator[None]:
    """Leave out what modules that are imported inside want done around forks."""
    register = os.register_at_fork
    vars(os)["register_at_fork"] = _leave_out
    try:
        yield
    finally:
        vars(os)["register_at_fork"] = register


def begin_child(*, may_fork: bool) -> None:
    """Do in a forked child what cannot be left out; `may_fork` where it may have children."""
    # As `random` itself wants it: its function `seed` is for charms, and noted. It came with the
    # rest, by `tempfile` for one; an import statement here would cost more.
    sys.modules["random"]._inst.seed()
    if may_fork:
        for hooks in _left_out:
            os.register_at_fork(**hooks)


def _leave_out(**hooks: Hook) -> None:
    _left_out.append(hooks)
