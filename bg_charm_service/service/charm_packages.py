"""The packages of charms: locked where a source comes in, there while it runs, gone with the last.

A charm whose packages are not there waits, and they are fetched again by the hashes of its lock:
after a restore, on another machine or Python, and where a folder was damaged. Asked by the
dispatcher through `PackagePauses`, by the commands, and by the maintenance cycle.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loguru import logger

from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.errors import (
    Conflict,
    FailureCause,
    InvalidInput,
    PackageError,
    StorageError,
)
from bg_charm_service.domain.model import Failure
from bg_charm_service.domain.outcomes.backoff import provider_delay_seconds
from bg_charm_service.domain.outcomes.run_endings import WaitingView
from bg_charm_service.domain.packages.lock import (
    PackageLock,
    check_given,
    decode_lock,
    encode_lock,
    lock_hash,
)
from bg_charm_service.domain.packages.script_block import (
    ScriptBlock,
    check_allowed,
    check_python,
    read_block,
)
from bg_charm_service.domain.quantities import size_text
from bg_charm_service.domain.views import PackageStep
from bg_charm_service.packages.folders import PackageFolders
from bg_charm_service.packages.installer import Installer, running_python
from bg_charm_service.storage.contract import Pauses, Storage
from bg_charm_service.storage.records import Pause, Pausing, Severity, Trouble

#: What a charm waits for whose packages are not there.
PACKAGES_KIND = "packages"

_NOT_HERE = "its packages are not on this machine yet"


@dataclass(frozen=True, slots=True)
class Locked:
    """The packages of one source: the lock, what it is called, and the folder that there is."""

    lock_hash: str
    lock: PackageLock
    folder: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class PackageCounts:
    """How many locks charms have that are there, and are not; the bytes of the former, and the
    charms that wait for the latter.
    """

    there: int
    missing: int
    size_bytes: int
    waiting: int


@dataclass(slots=True)
class _Missing:
    """A lock without its folder: since when, why, and when it is tried again."""

    since: float
    why: str = _NOT_HERE
    tries: int = 0
    not_before: float = 0.0


class CharmPackages:
    """Which charm has which packages, and whether they are there."""

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        folders: PackageFolders,
        installer: Installer,
        wake: Callable[[], None],
    ) -> None:
        self._database = storage.database
        self._store = storage.store
        self._queue = storage.queue
        self._clock = clock
        self._folders = folders
        self._installer = installer
        self._wake = wake
        self._pinned: Counter[str] = Counter()
        self._missing: dict[str, _Missing] = {}
        self._steps: dict[int, PackageStep] = {}
        self._step_no = 0
        self._fetching: asyncio.Task[None] | None = None
        self._something_is_missing = asyncio.Event()
        self._is_stopped = False

    # What runs ask.

    def folder_of(self, charm_key: int) -> str:
        """The folder that a charm's workers are bound to; empty for a charm without packages."""
        lock = self._store.packages.of_charm(charm_key)
        if not lock:
            return ""
        name = self._folders.name(lock)
        # One that is not there is bound to nothing else: it must not run without its packages.
        return self._folders.bound_path(name) if name else f"missing.{lock}"

    def is_wanted(self, folder: str) -> bool:
        """Whether a worker that is bound to a folder may have something to do; so for no folder."""
        if not folder:
            return True
        lock = folder.partition(".")[0]
        is_used = lock in self._store.packages.used() or bool(self._pinned[lock])
        name = self._folders.name(lock)
        return is_used and bool(name) and folder == self._folders.bound_path(name)

    def missing_in(self, space_key: int) -> frozenset[int]:
        """The charms of a space whose packages are not there, by a look at the disk."""
        charms = self._store.packages.of_space(space_key)
        if not charms:
            return frozenset()
        missing = {lock for lock in set(charms.values()) if not self._is_there(lock)}
        return frozenset(key for key, lock in charms.items() if lock in missing)

    def problem_of(self, charm_key: int) -> Failure | None:
        """Why a charm cannot run now that somebody wants it to; None for nothing.

        What it waits for is fetched at once, however often that has failed.
        """
        lock = self._store.packages.of_charm(charm_key)
        if not lock or self._is_there(lock):
            return None
        self._missing[lock].not_before = 0.0
        self._something_is_missing.set()
        return Failure(FailureCause.PACKAGES, f"It waits for its packages: {self._why(lock)}.")

    def check(self, charm_key: int) -> None:
        """Raise Conflict while a charm's packages are not there: its class cannot be loaded."""
        problem = self.problem_of(charm_key)
        if problem is not None:
            raise Conflict(problem.message)

    def view(self, charm_key: int) -> WaitingView | None:
        """What a charm waits for, to be shown; None while its packages are there."""
        lock = self._store.packages.of_charm(charm_key)
        missing = self._missing.get(lock) if lock else None
        if missing is None:
            return None
        until = max(0.0, missing.not_before - self._clock.steady())
        at = self._clock.now() + until if until else 0.0
        return WaitingView(PACKAGES_KIND, at, missing.since, "", missing.why, "")

    def _is_there(self, lock: str) -> bool:
        if self._folders.is_there(lock):
            return True
        self._note_missing(lock)
        return False

    def _why(self, lock: str) -> str:
        missing = self._missing.get(lock)
        return missing.why if missing is not None else _Missing(0.0).why

    def counts(self) -> PackageCounts:
        """Count, by what is known without a look at the disk."""
        packages = self._store.packages
        used = packages.used()
        missing = self._missing.keys() & used.keys()
        waiting = sum(
            lock in missing
            for space_key in {one for lock in missing for one in used[lock]}
            for lock in packages.of_space(space_key).values()
        )
        size_bytes = packages.used_bytes(without=missing)
        return PackageCounts(len(used) - len(missing), len(missing), size_bytes, waiting)

    # What commands ask.

    async def prepare(
        self,
        source: str,
        file_name: str,
        *,
        space: str,
        may_name_any: bool,
        actor: str,
        before: str = "",
        given: PackageLock | None = None,
        upgrade: bool = False,
    ) -> Locked | None:
        """Have the packages that a source asks for; None where it asks for none.

        A lock that there was `before` stays while it is for the same block, unless an `upgrade` is
        wanted; one that is `given` counts for whoever may name any package. Raises InvalidInput.
        What it gives is to be released.
        """
        block = read_block(source, file_name)
        if block is None:
            return None
        check_python(block, running_python(), file_name)
        if not block.dependencies:
            return None
        with self._step(space, file_name) as tell:
            try:
                lock = self._lock_before(before, block, upgrade=upgrade)
                if lock is None:
                    if not may_name_any:
                        check_allowed(block, self._installer.rules.allowed, actor, file_name)
                    if given is not None and may_name_any:
                        check_given(given, block, file_name)
                        lock = given
                    else:
                        lock = await self._installer.lock(block, tell)
                return await self._have(lock, tell)
            except PackageError as error:
                raise PackageError(f"{file_name}: {error}.") from None

    def release(self, locked: Locked | None) -> None:
        """Let go of what was prepared: from here on it stays only where a charm has it."""
        if locked is not None:
            self._pinned[locked.lock_hash] -= 1
            self._pinned += Counter()

    def share(self, locked: Locked | None) -> None:
        """Let what was prepared be released once more."""
        if locked is not None:
            self._pinned[locked.lock_hash] += 1

    def give(self, charm_key: int, space_key: int, locked: Locked | None) -> None:
        """Give a charm its packages, inside a transaction; raises InvalidInput over the quota."""
        packages = self._store.packages
        if locked is None:
            if packages.of_charm(charm_key):
                packages.put(charm_key, space_key, "")
            return
        sizes = packages.sizes(space_key, without=charm_key)
        sizes[locked.lock_hash] = locked.size_bytes
        most = self._installer.rules.space_bytes
        if sum(sizes.values()) > most:
            raise InvalidInput(
                f"The packages of this space would take {sum(sizes.values()) / 1e6:,.0f} MB, and "
                f"{size_text(most)} are allowed. Remove charms that need others, or let the "
                "operator raise `--package-quota`."
            )
        lock = encode_lock(locked.lock)
        packages.keep(locked.lock_hash, lock, locked.size_bytes, self._clock.now())
        packages.put(charm_key, space_key, locked.lock_hash)

    def take(self, charm_key: int, space_key: int) -> None:
        """Take a charm's packages away, inside a transaction: it is removed."""
        self._store.packages.put(charm_key, space_key, "")

    def lock_of(self, charm_key: int) -> PackageLock | None:
        """The lock of a charm."""
        lock = self._store.packages.of_charm(charm_key)
        found = self._store.packages.get(lock) if lock else None
        return decode_lock(found.lock) if found is not None else None

    def steps(self, space: str) -> list[PackageStep]:
        """What is being done for a space now, by its name or DID as it was asked for."""
        return [one for one in self._steps.values() if one.space == space]

    def _lock_before(self, before: str, block: ScriptBlock, *, upgrade: bool) -> PackageLock | None:
        found = self._store.packages.get(before) if before and not upgrade else None
        lock = decode_lock(found.lock) if found is not None else None
        return lock if lock is not None and lock.fits(block) else None

    async def _have(self, lock: PackageLock, tell: Callable[[str], None]) -> Locked:
        name = lock_hash(lock)
        # While it is installed already: whoever tidies up must leave it.
        self._pinned[name] += 1
        try:
            folder = await self._installer.install(lock, tell)
            self._note_there(name)
            size_bytes = await asyncio.to_thread(self._folders.size_bytes, folder)
            return Locked(name, lock, self._folders.bound_path(folder), size_bytes)
        except OSError as error:
            self._pinned[name] -= 1
            raise PackageError(f"its packages cannot be read: {error.strerror}") from None
        except BaseException:
            self._pinned[name] -= 1
            raise

    @contextmanager
    def _step(self, space: str, file_name: str) -> Iterator[Callable[[str], None]]:
        self._step_no += 1
        number, since = self._step_no, self._clock.now()

        def tell(text: str) -> None:
            self._steps[number] = PackageStep(space, file_name, text, since)

        tell("waiting for others to be done")
        try:
            yield tell
        finally:
            del self._steps[number]

    # What is missing, and is fetched.

    def start(self) -> None:
        """Fetch what is missing from now on, as long as this service runs."""
        for lock in self._store.packages.used():
            self._is_there(lock)
        self._fetching = asyncio.create_task(self._fetch_missing())

    async def stop(self) -> None:
        """Fetch nothing more; stopping twice is fine."""
        self._is_stopped = True
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)
            self._fetching = None

    def _note_missing(self, lock: str, why: str = "") -> None:
        if lock in self._missing:
            return
        missing = _Missing(self._clock.now())
        missing.why = why or missing.why
        self._missing[lock] = missing
        logger.bind(event="packages_missing", lock=lock).warning(
            "Packages of charms are missing, and are fetched: {}", missing.why
        )
        self._something_is_missing.set()

    def _note_there(self, lock: str) -> None:
        if self._missing.pop(lock, None) is None:
            return
        logger.bind(event="packages_there", lock=lock).info("Packages of charms are there again")
        with self._database.transaction():
            for space_key in self._store.packages.used().get(lock, ()):
                self._queue.look_again(space_key)
        self._wake()

    async def _fetch_missing(self) -> None:
        """Fetch one lock after the other; what fails is tried again, later each time."""
        await self._check_all()
        while True:
            self._something_is_missing.clear()
            used = self._store.packages.used()
            for lock in self._missing.keys() - used.keys():
                del self._missing[lock]
            now = self._clock.steady()
            due = [lock for lock, one in self._missing.items() if one.not_before <= now]
            if due:
                await self._fetch(due[0])
                continue
            waits = [one.not_before - now for one in self._missing.values()]
            try:
                async with asyncio.timeout(min(waits, default=None)):
                    await self._something_is_missing.wait()
            except TimeoutError:
                continue

    async def _check_all(self) -> None:
        """Take out of use what does not go with what this service, which may be new, has loaded."""
        for lock in sorted(self._store.packages.used()):
            name = self._folders.name(lock)
            if not name:
                continue
            try:
                clash = await self._installer.clash_of(name)
            except PackageError as error:
                logger.bind(event="packages_unchecked").error(
                    "Packages of charms are used as they are: {}", error
                )
                return
            if clash and self._folders.name(lock) == name:
                self._folders.forget(lock)
                self._note_missing(lock, clash)

    async def _fetch(self, lock: str) -> None:
        missing = self._missing[lock]
        try:
            found = self._store.packages.get(lock)
            if found is None:
                raise PackageError("its lock is not in the database")
            await self._installer.install(decode_lock(found.lock), lambda _: None)
            self._note_there(lock)
        except (PackageError, StorageError) as error:
            missing.tries += 1
            missing.why = str(error)
            delay = provider_delay_seconds(missing.tries, 0.0)
            missing.not_before = self._clock.steady() + delay
            logger.bind(event="packages_failed", lock=lock).error(
                "Packages of charms cannot be fetched; it is tried again: {}", error
            )

    # What is tidied up, and looked after.

    async def tidy(self, bound: Collection[str]) -> None:
        """Remove the folders that no charm needs, and no worker is bound to."""
        if not self._folders.root.is_dir() or self._installer.turn.locked():
            return
        async with self._installer.turn:
            with self._database.transaction():
                self._store.packages.drop_unused()
            used = self._store.packages.used().keys() | {k for k, n in self._pinned.items() if n}
            kept = {path.partition("/")[0] for path in bound}
            for lock, name in self._folders.known().items():
                if lock not in used and name not in kept:
                    self._folders.forget(lock)
            for name in await asyncio.to_thread(self._folders.others, kept):
                await asyncio.to_thread(self._folders.remove, name)

    async def troubles(self, *, reads: bool) -> list[Trouble]:
        """Look whether the packages of charms are as they were installed; damaged ones are taken
        out of use, and fetched again. With `reads` each file is read to its end.
        """
        found = []
        for lock in sorted(self._store.packages.used()):
            if self._is_there(lock):
                name = self._folders.name(lock)
                damage = await asyncio.to_thread(self._folders.damage, name, reads=reads)
                if damage and self._folders.name(lock) == name:
                    self._folders.forget(lock)
                    self._note_missing(lock, _damaged(damage))
            if lock in self._missing:
                found.append(self._trouble(lock))
        return found

    def _trouble(self, lock: str) -> Trouble:
        names = {
            charm_key: f"{charm.name} {charm.ref}" if charm is not None else str(charm_key)
            for space_key in self._store.packages.used().get(lock, ())
            for charm_key, one in self._store.packages.of_space(space_key).items()
            if one == lock
            for charm in [self._store.charms.get(charm_key)]
        }
        return _trouble_of(names, f"wait for their packages, which are fetched: {self._why(lock)}")


