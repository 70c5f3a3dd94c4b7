"""Promises of what is said of a failed run: its cause wherever it hides, its limit, its place."""

from __future__ import annotations

import asyncio
import errno
from asyncio import Future
from collections.abc import Callable

import pytest
from msgspec import structs

from bg_charm_service.domain.errors import CompilerError, FailureCause, StateError, StateTooLarge
from bg_charm_service.domain.limits import Limits
from bg_charm_service.domain.model import Failure
from bg_charm_service.workers.runtime.deadline import RunCpuLimit, RunFlood, RunTimeout
from bg_charm_service.workers.runtime.failure_report import failure_of, refused
from bg_charm_service.workers.runtime.host_watch import HostWatch
from bg_charm_service.workers.runtime.refusals import NO_WALLS, Surroundings
from bg_charm_service.workers.sandbox import Wall
from tests.unit.plain_run import RUN

LIMITS = Limits(timeout_seconds=3.5, cpu_seconds=2.0, threads=8, log_bytes=1024)

SPEC = structs.replace(RUN, limits=LIMITS)

#: All walls, as around every run where the machine can have them.
BEHIND = Surroundings(frozenset(Wall), "/nowhere/scratch")


def by_the_system(error: BaseException) -> BaseException:
    """An error as a call of the interpreter raises it, and no statement."""
    future: Future[None] = Future(loop=asyncio.new_event_loop())
    future.get_loop().close()
    future.set_exception(error)
    try:
        future.result()
    except BaseException as raised:
        return raised
    raise AssertionError


def told(error: BaseException, leak: str = "") -> Failure:
    """What is said of an error that was raised behind walls."""
    return failure_of(by_the_system(error), SPEC, leak, HostWatch(), BEHIND)


def cause_of(error: BaseException, around: Surroundings = BEHIND) -> FailureCause:
    """What was refused, where the run has connected to nothing."""
    return refused(error, LIMITS, HostWatch(), around)[0]


@pytest.mark.parametrize(
    ("error", "cause", "message"),
    [
        (RunTimeout(), FailureCause.TIMEOUT, "Timed out after 3.5 s."),
        (RunCpuLimit(), FailureCause.CPU, "Stopped after 2 s of processor time."),
        (RunFlood(), FailureCause.LOG, "Stopped for writing more than 256K to its log."),
        (CompilerError("some.py:1: no"), FailureCause.COMPILER, "some.py:1: no"),
        (StateError("count: no"), FailureCause.STATE, "count: no"),
        (StateTooLarge("It left 5"), FailureCause.STATE_SIZE, "It left 5"),
        (MemoryError(), FailureCause.MEMORY, "MemoryError (it may use 512M of memory)"),
        (
            OSError(errno.EMFILE, "Too many open files"),
            FailureCause.FILES,
            "OSError: [Errno 24] Too many open files (it may have 128 files and connections open)",
        ),
        (
            RuntimeError("can't start new thread"),
            FailureCause.THREADS,
            "RuntimeError: can't start new thread (threads: 8, in 512M of memory)",
        ),
        (
            OSError(errno.EFBIG, "File too large"),
            FailureCause.SCRATCH,
            "OSError: [Errno 27] File too large (it may keep 64M in files)",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/etc/shadow"),
            FailureCause.FORBIDDEN,
            "PermissionError: [Errno 13] Permission denied: '/etc/shadow'",
        ),
        (ValueError("no"), FailureCause.ERROR, "ValueError: no"),
    ],
)
def test_each_cause_is_told_with_its_limit(
    error: BaseException, cause: FailureCause, message: str
) -> None:
    """What a run ran into is named, and how much it may have."""
    assert (cause, message) == (told(error).cause, told(error).message)


def test_what_still_runs_is_told() -> None:
    """A run that was stopped says what it had not ended."""
    assert (
        "Timed out after 3.5 s; still running: thread 'a'."
        == told(RunTimeout(), "thread 'a'").message
    )


