"""Regular backups: each has a name of its own, also within one second."""

from __future__ import annotations

import asyncio
from pathlib import Path

from bg_charm_service.service.maintenance.backups import BackupPlan, Backups
from bg_charm_service.storage.data_directory import DataDirectory
from bg_charm_service.storage.engines import SQLiteEngine


class StillClock:
    """A clock that stands."""

    def now(self) -> float:
        return 1_790_000_000.0

    def steady(self) -> float:
        return 1_790_000_000.0

    def awake(self) -> float:
        return self.steady()


def test_no_name_is_given_twice(tmp_path: Path) -> None:
    """Whoever was told of a backup finds that one under its name, or none: never a later one."""

    async def work() -> list[str]:
        with DataDirectory.open(tmp_path / "data") as directory:
            storage = SQLiteEngine().open(directory.database_path)
            try:
                plan = BackupPlan(every_seconds=1.0, keep=2)
                backups = Backups(storage.database, directory, plan, StillClock())
                return [(await backups.make_regular()).path for _ in range(5)]
            finally:
                storage.close()

    paths = asyncio.run(work())
    assert 5 == len(set(paths))
    assert sorted(paths[-2:]) == sorted(map(str, (tmp_path / "data" / "backups").iterdir()))