def troubles_of_stopped(root: Path, locks: Mapping[str, Mapping[int, str]]) -> Iterator[Trouble]:
    """Look whether the packages of charms are as they were installed, of a service that is stopped.

    `locks` has the charms of each lock, by key, with their names. Each file is read to its end.
    """
    folders = PackageFolders(root)
    try:
        folders.look()
    except OSError as error:
        yield Trouble("packages", Severity.ERROR, f"{root} cannot be read: {error.strerror}")
        return
    for lock, names in sorted(locks.items()):
        why = _NOT_HERE
        if folders.is_there(lock):
            damage = folders.damage(folders.name(lock), reads=True)
            why = _damaged(damage) if damage else ""
        if why:
            yield _trouble_of(names, f"wait for their packages from the next start on: {why}")


def _damaged(damage: str) -> str:
    return f"its packages were damaged ({damage})"


def _trouble_of(names: Mapping[int, str], text: str) -> Trouble:
    return Trouble(
        "packages",
        Severity.WARNING,
        text,
        things="charms",
        keys=tuple(names),
        names=tuple(names.values()),
    )


def told_of_packages(locked: Locked) -> str:
    """Say which packages a charm has got, in a sentence."""
    names = [str(one) for one in locked.lock.packages]
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    shown = ", ".join(names[:10])
    return f"Its packages take {locked.size_bytes / 1e6:,.1f} MB: {shown}{more}."


class PackagePauses:
    """What keeps charms from running: what a person paused, and packages that are not there.

    A look at the disk before each claim in a space whose charms have packages, and none elsewhere.
    """

    def __init__(self, pauses: Pauses, packages: CharmPackages, storage: Storage) -> None:
        self._pauses = pauses
        self._packages = packages
        self._has = storage.store.packages

    @property
    def are_any(self) -> bool:
        return self._has.are_any or self._pauses.are_any

    def within(self, space_key: int) -> Pausing:
        pausing = self._pauses.within(space_key)
        if not self._has.are_any or pausing.is_whole:
            return pausing
        missing = self._packages.missing_in(space_key)
        return Pausing(charm_keys=pausing.charm_keys | missing) if missing else pausing

    def over(self, space_key: int, charm_key: int) -> Pause | None:
        paused = self._pauses.over(space_key, charm_key)
        if paused is not None or charm_key not in self.within(space_key).charm_keys:
            return paused
        return Pause(space_key, charm_key, 0.0, "")
