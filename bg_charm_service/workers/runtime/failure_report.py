"""From what a run raised to what is said of it: the cause, one line, the author's own frames.

What the charm says itself, what the operating system refused and what a provider did are looked for
along causes, contexts, groups and arguments, since libraries wrap what they catch. Exceptions are a
charm's own, and may do anything when asked. Used by the worker where a run has raised.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from dataclasses import replace
from typing import Final

from bg_charm_service.domain.errors import (
    CompilerError,
    FailureCause,
    ServiceError,
    StateError,
    StateTooLarge,
)
from bg_charm_service.domain.limits import Limits
from bg_charm_service.domain.model import Failure
from bg_charm_service.domain.outcomes.refusals import Refusal
from bg_charm_service.domain.outcomes.run_endings import Ending, EndingKind
from bg_charm_service.domain.quantities import size_text
from bg_charm_service.domain.text_limits import (
    REPORTED_ERROR_CHARACTERS,
    REPORTED_TRACEBACK_CHARACTERS,
    cut,
)
from bg_charm_service.sdk.endings import (
    ProviderDown,
    RunEnding,
    SignInNeeded,
    Wait,
    seconds_until,
)
from bg_charm_service.workers.protocol.messages import RunSpec
from bg_charm_service.workers.runtime.charm_binding import author_traceback, missing_module_hint
from bg_charm_service.workers.runtime.deadline import RunCpuLimit, RunFlood, RunStopped
from bg_charm_service.workers.runtime.host_watch import HostWatch
from bg_charm_service.workers.runtime.provider_faults import (
    Fault,
    fault_of,
    links_of,
)
from bg_charm_service.workers.runtime.refusals import (
    NO_WALLS,
    Surroundings,
    refusal_in,
    refusal_in_words,
)

_TOO_MANY_FILES: Final = {errno.EMFILE, errno.ENFILE}
_NO_ROOM: Final = {errno.EFBIG, errno.ENOSPC, errno.EDQUOT}

#: Groups of exceptions lie in each other to this depth, where they are looked into.
_MOST_GROUPS: Final = 100

_CAUSES: Final = {
    EndingKind.WAIT: FailureCause.WAIT,
    EndingKind.DOWN: FailureCause.DOWN,
    EndingKind.SIGN_IN: FailureCause.SIGN_IN,
    EndingKind.STOP: FailureCause.STOP,
}

_NO_THREAD: Final = "can't start new thread"

#: What the C library says of a module in machine code that found no room.
_NO_MEMORY: Final = ("failed to map segment from shared object", os.strerror(errno.ENOMEM))


def end_of(
    error: BaseException,
    spec: RunSpec,
    leak: str,
    hosts: HostWatch,
    around: Surroundings = NO_WALLS,
) -> tuple[Failure, Ending | None]:
    """Say how a run ended that raised: the failure, and the ending where it is none.

    The failure names the cause, in one line and with the charm's own frames, and what was refused;
    `leak` says what is still running. Without walls nothing is forbidden by them.
    """
    traceback = cut(
        _encodable(author_traceback(error, spec.file_name)), REPORTED_TRACEBACK_CHARACTERS
    )
    if isinstance(error, RunStopped):
        cause, text = _stopped(error, spec.limits)
        still = f"; still running: {leak}" if leak else ""
        # Where it was, without the name of what stopped it.
        where = traceback.replace("bg_charm_service.workers.runtime.deadline.", "")
        return Failure(cause, f"{text}{still}.", where), None
    if isinstance(error, CompilerError):
        return unloadable(error, spec.limits, hosts, around), None
    if isinstance(error, StateTooLarge):
        return Failure(FailureCause.STATE_SIZE, short(str(error))), None
    if isinstance(error, StateError):
        return Failure(FailureCause.STATE, short(str(error)), traceback), None
    said = next((link for link in links_of(error) if isinstance(link, RunEnding)), None)
    if said is not None:
        ending = _said(said, hosts)
        cause = _CAUSES[ending.kind]
        behind = _behind_word(said, spec.limits, hosts, around, traceback)
        if behind is not None:
            return behind
        if ending.kind is EndingKind.DOWN and not ending.host:
            return Failure(FailureCause.ERROR, one_line(said), traceback), None
        return Failure(cause, short(said.why) or type(said).__name__, traceback), ending
    cause, refusal = refused(error, spec.limits, hosts, around)
    fault = fault_of(error, hosts) if cause is FailureCause.ERROR and refusal is None else None
    if fault is not None:
        return _provider_failed(error, fault, traceback)
    hint = _missing_hint(error, spec.file_name) or _hint(cause, spec.limits)
    return Failure(cause, _with_hint(one_line(error), hint), traceback, refusal), None


def failure_of(
    error: BaseException,
    spec: RunSpec,
    leak: str,
    hosts: HostWatch,
    around: Surroundings = NO_WALLS,
) -> Failure:
    """Give the failure of `end_of` alone."""
    return end_of(error, spec, leak, hosts, around)[0]


def unloadable(
    error: ServiceError,
    limits: Limits,
    hosts: HostWatch,
    around: Surroundings,
    because: BaseException | None = None,
) -> Failure:
    """Say why a source cannot be loaded: by itself, or because something was refused to it.

    `because` is what it came from, where the error itself does not lead to that.
    """
    cause, refusal = refused(because or error, limits, hosts, around)
    cause = FailureCause.COMPILER if cause is FailureCause.ERROR else cause
    return Failure(cause, _with_hint(short(str(error)), _hint(cause, limits)), refusal=refusal)


def _said(said: RunEnding, hosts: HostWatch) -> Ending:
    """What the charm itself says of its end."""
    why = short(said.why)
    if isinstance(said, Wait):
        return Ending(EndingKind.WAIT, seconds_until(said.until, time.time()), why)
    if isinstance(said, ProviderDown):
        return Ending(EndingKind.DOWN, None, why, said.host.lower() or hosts.host)
    if isinstance(said, SignInNeeded):
        return Ending(EndingKind.SIGN_IN, None, why, url=said.url)
    return Ending(EndingKind.STOP, None, why)


def _behind_word(
    said: RunEnding, limits: Limits, hosts: HostWatch, around: Surroundings, traceback: str
) -> tuple[Failure, Ending | None] | None:
    """What led to a word about a provider, where that says more than the word: a wall, or TLS."""
    because = said.__cause__
    if not isinstance(said, ProviderDown) or because is None:
        return None
    cause, refusal = refused(because, limits, hosts, around)
    if cause is not FailureCause.ERROR or refusal is not None:
        text = short(said.why) or one_line(because)
        return Failure(cause, _with_hint(text, _hint(cause, limits)), traceback, refusal), None
    fault = fault_of(because, hosts)
    if fault is None or not fault.is_tls:
        return None
    return _provider_failed(because, replace(fault, host=said.host or fault.host), traceback)


def _provider_failed(
    error: BaseException, fault: Fault, traceback: str
) -> tuple[Failure, Ending | None]:
    """What is said of a run whose provider is at fault; without a host it is a failure."""
    assert fault.kind is not None
    text = one_line(error)
    if fault.is_tls:
        with_host = f" with {fault.host}" if fault.host else ""
        text = short(f"TLS{with_host}: {fault.why or text}")
    cause = FailureCause.TLS if fault.is_tls else _CAUSES[fault.kind]
    if fault.kind is EndingKind.DOWN and not fault.host:
        return Failure(cause if fault.is_tls else FailureCause.ERROR, text, traceback), None
    why = f"{fault.host} {fault.why}".strip() if fault.why and not fault.is_tls else text
    return Failure(cause, text, traceback), Ending(fault.kind, fault.seconds, why, fault.host)


def _stopped(error: RunStopped, limits: Limits) -> tuple[FailureCause, str]:
    if isinstance(error, RunCpuLimit):
        return FailureCause.CPU, f"Stopped after {limits.cpu_seconds:g} s of processor time"
    if isinstance(error, RunFlood):
        most = size_text(limits.flood_bytes)
        return FailureCause.LOG, f"Stopped for writing more than {most} to its log"
    return FailureCause.TIMEOUT, f"Timed out after {limits.timeout_seconds:g} s"


def _with_hint(text: str, hint: str) -> str:
    """Put behind an error what to know of it; the error is cut rather than the hint."""
    return f"{text[: REPORTED_ERROR_CHARACTERS - len(hint)]}{hint}"


def _missing_hint(error: BaseException, file_name: str) -> str:
    # It may be of an author's own class, and fail when it is asked.
    with suppress(Exception):
        return missing_module_hint(first_of(error), file_name)
    return ""


def _hint(cause: FailureCause, limits: Limits) -> str:
    """Say what the limit is that a run ran into."""
    memory = size_text(limits.memory_bytes)
    return {
        FailureCause.MEMORY: f" (it may use {memory} of memory)",
        FailureCause.FILES: f" (it may have {limits.open_files} files and connections open)",
        FailureCause.THREADS: f" (threads: {limits.threads}, in {memory} of memory)",
        FailureCause.SCRATCH: f" (it may keep {size_text(limits.scratch_bytes)} in files)",
    }.get(cause, "")


def one_line(error: BaseException) -> str:
    """Give an exception as one short line of text; its own text may fail to appear.

    A group says the first error inside of it as well.
    """
    inner = first_of(error)
    line = _line_of(error)
    return short(line if inner is error else f"{line}: {_line_of(inner)}")


def _line_of(error: BaseException) -> str:
    try:
        text = " ".join(str(error).split())
    except Exception:
        text = ""
    name = type(error).__name__
    return f"{name}: {text}" if text else name


def first_of(error: BaseException) -> BaseException:
    """Give the first error inside of a group, whatever groups it lies in; any other as it is."""
    # It may be of an author's own class, and fail when it is asked.
    with suppress(Exception):
        for _ in range(_MOST_GROUPS):
            if not isinstance(error, BaseExceptionGroup):
                break
            error = error.exceptions[0]
    return error


def short(text: str) -> str:
    """Cut an error's text to what is stored of it."""
    return cut(_encodable(text), REPORTED_ERROR_CHARACTERS)


