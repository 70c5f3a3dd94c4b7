"""From what a run raised to what is said of it: the cause, one line, the author's own frames.

Used by the worker.
"""

from __future__ import annotations

from bg_charm_service.domain.errors import CompilerError, FailureCause, StateError, StateTooLarge
from bg_charm_service.domain.limits import Limits
from bg_charm_service.domain.quantities import size_text
from bg_charm_service.domain.text_limits import (
    REPORTED_ERROR_CHARACTERS,
    REPORTED_TRACEBACK_CHARACTERS,
    cut,
)
from bg_charm_service.workers.protocol.messages import FailureSpec, RunSpec
from bg_charm_service.workers.runtime.charm_binding import author_traceback
from bg_charm_service.workers.runtime.deadline import RunCpuLimit, RunFlood, RunStopped
from bg_charm_service.workers.runtime.refusals import refused_cause


def failure_of(
    error: BaseException, spec: RunSpec, leak: str, *, has_walls: bool = False
) -> FailureSpec:
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
        return FailureSpec(cause, f"{text}{still}.", where)
    if isinstance(error, CompilerError):
        return FailureSpec(FailureCause.COMPILER, short(str(error)))
    if isinstance(error, StateTooLarge):
        return FailureSpec(FailureCause.STATE_SIZE, short(str(error)))
    if isinstance(error, StateError):
        return FailureSpec(FailureCause.STATE, short(str(error)), traceback)
    cause = refused_cause(error, has_walls=has_walls)
    hint = _hint(cause, spec.limits)
    text = one_line(error)
    return FailureSpec(cause, f"{text[: REPORTED_ERROR_CHARACTERS - len(hint)]}{hint}", traceback)


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
