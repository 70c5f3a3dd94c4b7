"""The doctor of a running service: the cheap checks at start and hourly, a slice at a time.

What it finds is told once, and shown in the status until it is gone. Mends only when asked.
Called by the maintenance cycle and the commands.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from loguru import logger

from bg_charm_service.domain.errors import BackupError
from bg_charm_service.service.charm_packages import CharmPackages
from bg_charm_service.service.maintenance.backups import Backups
from bg_charm_service.service.maintenance.verify_child import check_file
from bg_charm_service.storage.engines import file_troubles
from bg_charm_service.storage.records import Finding, Severity, Trouble
from bg_charm_service.storage.store_contract import Reminders
from bg_charm_service.supervisor.dispatcher import Dispatcher
from bg_charm_service.supervisor.loop import Parts
from bg_charm_service.supervisor.planning.poll_planner import PollPlanner

#: How often the checks are made, in seconds.
_EVERY_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Report:
    """What the doctor found, and when; `checked_file` is the backup whose pages were all read."""

    findings: tuple[Finding, ...]
    examined_at: float
    checked_file: str | None = None


class _Memory:
    """What the service holds in memory beside the database, as the checks ask for it."""

    def __init__(self, dispatcher: Dispatcher, planner: PollPlanner, reminders: Reminders) -> None:
        self._dispatcher = dispatcher
        self._planner = planner
        self._reminders = reminders

    def in_flight(self) -> frozenset[int]:
        return frozenset(run.claim.job.job_id for run in self._dispatcher.runs)

    def is_polled(self, charm_key: int) -> bool:
        return self._planner.is_polled(charm_key)

    def schedule(self, charm_key: int, space: str) -> None:
        self._planner.begin(charm_key, space)

    def next_reminder(self) -> float | None:
        return self._reminders.next_at()

    def remember_reminders(self) -> None:
        self._reminders.take(())


class HealthChecks:
    """Makes the checks, and remembers what they found."""

    def __init__(
        self, parts: Parts, backups: Backups, packages: CharmPackages, data_dir: Path
    ) -> None:
        self._doctor = parts.storage.doctor
        self._clock = parts.clock
        self._memory = _Memory(parts.dispatcher, parts.planner, parts.store.reminders)
        self._backups = backups
        self._packages = packages
        self._data_dir = data_dir
        self._turn = asyncio.Lock()
        self._due = self._clock.steady()
        self._told: set[str] = set()
        self.report: Report | None = None

    @property
    def problems(self) -> list[str]:
        """What is not as it must be, for the status; notes are left out."""
        return [
            f"Doctor: {finding.text}."
            for finding in (self.report.findings if self.report else ())
            if finding.severity is not Severity.NOTE and not finding.repaired
        ]

    async def run_if_due(self) -> None:
        """Make the cheap checks when an hour has passed since the last time."""
        if self._clock.steady() >= self._due:
            await self.examine(repair=False)

    async def examine(self, *, repair: bool, reads_files: bool = False) -> Report:
        """Make the cheap checks now, and mend what is safe to mend if that is wanted.

        With `reads_files` the packages of charms are read to their ends, which is not cheap.
        """
        async with self._turn:
            self._due = self._clock.steady() + _EVERY_SECONDS
            findings = []
            for trouble in [
                *self._file_troubles(),
                *(await self._troubles()),
                *(await self._packages.troubles(reads=reads_files)),
            ]:
                is_mended = repair and trouble.is_mendable
                if is_mended:
                    for _ in self._doctor.mend(trouble, self._clock.steady(), self._memory):
                        await asyncio.sleep(0)
                findings.append(trouble.finding(is_repaired=is_mended))
            self._tell(findings)
            self.report = Report(tuple(findings), self._clock.now())
            return self.report

    async def examine_all(self, *, repair: bool) -> Report:
        """Make the cheap checks, and have the newest backup read from end to end."""
        report = await self.examine(repair=repair, reads_files=True)
        if self._backups.is_shared:
            # The server's own tools look after its pages.
            return report
        newest = self._backups.newest()
        if newest is None:
            text = "There is no backup, so not every page was read: `bg-charm-service backup FILE`"
            findings = [Finding("integrity", Severity.NOTE, text, repairable=False)]
        else:
            findings = await _findings_in(newest)
        checked = str(newest) if newest is not None else None
        return Report((*report.findings, *findings), report.examined_at, checked)

    async def _troubles(self) -> list[Trouble]:
        found = []
        for trouble in self._doctor.examine(self._clock.steady(), self._memory):
            if trouble is not None:
                found.append(trouble)
            # Whatever waits gets its turn after each slice.
            await asyncio.sleep(0)
        return found

    def _file_troubles(self) -> Iterator[Trouble]:
        try:
            yield from file_troubles(self._data_dir)
        except OSError as error:
            text = f"The files of {self._data_dir} cannot be looked at: {error.strerror}"
            yield Trouble("files", Severity.ERROR, text)

    def _tell(self, findings: list[Finding]) -> None:
        bad = {
            one.text: one
            for one in findings
            if one.severity is not Severity.NOTE and not one.repaired
        }
        for text in bad.keys() - self._told:
            level = "ERROR" if bad[text].severity is Severity.ERROR else "WARNING"
            logger.bind(event="doctor", check=bad[text].check).log(level, "Doctor: {}", text)
        for one in findings:
            if one.repaired:
                logger.bind(event="doctor_repaired", check=one.check).warning(
                    "Doctor: repaired: {}", one.text
                )
        for text in self._told - bad.keys():
            logger.bind(event="doctor_over").info("Doctor: no more: {}", text)
        self._told = set(bad)


async def _findings_in(backup: Path) -> list[Finding]:
    """What a look at every page of a backup finds, or that nobody could look."""
    try:
        problems = await check_file(backup)
    except BackupError as error:
        text = str(error).rstrip(".")
        return [Finding("integrity", Severity.WARNING, text, repairable=False)]
    return [
        Finding("integrity", Severity.ERROR, f"{backup}: {problem}", repairable=False)
        for problem in problems
    ]