def _encodable(text: str) -> str:
    """Write halves of surrogate pairs as escapes: they fit into no message."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def refused(
    error: BaseException, limits: Limits, hosts: HostWatch, around: Surroundings
) -> tuple[FailureCause, Refusal | None]:
    """Name what was refused; ERROR when nothing was, and the charm's own code failed.

    With what refused it, where that was not a limit: a wall, or the machine, which is no cause.
    """
    by_machine: Refusal | None = None
    for link in links_of(error):
        # It may be of an author's own class, and fail when it is asked.
        with suppress(Exception):
            cause = _cause_of(link)
            if cause is not None:
                return cause, None
            refusal = refusal_in(link, limits, hosts, around)
            if refusal is not None and refusal.kind.is_wall:
                return FailureCause.FORBIDDEN, refusal
            by_machine = by_machine or refusal
    refusal = by_machine or refusal_in_words(error, limits, hosts, around)
    is_wall = refusal is not None and refusal.kind.is_wall
    return FailureCause.FORBIDDEN if is_wall else FailureCause.ERROR, refusal


def _cause_of(error: BaseException) -> FailureCause | None:
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
    if isinstance(error, RuntimeError) and str(error).startswith(_NO_THREAD):
        return FailureCause.THREADS
    if isinstance(error, ImportError) and any(each in str(error) for each in _NO_MEMORY):
        return FailureCause.MEMORY
    return None
