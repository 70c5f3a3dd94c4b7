"""The doctor of a directory that no service has open: its files, its database, charms' packages.

Changes nothing unless asked to repair, not even the schema. Called by the command line.
"""

from __future__ import annotations

import time
from pathlib import Path

from bg_charm_service.service.charm_packages import troubles_of_stopped
from bg_charm_service.service.maintenance.health_checks import Report
from bg_charm_service.storage import engines
from bg_charm_service.storage.data_directory import DataDirectory, check_has_database


def examine_stopped(data_dir: Path, *, repair: bool, is_full: bool) -> Report:
    """Check a directory; raises NotFound for none, DataDirectoryBusy while a service has it."""
    check_has_database(data_dir)
    # Before it is opened, which closes the directory to others.
    troubles = list(engines.file_troubles(data_dir))
    with DataDirectory.open(data_dir) as directory:
        path = directory.database_path
        locks = engines.locks_of_stopped(path)
        troubles += troubles_of_stopped(directory.packages_path, locks)
        findings = engines.examine_stopped(path, troubles, repair=repair, is_full=is_full)
        return Report(tuple(findings), time.time(), str(path) if is_full else None)
