"""All checks one after the other, and the mending of what they found."""

from __future__ import annotations

from collections.abc import Iterator

from bg_charm_service.domain.errors import StorageError
from bg_charm_service.storage.records import Finding, Severity, Trouble
from bg_charm_service.storage.sqlite.checks import charm_checks, job_checks, schema_checks
from bg_charm_service.storage.sqlite.checks.findings import Check, Scope

#: The cheap ones, in the order in which they are told. The first one that finds the schema wrong
#: is the last: the others would ask for what is not there.
CHECKS: tuple[Check, ...] = (
    schema_checks.schema,
    schema_checks.log_size,
    job_checks.claims,
    job_checks.stuck_jobs,
    job_checks.live_polls,
    job_checks.held_jobs,
    job_checks.dead_letters,
    charm_checks.next_runs,
    charm_checks.parts_of_charms,
    charm_checks.leftovers,
    charm_checks.counts,
)

#: So many things are mended in one transaction.
_MENDED_AT_ONCE = 50


def examine(scope: Scope) -> Iterator[Trouble | None]:
    """Make every check: None after each slice, at most some 20 ms of work, and what is found."""
    for check in CHECKS:
        try:
            for found in check(scope):
                yield found
                if found is not None and found.check == "schema" and found.mend is None:
                    return
        except StorageError as error:
            yield Trouble("database", Severity.ERROR, f"{error}".rstrip("."))


def mend(scope: Scope | None, trouble: Trouble) -> Iterator[None]:
    """Put right what a check found, a few things in one transaction; None after each."""
    if trouble.amend is not None:
        trouble.amend()
        return
    assert trouble.mend is not None
    assert scope is not None
    keys = trouble.keys or (None,)
    for start in range(0, len(keys), _MENDED_AT_ONCE):
        with scope.database.transaction():
            for key in keys[start : start + _MENDED_AT_ONCE]:
                trouble.mend(scope, key)
        yield None


def findings_of(scope: Scope) -> list[Finding]:
    """Make every check at once, and tell what is found."""
    return [found.finding() for found in examine(scope) if found is not None]
