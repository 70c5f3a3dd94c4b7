"""Promises of what is said of a failed run: its cause wherever it hides, its limit, its place."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from bg_charm_service.domain.errors import CompilerError, FailureCause, StateError, StateTooLarge
from bg_charm_service.domain.limits import Limits
from bg_charm_service.domain.model import Failure
from bg_charm_service.workers.protocol.messages import RunSpec
from bg_charm_service.workers.runtime.deadline import RunCpuLimit, RunFlood, RunTimeout
from bg_charm_service.workers.runtime.failure_report import failure_of, refused_cause

LIMITS = Limits(timeout_seconds=3.5, cpu_seconds=2.0, threads=8, log_bytes=1024)

SPEC = RunSpec(
    run_id="1.1",
    job_id=1,
    attempt=1,
    space="did:key:here",
    charm_id="charm",
    source_hash="",
    source=None,
    file_name="some.py",
    class_name="Some",
    stream="bgUpdater",
    event=b"{}",
    values={},
    large=(),
    links={},
    last_success=None,
    limits=LIMITS,
)


def told(error: BaseException, leak: str = "") -> Failure:
    """What is said of an error that was raised behind walls."""
    try:
        raise error
    except BaseException as raised:
        return failure_of(raised, SPEC, leak, has_walls=True)


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
            "PermissionError: [Errno 13] Permission denied: '/etc/shadow' "
            "(its walls do not allow that: see docs/security.md)",
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
    message = told(PermissionError(errno.EACCES, "x" * 10_000)).message
    assert len(message) <= 1_901
    assert message.endswith("see docs/security.md)")


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
            raise inner
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
            raise inner
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
        (OSError("Multiple exceptions: [Errno 13] Connect call failed"), FailureCause.FORBIDDEN),
        (FileNotFoundError(errno.ENOENT, "No such file"), FailureCause.ERROR),
        (ValueError("no"), FailureCause.ERROR),
    ],
)
def test_cause_is_found_wherever_it_is(
    wrap: Callable[[BaseException], BaseException], error: BaseException, cause: FailureCause
) -> None:
    """What was refused gives the cause: raised itself, as a cause, a context or in a group."""
    assert cause is refused_cause(wrap(error), has_walls=True)


def test_without_walls_nothing_is_forbidden_by_them() -> None:
    """Where no walls are up, a refusal of the system is an error of the charm like any other."""
    assert FailureCause.ERROR is refused_cause(DENIED, has_walls=False)


def test_a_hidden_context_does_not_count() -> None:
    """What an author hides with `from None` was dealt with."""
    error = during(MemoryError())
    error.__suppress_context__ = True

    assert FailureCause.ERROR is refused_cause(error, has_walls=True)


def test_exceptions_that_lead_to_themselves_are_looked_at_once() -> None:
    """A circle of causes comes to an end."""
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first

    assert FailureCause.ERROR is refused_cause(first, has_walls=True)


def test_an_exception_that_fails_when_asked_is_an_error() -> None:
    """An author's exception may do anything, and the run is still answered."""

    class Sly(RuntimeError):
        def __str__(self) -> str:
            raise SystemError("no text")

        @property
        def __cause__(self) -> BaseException:  # type: ignore[override]
            raise SystemError("no cause")

    assert FailureCause.ERROR is refused_cause(Sly(), has_walls=True)
