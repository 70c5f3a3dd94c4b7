"""Backups of a service that runs: when one is due, one at a time, verified before it counts.

A backup gets its name only when it is whole; nothing else ever has that name. Of the backup
directory only files with our own pattern of names are ever listed or deleted. The loop is held up
by none of it. Run by the daemon; asked by the commands and the status.
"""

from __future__ import annotations

import asyncio
import os
import re
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from loguru import logger

from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.disclosure import OpenText
from bg_charm_service.domain.errors import (
    BackupError,
    Conflict,
    NotShared,
    ServiceStopping,
    StorageError,
)
from bg_charm_service.service.maintenance.backup_hook import HookFailed, run_hook
from bg_charm_service.service.maintenance.verify_child import check_file
from bg_charm_service.storage.contract import Database
from bg_charm_service.storage.data_directory import DATABASE_NAME, DataDirectory
from bg_charm_service.storage.engines import facts_of
from bg_charm_service.storage.whole_files import PARTIAL, discard, publish

#: A backup that failed is tried again after so long, unless the next one is due before, in seconds.
_RETRY_SECONDS = 300.0

#: The longest that a due time is slept towards in one go, so that a set clock is noticed.
_SLEEP_SECONDS = 60.0

#: What a backup that is only to be sent is called until it is whole; then it has no name at all.
_NAMELESS = f".bg-charm-service-sent.db{PARTIAL}"

#: The names of regular backups: the time at which each was begun, and a number where that is taken.
_NAME = re.compile(r"bg-charm-service-(\d{8}T\d{6}Z)(?:-(\d+))?\.db")


@dataclass(frozen=True, slots=True)
class BackupPlan:
    """How often backups are made, where, how many are kept, and what carries them away."""

    every_seconds: float | None = None
    keep: int = 7
    directory: Path | None = None
    hook: tuple[str, ...] = ()
    #: Whether the data are on a server, which makes its own backups.
    is_shared: bool = False


@dataclass(frozen=True, slots=True)
class BackupFile:
    """One backup; `made_at` is in seconds since the epoch."""

    path: OpenText
    made_at: float
    size_bytes: int


@dataclass(frozen=True, slots=True)
class BackupStatus:
    """How backups go; `next_at` is null where none are made regularly.

    `hook_output` is the end of what a hook that failed has printed.
    """

    directory: OpenText
    last: BackupFile | None
    next_at: float | None
    problem: OpenText
    hook_problem: OpenText
    hook_output: str


