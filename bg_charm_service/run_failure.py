"""From what a run raised to what is said of it: the cause, one line, the author's own frames.

Used by the worker.
"""

from __future__ import annotations

from bg_charm_service.binding import author_traceback
from bg_charm_service.deadline import RunTimeout
from bg_charm_service.errors import CompilerError, FailureCause, StateError
from bg_charm_service.wire import FailureSpec, RunSpec

#: Longer error texts are cut, in characters.
_MESSAGE_LIMIT = 1_900
_TRACEBACK_LIMIT = 19_000


def failure_of(error: BaseException, spec: RunSpec, leak: str) -> FailureSpec:
    """Name the cause of a failed run, in one line and with the charm's own frames."""
    traceback = _cut(author_traceback(error, spec.file_name), _TRACEBACK_LIMIT)
    if isinstance(error, RunTimeout):
        still = f"; still running: {leak}" if leak else ""
        text = f"Timed out after {spec.limits.timeout_seconds:g} s{still}."
        # Where it was, without the name of what stopped it.
        where = traceback.replace("bg_charm_service.deadline.RunTimeout", "RunTimeout")
        return FailureSpec(FailureCause.TIMEOUT, text, where)
    if isinstance(error, CompilerError):
        return FailureSpec(FailureCause.COMPILER, short(str(error)))
    if isinstance(error, StateError):
        return FailureSpec(FailureCause.STATE, short(str(error)), traceback)
    is_memory = isinstance(error, MemoryError)
    cause = FailureCause.MEMORY if is_memory else FailureCause.ERROR
    text = one_line(error)
    return FailureSpec(cause, text, traceback)


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
    return _cut(text, _MESSAGE_LIMIT)


def _cut(text: str, limit: int) -> str:
    clean = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return clean if len(clean) <= limit else clean[:limit] + "…"
