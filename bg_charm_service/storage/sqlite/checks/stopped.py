"""The doctor of a database that no service has open: looks at the file, and then into it.

Changes nothing unless asked to repair, not even the schema. Called by the command line, and after
a restore.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bg_charm_service.domain.errors import CannotExamine, DataDirectoryError, ServiceError
from bg_charm_service.storage.records import Finding, Severity, Trouble
from bg_charm_service.storage.sql.store.charms import Charms
from bg_charm_service.storage.sql.store.packages import Packages
from bg_charm_service.storage.sql.store.runs import Runs
from bg_charm_service.storage.sqlite.checks.examination import Doctor
from bg_charm_service.storage.sqlite.database import Database
from bg_charm_service.storage.sqlite.integrity import problems_in, problems_of
from bg_charm_service.storage.sqlite.job_queue import JobQueue
from bg_charm_service.storage.sqlite.migrations import STEPS
from bg_charm_service.storage.sqlite.schema_version import stored_schema_version


def examine_stopped(
    path: Path, troubles: Sequence[Trouble] = (), *, repair: bool, is_full: bool
) -> list[Finding]:
    """Check a database whose directory this process holds, beside what is known of its files."""
    findings = [_finding_of_file(trouble, repair=repair) for trouble in troubles]
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
    return findings


def locks_of_stopped(path: Path) -> dict[str, dict[int, str]]:
    """Give the locks that charms have, each with those charms by key and with their names.

    None where the database cannot be read: what is wrong with it `examine_stopped` tells.
    """
    try:
        if stored_schema_version(path) != len(STEPS):
            return {}
        database = Database.examine(path)
    except DataDirectoryError:
        return {}
    try:
        packages, charms = Packages(database), Charms(database, Runs(database))
        found: dict[str, dict[int, str]] = {}
        for lock_hash, space_keys in packages.used().items():
            for space_key in space_keys:
                for charm_key, one in packages.of_space(space_key).items():
                    if one == lock_hash:
                        charm = charms.get(charm_key)
                        name = f"{charm.name} {charm.ref}" if charm is not None else str(charm_key)
                        found.setdefault(lock_hash, {})[charm_key] = name
        return found
    except ServiceError:
        return {}
    finally:
        database.close()


def _finding_of_file(trouble: Trouble, *, repair: bool) -> Finding:
    if trouble.amend is None or not repair:
        return trouble.finding()
    trouble.amend()
    return trouble.finding(is_repaired=True)


def _examine_database(path: Path, *, repair: bool) -> Iterator[Finding]:
    try:
        database = Database.examine(path)
    except DataDirectoryError as error:
        yield Finding("database", Severity.ERROR, str(error).rstrip("."), repairable=False)
        return
    try:
        doctor, now = Doctor(database, JobQueue(database)), time.time()
        for trouble in [found for found in doctor.examine(now, None) if found is not None]:
            is_repaired = repair and trouble.is_mendable
            if is_repaired:
                for _ in doctor.mend(trouble, now, None):
                    pass
            yield trouble.finding(is_repaired=is_repaired)
    except ServiceError as error:
        yield Finding("database", Severity.ERROR, str(error).rstrip("."), repairable=False)
    finally:
        database.close()


def _read_all(path: Path) -> Iterator[Finding]:
    """Read every page, as they are with the log that a crash may have left."""
    try:
        for problem in _problems(path):
            yield Finding("integrity", Severity.ERROR, problem, repairable=False)
    except (CannotExamine, DataDirectoryError) as error:
        text = f"Not every page was read: {error}".rstrip(".")
        yield Finding("integrity", Severity.WARNING, text, repairable=False)


def _problems(path: Path) -> list[str]:
    if not 0 < stored_schema_version(path) <= len(STEPS):
        return problems_of(path)
    # The file by itself, without its log, may be a torn one: folding the log in takes room.
    database = Database.examine(path)
    try:
        return problems_in(path, database.connection)
    finally:
        database.close()