class Backups:
    """Makes backups."""

    def __init__(
        self, database: Database, directory: DataDirectory, plan: BackupPlan, clock: Clock
    ) -> None:
        self.directory = plan.directory or directory.path / "backups"
        self._database = database
        self._data_dir = directory.path
        self._keep_lock = directory.keep_lock
        self._plan = plan
        self._clock = clock
        self._turn = asyncio.Lock()
        self._stop = threading.Event()
        self._hooks: set[asyncio.Task[None]] = set()
        self._last = next(iter(backups_in(self.directory)), None)
        self._problem = ""
        self._hook_problem = self._hook_output = ""
        self._next_at: float | None = None
        # An earlier life may have been killed while it made one.
        discard(self._data_dir / _NAMELESS)

    @property
    def is_shared(self) -> bool:
        """Whether there is no file to copy."""
        return self._plan.is_shared

    @property
    def status(self) -> BackupStatus:
        """How backups go."""
        where = str(self.directory)
        return BackupStatus(
            where,
            self._last,
            self._next_at,
            self._problem,
            self._hook_problem,
            self._hook_output,
        )

    def newest(self) -> Path | None:
        """The newest backup that is still there."""
        known = [*([self._last] if self._last else []), *backups_in(self.directory)]
        for each in sorted(known, key=lambda one: one.made_at, reverse=True):
            if Path(each.path).is_file():
                return Path(each.path)
        return None

    async def run(self) -> None:
        """Make a backup whenever one is due; does nothing where none were asked for."""
        every = self._plan.every_seconds
        if every is None:
            await asyncio.Event().wait()
            return
        self._next_at = self._first_due(every)
        while True:
            await self._sleep_until(self._next_at)
            wait = every
            try:
                await self.make_regular()
                # The next one may not push out a backup that is still being carried away.
                await asyncio.gather(*self._hooks)
            except BackupError:
                wait = min(every, _RETRY_SECONDS)
            self._next_at = self._clock.now() + wait

    async def make_regular(self) -> BackupFile:
        """Make a backup in the backup directory, and delete those that are too many."""
        try:
            async with self._own_turn():
                _prepare(self.directory)
                made = await self._make(_free_name(self.directory, self._clock.now()))
                _prune(self.directory, self._plan.keep)
        except (BackupError, OSError) as error:
            self._problem = str(error)
            logger.bind(event="backup_failed").error("No backup was made: {}", error)
            if isinstance(error, BackupError):
                raise
            raise BackupError(f"The backup failed: {error}.") from None
        self._problem = ""
        return made

    async def make(self, target: Path) -> BackupFile:
        """Make a backup in a file, in the place of an older one; raises Conflict for other files.

        Raises BackupError when it cannot be written or is damaged: what was there is still there.
        """
        self._check_replaceable(target)
        async with self._own_turn():
            return await self._make(target)

    async def make_nameless(self) -> BinaryIO:
        """Make a backup in no file that stays, and give it open; raises BackupError.

        No hook carries it away: whoever asked for it does.
        """
        partial = self._data_dir / _NAMELESS
        async with self._own_turn():
            started = time.monotonic()
            await self._write(partial)
            try:
                made = os.fdopen(os.open(partial, os.O_RDONLY | os.O_CLOEXEC), "rb")
            except OSError as error:
                raise BackupError(f"The backup cannot be read: {error.strerror}.") from None
            finally:
                discard(partial)
        size, seconds = os.fstat(made.fileno()).st_size, time.monotonic() - started
        logger.bind(event="backup_sent", duration=round(seconds, 3)).info(
            "Backup for a command made and verified: {} bytes in {:.1f} s", size, seconds
        )
        return made

    async def stop(self) -> None:
        """Give up what is under way, and wait for its end; stopping twice is fine."""
        self._stop.set()
        for hook in list(self._hooks):
            hook.cancel()
        await asyncio.gather(*self._hooks, return_exceptions=True)
        async with self._turn:
            pass

    def _first_due(self, every_seconds: float) -> float:
        now = self._clock.now()
        newest = next(iter(backups_in(self.directory)), None)
        if newest is None:
            return now
        # A time in the future was written by a clock that has been set back since.
        return min(newest.made_at, now) + every_seconds

    async def _sleep_until(self, moment: float) -> None:
        while (rest := moment - self._clock.now()) > 0:  # noqa: ASYNC110 - a clock tells nobody
            await asyncio.sleep(min(rest, _SLEEP_SECONDS))

    async def _make(self, target: Path) -> BackupFile:
        started = time.monotonic()
        partial = target.with_name(f".{target.name}{PARTIAL}")
        await self._write(partial)
        publish(partial, target)
        self._last = made = _backup_file(target)
        seconds = time.monotonic() - started
        logger.bind(event="backup", file=made.path, duration=round(seconds, 3)).info(
            "Backup {} made and verified: {} bytes in {:.1f} s", target, made.size_bytes, seconds
        )
        if self._plan.hook:
            hook = asyncio.create_task(self._carry_away(target))
            self._hooks.add(hook)
            hook.add_done_callback(self._hooks.discard)
        return made

    async def _write(self, partial: Path) -> None:
        """Write a backup that is whole and sound, or none."""
        discard(partial)
        await self._copy(partial)
        try:
            problems = await check_file(partial)
            if problems:
                raise BackupError(
                    f"The backup is damaged, and so may be the database: {problems[0]}. "
                    "Nothing was kept of it; `bg-charm-service doctor --full` looks closer."
                )
        except BaseException:
            discard(partial)
            raise

    async def _copy(self, partial: Path) -> None:
        """Copy in a thread, which is asked to stop, and waited for, when nobody wants it more."""
        given_up = threading.Event()

        def should_stop() -> bool:
            return self._stop.is_set() or given_up.is_set()

        copying = asyncio.ensure_future(
            asyncio.to_thread(self._database.copy_to, partial, should_stop)
        )
        try:
            await asyncio.shield(copying)
        except asyncio.CancelledError:
            given_up.set()
            await asyncio.wait([copying])
            if not copying.cancelled() and copying.exception() is None:
                discard(partial)
            raise

    @asynccontextmanager
    async def _own_turn(self) -> AsyncIterator[None]:
        if self.is_shared:
            raise BackupError(
                "The data are in a database of a server: back that up with pg_dump, or as the "
                "server does it."
            )
        async with self._turn:
            if self._stop.is_set():
                raise ServiceStopping("The service is stopping and makes no backup.")
            try:
                # Where a moved data directory was, another service's backups may be now.
                self._keep_lock()
            except StorageError as error:
                raise BackupError(f"{error}.") from None
            yield

    async def _carry_away(self, file: Path) -> None:
        try:
            await run_hook(self._plan.hook, file)
        except (BackupError, OSError) as error:
            self._hook_problem = str(error)
            self._hook_output = error.output if isinstance(error, HookFailed) else ""
            bound = logger.bind(event="backup_hook_failed", file=str(file))
            said = f"{str(error).rstrip('.')}: {self._hook_output}" if self._hook_output else error
            bound.error("The backup was made, but not carried away: {}", said)
            return
        self._hook_problem = self._hook_output = ""
        logger.bind(event="backup_hook", file=str(file)).info("Carried {} away", file)

    def _check_replaceable(self, target: Path) -> None:
        """Raise Conflict for a file that is no backup, or that the service itself lives on."""
        try:
            found = target.stat()
        except FileNotFoundError:
            return
        except OSError as error:
            raise BackupError(f"{target} cannot be looked at: {error.strerror}.") from None
        own = self._data_dir / DATABASE_NAME
        # Asked first: opening and closing the live file would let go of its lock.
        if own.exists() and own.samefile(target):
            raise Conflict(f"{target} is the database itself. Choose another file.")
        is_file = target.is_file() and not target.is_symlink()
        if not is_file or (found.st_size and not facts_of(target).is_ours):
            raise Conflict(
                f"{target} is no backup of this service, and stays. Choose another file."
            )