def test_long_texts_are_cut_and_keep_the_hint() -> None:
    """A text of any length stays short, and what to read stays at its end."""
    message = told(OSError(errno.EMFILE, "x" * 10_000)).message
    assert len(message) <= 1_901
    assert message.endswith("files and connections open)")


def test_an_error_without_text_has_its_name() -> None:
    """An exception that fails when it is shown is told by its class."""

    class Sly(Exception):
        def __str__(self) -> str:
            raise ValueError("no text")

    assert (FailureCause.ERROR, "Sly") == (told(Sly()).cause, told(Sly()).message)


DENIED = PermissionError(errno.EPERM, "Operation not permitted")


def chained(inner: BaseException) -> BaseException:
    """An error raised from another, as libraries do."""
    try:
        raise ValueError("wrapped") from inner
    except ValueError as error:
        return error


def during(inner: BaseException) -> BaseException:
    """An error raised while another was looked at."""
    try:
        try:
            raise by_the_system(inner)
        except type(inner):
            raise ValueError("meanwhile")  # noqa: B904 - the context is what this is about
    except ValueError as error:
        return error


def grouped(inner: BaseException) -> BaseException:
    """A group with the error deep inside."""
    return BaseExceptionGroup("all", [KeyError("a"), BaseExceptionGroup("some", [inner])])


def handed_on(inner: BaseException) -> BaseException:
    """An error that has the other as its argument, and hides that it came from it."""
    try:
        try:
            raise by_the_system(inner)
        except type(inner) as error:
            raise ValueError(error) from None
    except ValueError as error:
        return error


@pytest.mark.parametrize("wrap", [lambda error: error, chained, during, grouped, handed_on])
@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (MemoryError(), FailureCause.MEMORY),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), FailureCause.MEMORY),
        (OSError(errno.EMFILE, "Too many open files"), FailureCause.FILES),
        (OSError(errno.ENFILE, "Too many open files in system"), FailureCause.FILES),
        (RuntimeError("can't start new thread"), FailureCause.THREADS),
        (OSError(errno.EFBIG, "File too large"), FailureCause.SCRATCH),
        (OSError(errno.ENOSPC, "No space left on device"), FailureCause.SCRATCH),
        (DENIED, FailureCause.FORBIDDEN),
        (PermissionError(errno.EACCES, "Permission denied"), FailureCause.FORBIDDEN),
        (FileNotFoundError(errno.ENOENT, "No such file"), FailureCause.ERROR),
        (ValueError("no"), FailureCause.ERROR),
    ],
)
def test_cause_is_found_wherever_it_is(
    wrap: Callable[[BaseException], BaseException], error: BaseException, cause: FailureCause
) -> None:
    """What was refused gives the cause: raised itself, as a cause, a context or in a group."""
    assert cause is cause_of(wrap(error))


def test_without_walls_nothing_is_forbidden_by_them() -> None:
    """Where no walls are up, a refusal of the system is an error of the charm like any other."""
    assert FailureCause.ERROR is cause_of(DENIED, NO_WALLS)


def test_a_hidden_context_does_not_count() -> None:
    """What an author hides with `from None` was dealt with."""
    error = during(MemoryError())
    error.__suppress_context__ = True

    assert FailureCause.ERROR is cause_of(error)


def test_exceptions_that_lead_to_themselves_are_looked_at_once() -> None:
    """A circle of causes comes to an end."""
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first

    assert FailureCause.ERROR is cause_of(first)


def test_an_exception_that_fails_when_asked_is_an_error() -> None:
    """An author's exception may do anything, and the run is still answered."""

    class Sly(RuntimeError):
        def __str__(self) -> str:
            raise SystemError("no text")

        @property
        def __cause__(self) -> BaseException:  # type: ignore[override]
            raise SystemError("no cause")

    assert FailureCause.ERROR is cause_of(Sly())
