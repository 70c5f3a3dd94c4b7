"""The doctor of a directory that no service has open: looks at its files and its database.

Changes nothing unless asked to repair, not even the schema. Called by the command line.
"""

from __future__ import annotations

import time
from pathlib import Path

from bg_charm_service.domain.errors import NotFound
from bg_charm_service.service.maintenance.health_checks import Report
from bg_charm_service.storage import engines
from bg_charm_service.storage.data_directory import DATABASE_NAME, DataDirectory


def examine_stopped(data_dir: Path, *, repair: bool, is_full: bool) -> Report:
    """Check a directory; raises NotFound for none, DataDirectoryBusy while a service has it."""
    if not (data_dir / DATABASE_NAME).exists():
        raise NotFound(f"{data_dir} has no database. Choose another directory with --data-dir.")
    # Before it is opened, which closes the directory to others.
    troubles = list(engines.file_troubles(data_dir))
    with DataDirectory.open(data_dir) as directory:
        path = directory.database_path
        findings = engines.examine_stopped(path, troubles, repair=repair, is_full=is_full)
        return Report(tuple(findings), time.time(), str(path) if is_full else None)
