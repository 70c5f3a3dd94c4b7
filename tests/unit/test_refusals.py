"""Promises of what a failed run is said to have run into: the cause, wherever it hides."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.workers.runtime.failure_report import refused_cause

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
