"""Where a backup goes: the path that the caller wrote counts, and not what the service sees there.

The service writes the file itself where it may, and else sends it here. While none runs, root has
the owner of the data directory make it, and writes it as root. Used by the command `backup`.
"""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from bg_charm_service.cli.output.error_output import what_went_wrong
from bg_charm_service.cli.service_socket import is_listening, socket_path
from bg_charm_service.cli.session import Session
from bg_charm_service.domain.errors import BackupError, Conflict, NotShared, ServiceError
from bg_charm_service.service.maintenance.backups import BackupFile
from bg_charm_service.storage.engines import facts_of
from bg_charm_service.storage.trusted_paths import open_directory
from bg_charm_service.storage.whole_files import PARTIAL

if TYPE_CHECKING:
    from bg_charm_service.cli.client import Client

#: How long a service may be busy before it is asked, in seconds.
_BUSY_SECONDS = 10.0


def make_backup(session: Session, file: Path) -> BackupFile:
    """Make a backup in a file, by its absolute path; raises ServiceError with nothing changed."""
    owner = _owner_to_become(session)
    if owner is not None and _owner_of(file.parent) != owner:
        return _made_by_owner(session, file, owner)
    body: dict[str, object] = {"path": str(file)}
    try:
        found = file.parent.stat()
    except OSError:
        # The service says what is wrong with it.
        pass
    else:
        body["folder"] = [found.st_dev, found.st_ino]

    async def make(client: Client) -> BackupFile:
        try:
            return (await client.post("backups", body=body)).read(BackupFile)
        except NotShared:
            with _CallersFile(file) as mine:
                async for piece in client.pieces("backups", "content", method="POST"):
                    mine.write(piece)
                return mine.publish()

    return session.ask(make)


def _owner_to_become(session: Session) -> int | None:
    """Give the user whom root becomes when it opens the data directory; None where it does not."""
    settings = session.settings
    if os.geteuid() != 0 or settings.service_url is not None:
        return None
    owner = _owner_of(settings.data_dir)
    if owner in (None, 0):
        return None
    with socket_path(settings.data_dir) as path:
        is_running = path is not None and is_listening(path, settings.data_dir, _BUSY_SECONDS)
    return None if is_running else owner


def _owner_of(folder: Path) -> int | None:
    try:
        return folder.stat().st_uid
    except OSError:
        return None


def _made_by_owner(session: Session, file: Path, owner: int) -> BackupFile:
    """Have the owner of the data directory make the backup in there, and take it from there."""
    with _CallersFile(file) as mine:
        folder = open_directory(session.settings.data_dir)
        name = f".bg-charm-service-{os.getpid()}.db"
        body = {"path": str(session.settings.data_dir.absolute() / name)}
        try:
            _in_own_process(lambda: session.ask(lambda client: client.post("backups", body=body)))
            # The owner may have put something else in its place meanwhile.
            made = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
            with open(made, "rb") as content:
                found = os.fstat(made)
                if not stat.S_ISREG(found.st_mode) or (found.st_uid, found.st_nlink) != (owner, 1):
                    raise BackupError("The backup was replaced by something else.")
                shutil.copyfileobj(content, mine)
            return mine.publish()
        except OSError as error:
            raise BackupError(f"{file} cannot be written: {error.strerror}.") from None
        finally:
            _remove(name, folder)
            os.close(folder)


def _in_own_process(work: Callable[[], object]) -> None:
    """Do something in a process of its own, which may give root's rights up; raises ServiceError.

    To be called before there are threads.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            problem = ""
            try:
                work()
            except Exception as error:
                problem = what_went_wrong(error)
            os.write(writing, problem.encode(errors="replace"))
            os._exit(0)
        finally:
            # Whatever happens, it goes no further: the rest is the other process's.
            os._exit(1)
    os.close(writing)
    with open(reading, "rb") as told:
        problem = told.read().decode()
    _, status = os.waitpid(child, 0)
    if status:
        problem = problem or f"The process that makes the backup ended with {status}."
    if problem:
        raise ServiceError(problem)


class _CallersFile:
    """A file that the caller writes: with its name once it is whole, or not there at all."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._partial = f".{target.name}{PARTIAL}"
        self._folder = -1
        self._descriptor = -1

    def __enter__(self) -> _CallersFile:
        try:
            self._folder = open_directory(self._target.parent)
            self._check_replaceable()
            _remove(self._partial, self._folder)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptor = os.open(self._partial, flags, 0o600, dir_fd=self._folder)
        except OSError as error:
            self._close()
            raise self._cannot_write(error) from None
        except BaseException:
            self._close()
            raise
        return self

    def write(self, piece: bytes | memoryview) -> None:
        """Write some more of it; raises BackupError."""
        rest = memoryview(piece)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            raise self._cannot_write(error) from None

    def publish(self) -> BackupFile:
        """Give it its name; it is on the disk when this returns. Raises BackupError."""
        name = self._target.name
        try:
            os.fsync(self._descriptor)
            size = os.fstat(self._descriptor).st_size
            os.replace(self._partial, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            os.fsync(self._folder)
        except OSError as error:
            raise self._cannot_write(error) from None
        return BackupFile(str(self._target), time.time(), size)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Once it has its name, there is none of this one.
        _remove(self._partial, self._folder)
        self._close()

    def _check_replaceable(self) -> None:
        """Raise Conflict for a file that is there and no backup."""
        try:
            found = os.stat(self._target.name, dir_fd=self._folder, follow_symlinks=False)
        except FileNotFoundError:
            return
        is_file = stat.S_ISREG(found.st_mode)
        if not is_file or (found.st_size and not facts_of(self._target).is_ours):
            raise Conflict(
                f"{self._target} is no backup of this service, and stays. Choose another file."
            )

    def _cannot_write(self, error: OSError) -> BackupError:
        return BackupError(
            f"{self._target.parent} cannot take the file {self._target.name}: {error.strerror}."
        )

    def _close(self) -> None:
        for descriptor in (self._descriptor, self._folder):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = self._folder = -1


def _remove(name: str, folder: int) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except OSError:
        return
