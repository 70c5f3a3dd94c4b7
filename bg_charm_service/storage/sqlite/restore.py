"""Makes a backup the database of a data directory that no service has open.

Nothing is replaced before the backup is known to be whole and to be one that this version can
open; what is replaced is kept aside. Called by the command line.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from bg_charm_service.domain.errors import (
    BackupError,
    CannotExamine,
    Conflict,
    InvalidInput,
    NotFound,
    ServiceError,
)
from bg_charm_service.storage.data_directory import DataDirectory
from bg_charm_service.storage.records import Restored
from bg_charm_service.storage.sqlite.checks.stopped import examine_stopped
from bg_charm_service.storage.sqlite.database import Database
from bg_charm_service.storage.sqlite.integrity import facts_of, problems_of
from bg_charm_service.storage.sqlite.log_file import needs_log
from bg_charm_service.storage.sqlite.migrations import check_version
from bg_charm_service.storage.trusted_paths import open_file
from bg_charm_service.storage.whole_files import PARTIAL, discard, publish, written


def restore_backup(file: Path, data_dir: Path, *, force: bool) -> Restored:
    """Restore a backup; raises InvalidInput, Conflict, DataDirectoryError with nothing changed."""
    # Opened first: root becomes the directory's owner, who may not be able to read it.
    with _given(file) as content, DataDirectory.open(data_dir) as directory:
        target = directory.database_path
        if target.exists():
            if os.path.samestat(target.stat(), os.fstat(content.fileno())):
                raise InvalidInput(f"{file} is the database itself, not a backup of it.")
            if not force:
                raise Conflict(
                    f"{data_dir} has a database already. With --force it is replaced, "
                    "and kept aside."
                )
        partial = target.with_name(f".{target.name}{PARTIAL}")
        discard(partial)
        with written(partial), open(partial, "wb") as copy:
            shutil.copyfileobj(content, copy)
        try:
            _check(partial, file)
        except CannotExamine as error:
            discard(partial)
            raise BackupError(f"{error} Nothing was changed.") from None
        except BaseException:
            discard(partial)
            raise
        kept = _put_aside(target) if target.exists() else None
        publish(partial, target)
        Database.open(target).close()
        findings = examine_stopped(target, repair=False, is_full=False)
        return Restored(str(target), str(kept) if kept else None, tuple(findings))


@contextmanager
def _given(file: Path) -> Iterator[BinaryIO]:
    """Open the file that was named; raises NotFound, InvalidInput."""
    if not file.name:
        raise InvalidInput(f"{file} is no file.")
    log = file.with_name(f"{file.name}-wal")
    try:
        if log.exists() and log.stat().st_size:
            raise InvalidInput(
                f"{log} holds a part of {file.name}: that is the copy of a database in use, and "
                "no backup. Let a service open it, and make a backup."
            )
        with open(open_file(file), "rb") as content:
            yield content
    except FileNotFoundError:
        raise NotFound(f"There is no file {file}.") from None
    except OSError as error:
        raise InvalidInput(f"{file} cannot be restored: {error.strerror}.") from None


def _check(copy: Path, file: Path) -> None:
    """Raise unless the copy of a file is a whole database of ours that this version can open."""
    facts = facts_of(copy)
    if not facts.is_ours:
        reason = f": {facts.problems[0]}" if facts.problems else ""
        raise InvalidInput(f"{file} is no backup of this service{reason}. Nothing was changed.")
    check_version(facts.schema_version, str(file))
    if needs_log(copy):
        raise InvalidInput(
            f"{file} is a part of a database that was in use, and its log is not beside it: what "
            "was stored last is missing. Nothing was changed."
        )
    problems = problems_of(copy)
    if problems:
        raise InvalidInput(f"{file} is damaged: {problems[0]}. Nothing was changed.")


def _put_aside(target: Path) -> Path:
    """Rename a database so that nothing opens it by accident; its log goes with it."""
    with suppress(ServiceError):
        # Folds the log into the file. A database that cannot be opened keeps its log beside it.
        Database.examine(target).close()
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    kept = target.with_name(f"{target.name}.replaced-{stamp}")
    number = 1
    while kept.exists():
        number += 1
        kept = target.with_name(f"{target.name}.replaced-{stamp}-{number}")
    # The log first: a log without its database would be taken for one of the new database.
    with suppress(FileNotFoundError):
        target.with_name(f"{target.name}-wal").rename(f"{kept}-wal")
    target.rename(kept)
    return kept
