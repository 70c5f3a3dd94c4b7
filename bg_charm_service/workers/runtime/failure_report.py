"""From what a run raised to what is said of it: the cause, one line, the author's own frames.

What the operating system refused is looked for along causes, contexts, groups and arguments, since
libraries wrap what they catch. Exceptions are a charm's own, and may do anything when asked.
Used by the worker where a run has failed.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from bg_charm_service.domain.errors import CompilerError, FailureCause, StateError, StateTooLarge
from bg_charm_service.domain.limits import Limits
from bg_charm_service.domain.model import Failure
from bg_charm_service.domain.quantities import size_text
from bg_charm_service.domain.text_limits import (
    REPORTED_ERROR_CHARACTERS,
    REPORTED_TRACEBACK_CHARACTERS,
    cut,
)
from bg_charm_service.workers.protocol.messages import RunSpec
from bg_charm_service.workers.runtime.charm_binding import author_traceback
from bg_charm_service.workers.runtime.deadline import RunCpuLimit, RunFlood, RunStopped

#: So many exceptions of one failure are looked at.
_MOST_LINKS: Final = 100

_TOO_MANY_FILES: Final = {errno.EMFILE, errno.ENFILE}
_NO_ROOM: Final = {errno.EFBIG, errno.ENOSPC, errno.EDQUOT}
_REFUSED: Final = {errno.EPERM, errno.EACCES}

#: asyncio joins the failures of several addresses to one text.
_JOINED: Final = tuple(f"Multiple exceptions: [Errno {number}]" for number in _REFUSED)

_NO_THREAD: Final = "can't start new thread"


def failure_of(
    error: BaseException, spec: RunSpec, leak: str, *, has_walls: bool = False
) -> Failure:
    """Name the cause of a failed run, in one line and with the charm's own frames.

    `leak` says what is still running; without walls nothing is forbidden by them.
    """
    traceback = cut(
        _encodable(author_traceback(error, spec.file_name)), REPORTED_TRACEBACK_CHARACTERS
    )
    if isinstance(error, RunStopped):
        cause, text = _stopped(error, spec.limits)
        still = f"; still running: {leak}" if leak else ""
        # Where it was, without the name of what stopped it.
        where = traceback.replace("bg_charm_service.workers.runtime.deadline.", "")
        return Failure(cause, f"{text}{still}.", where)
    if isinstance(error, CompilerError):
        return Failure(FailureCause.COMPILER, short(str(error)))
    if isinstance(error, StateTooLarge):
        return Failure(FailureCause.STATE_SIZE, short(str(error)))
    if isinstance(error, StateError):
        return Failure(FailureCause.STATE, short(str(error)), traceback)
    cause = refused_cause(error, has_walls=has_walls)
    hint = _hint(cause, spec.limits)
    text = one_line(error)
    return Failure(cause, f"{text[: REPORTED_ERROR_CHARACTERS - len(hint)]}{hint}", traceback)


def _stopped(error: RunStopped, limits: Limits) -> tuple[FailureCause, str]:
    if isinstance(error, RunCpuLimit):
        return FailureCause.CPU, f"Stopped after {limits.cpu_seconds:g} s of processor time"
    if isinstance(error, RunFlood):
        most = size_text(limits.flood_bytes)
        return FailureCause.LOG, f"Stopped for writing more than {most} to its log"
    return FailureCause.TIMEOUT, f"Timed out after {limits.timeout_seconds:g} s"


def _hint(cause: FailureCause, limits: Limits) -> str:
    """Say what the limit is that a run ran into, or where to read about its walls."""
    memory = size_text(limits.memory_bytes)
    return {
        FailureCause.MEMORY: f" (it may use {memory} of memory)",
        FailureCause.FILES: f" (it may have {limits.open_files} files and connections open)",
        FailureCause.THREADS: f" (threads: {limits.threads}, in {memory} of memory)",
        FailureCause.SCRATCH: f" (it may keep {size_text(limits.scratch_bytes)} in files)",
        FailureCause.FORBIDDEN: " (its walls do not allow that: see docs/security.md)",
    }.get(cause, "")


def one_line(error: BaseException) -> str:
    """Give an exception as one short line of text; its own text may fail to appear."""
    try:
        text = " ".join(str(error).split())
    except Exception:
        text = ""
    name = type(error).__name__
    return short(f"{name}: {text}" if text else name)


def short(text: str) -> str:
    """Cut an error's text to what is stored of it."""
    return cut(_encodable(text), REPORTED_ERROR_CHARACTERS)


def _encodable(text: str) -> str:
    """Write halves of surrogate pairs as escapes: they fit into no message."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


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
