"""The doctor of a directory that no service has open: looks at its files and its database.

Changes nothing unless asked to repair, not even the schema. Called by the command line, and after
a restore.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from bg_charm_service.domain.errors import DataDirectoryError, NotFound, ServiceError
from bg_charm_service.service.maintenance.health_checks import Report
from bg_charm_service.storage.data_directory import DATABASE_NAME, DataDirectory
from bg_charm_service.storage.records import Finding, Severity, Trouble
from bg_charm_service.storage.sqlite.checks import Scope, examine, file_troubles, mend
from bg_charm_service.storage.sqlite.database import Database
from bg_charm_service.storage.sqlite.integrity import facts_of, problems_of
from bg_charm_service.storage.sqlite.job_queue import JobQueue
from bg_charm_service.storage.sqlite.migrations import STEPS
from bg_charm_service.storage.sqlite.schema_version import stored_schema_version


def examine_stopped(data_dir: Path, *, repair: bool, is_full: bool) -> Report:
    """Check a directory; raises NotFound for none, DataDirectoryBusy while a service has it."""
    if not (data_dir / DATABASE_NAME).exists():
        raise NotFound(f"{data_dir} has no database. Choose another directory with --data-dir.")
    # Before it is opened, which closes the directory to others.
    troubles = list(file_troubles(data_dir))
    with DataDirectory.open(data_dir) as directory:
        return examine_opened(directory, troubles, repair=repair, is_full=is_full)


def examine_opened(
    directory: DataDirectory, troubles: list[Trouble], *, repair: bool, is_full: bool
) -> Report:
    """Check the database of a directory that this process holds, beside what is known of it."""
    path = directory.database_path
    findings = [_finding(trouble, repair=repair) for trouble in troubles]
    version = stored_schema_version(path)
    if version > len(STEPS):
        text = f"The database has schema {version}, which only a later version can open"
        findings.append(Finding("schema", Severity.ERROR, text, repairable=False))
    elif 0 < version < len(STEPS):
        text = f"Schema {version} is brought up to {len(STEPS)} at the next start"
        findings.append(Finding("schema", Severity.NOTE, text, repairable=False))
    else:
        findings += _examine_database(path, repair=repair)
    if is_full:
        findings += _read_all(path)
    return Report(tuple(findings), time.time(), str(path) if is_full else None)


def _examine_database(path: Path, *, repair: bool) -> Iterator[Finding]:
    try:
        database = Database.examine(path)
    except DataDirectoryError as error:
        yield Finding("database", Severity.ERROR, str(error).rstrip("."), repairable=False)
        return
    try:
        scope = Scope(database, JobQueue(database), time.time())
        for trouble in [found for found in examine(scope) if found is not None]:
            yield _finding(trouble, repair=repair, scope=scope)
    except ServiceError as error:
        yield Finding("database", Severity.ERROR, str(error).rstrip("."), repairable=False)
    finally:
        database.close()


def _finding(trouble: Trouble, *, repair: bool, scope: Scope | None = None) -> Finding:
    is_repaired = repair and trouble.is_mendable
    if is_repaired:
        for _ in mend(scope, trouble):
            pass
    return trouble.finding(is_repaired=is_repaired)


def _read_all(path: Path) -> Iterator[Finding]:
    """Read every page; a log that a crash left is folded into the file before."""
    if facts_of(path).is_ours and stored_schema_version(path) <= len(STEPS):
        Database.examine(path).close()
    for problem in problems_of(path):
        yield Finding("integrity", Severity.ERROR, problem, repairable=False)
