"""What the operating system refused a run, found in what the run raised.

Looks along causes, contexts, groups and arguments, since libraries wrap what they catch. Used by
the worker where a run has failed; exceptions are a charm's own, and may do anything when asked.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from bg_charm_service.domain.errors import FailureCause

#: So many exceptions of one failure are looked at.
_MOST_LINKS: Final = 100

_TOO_MANY_FILES: Final = {errno.EMFILE, errno.ENFILE}
_NO_ROOM: Final = {errno.EFBIG, errno.ENOSPC, errno.EDQUOT}
_REFUSED: Final = {errno.EPERM, errno.EACCES}

#: asyncio joins the failures of several addresses to one text.
_JOINED: Final = tuple(f"Multiple exceptions: [Errno {number}]" for number in _REFUSED)

_NO_THREAD: Final = "can't start new thread"


def refused_cause(error: BaseException, *, has_walls: bool) -> FailureCause:
    """Name what was refused; ERROR when nothing was, and the charm's own code failed."""
    for link in _links(error):
        # It may be of an author's own class, and fail when it is asked.
        with suppress(Exception):
            cause = _cause_of(link, has_walls=has_walls)
            if cause is not None:
                return cause
    return FailureCause.ERROR


def _cause_of(error: BaseException, *, has_walls: bool) -> FailureCause | None:
    if isinstance(error, MemoryError):
        return FailureCause.MEMORY
    if isinstance(error, OSError):
        number = error.errno
        if number == errno.ENOMEM:
            return FailureCause.MEMORY
        if number in _TOO_MANY_FILES:
            return FailureCause.FILES
        if number in _NO_ROOM:
            return FailureCause.SCRATCH
        is_refused = number in _REFUSED or (number is None and str(error).startswith(_JOINED))
        return FailureCause.FORBIDDEN if has_walls and is_refused else None
    if isinstance(error, RuntimeError) and str(error).startswith(_NO_THREAD):
        return FailureCause.THREADS
    return None


def _links(error: BaseException) -> Iterator[BaseException]:
    """Give an exception and those that led to it, the nearest first, each once."""
    pending, seen = deque([error]), {id(error)}
    while pending and len(seen) <= _MOST_LINKS:
        one = pending.popleft()
        yield one
        for link in _behind(one):
            if isinstance(link, BaseException) and id(link) not in seen:
                seen.add(id(link))
                pending.append(link)


def _behind(error: BaseException) -> list[object]:
    try:
        group = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
        context = None if error.__suppress_context__ else error.__context__
        # Some libraries hide the context, and hand on what they caught as an argument.
        return [*group, error.__cause__, context, *error.args[:_MOST_LINKS]]
    except Exception:
        return []