def _backup_file(path: Path) -> BackupFile:
    """Describe a file by what the file system knows of it; raises FileNotFoundError."""
    found = path.stat()
    return BackupFile(str(path), found.st_mtime, found.st_size)


def check_shared(folder: Path, device_and_inode: tuple[int, int]) -> None:
    """Raise NotShared unless a folder is the one that a caller sees, and one to write to.

    A unit's /tmp, home folders and a read-only system are not what others see under these names.
    """
    try:
        found = folder.stat()
        is_same = (found.st_dev, found.st_ino) == device_and_inode
        if is_same and os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
            return
    except OSError:
        pass
    raise NotShared(f"The service cannot write into {folder} as you see it; nothing was made.")


def backups_in(directory: Path) -> list[BackupFile]:
    """The backups of a directory, the newest first; none where there is no directory."""
    return sorted(_backups_found(directory), key=lambda each: each.made_at, reverse=True)


def _free_name(directory: Path, now: float) -> Path:
    """Give the name of a backup that is made now, which no file has, or had a moment ago.

    Beside files of the same second it gets a number above theirs: a lower one may be free only
    because the older file was deleted, and whoever was told of that would take one for the other.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    names = [_NAME.fullmatch(path.name) for path in directory.iterdir()]
    newest = max((int(name[2] or 1) for name in names if name and name[1] == stamp), default=0)
    number = f"-{newest + 1}" if newest else ""
    return directory / f"bg-charm-service-{stamp}{number}.db"


def _prepare(directory: Path) -> None:
    """Make the directory where it is missing, and delete what an interrupted backup left there."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in directory.glob(f".bg-charm-service-*{PARTIAL}"):
            path.unlink()
    except OSError as error:
        raise BackupError(
            f"The backup directory {directory} cannot be used: {error.strerror}."
        ) from None


def _prune(directory: Path, keep: int) -> None:
    """Delete all but the newest backups of a directory."""
    for each in backups_in(directory)[keep:]:
        with suppress(OSError):
            Path(each.path).unlink()


def _backups_found(directory: Path) -> Iterator[BackupFile]:
    with suppress(OSError):
        for path in directory.iterdir():
            if _NAME.fullmatch(path.name):
                yield _backup_file(path)
