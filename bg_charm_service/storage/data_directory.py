"""The data directory: who may open it, that only one process does, and what lies where in it.

The lock is what makes the process that holds it the owner of the database. It never reaches a
child process. Opened by the service, and by the command line while no service runs.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from loguru import logger

from bg_charm_service.domain.errors import (
    DataDirectoryBusy,
    DataDirectoryError,
    NotFound,
    StorageError,
)
from bg_charm_service.storage.closed_parents import open_way

DATABASE_NAME = "bg-charm-service.db"
SOCKET_NAME = "service.sock"
LOCK_NAME = "lock"
SCRATCH_NAME = "scratch"
PACKAGES_NAME = "packages"


def user_name(uid: int) -> str:
    """The name of a user, or its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


class DataDirectory:
    """A locked data directory; `open` it, `close` it when the database is closed."""

    def __init__(self, path: Path, lock_fd: int) -> None:
        self.path = path
        self._lock_fd = lock_fd

    @classmethod
    def open(cls, path: Path) -> DataDirectory:
        """Create the directory where it is missing, and lock it.

        Raises DataDirectoryBusy when another process has it, DataDirectoryError when this user
        may not use it.
        """
        path = Path(os.path.abspath(path))
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _become_owner(path)
            path.chmod(0o700)
            lock_fd = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            raise DataDirectoryError(
                f"{path} is not a directory. Choose another with --data-dir."
            ) from None
        except OSError as error:
            raise DataDirectoryError(why_unusable(path, error)) from None
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock_fd, 64).decode(errors="replace").strip() or "unknown"
            os.close(lock_fd)
            raise DataDirectoryBusy(
                f"The data directory {path} is in use by process {holder}. "
                "Stop that one first, or choose another with --data-dir."
            ) from None
        except OSError as error:
            os.close(lock_fd)
            raise DataDirectoryError(why_unusable(path, error)) from None
        directory = cls(path, lock_fd)
        directory._write_pid()
        return directory

    @property
    def database_path(self) -> Path:
        return self.path / DATABASE_NAME

    @property
    def socket_path(self) -> Path:
        return self.path / SOCKET_NAME

    @property
    def scratch_path(self) -> Path:
        return self.path / SCRATCH_NAME

    @property
    def packages_path(self) -> Path:
        return self.path / PACKAGES_NAME

    def keep_lock(self) -> None:
        """Take the lock anew where its file was deleted; raises StorageError where that fails.

        Without it the next command would take the directory for one that nobody has.
        """
        name = self.path / LOCK_NAME
        if _is_same_file(self._lock_fd, name):
            return
        try:
            lock_fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock_fd)
                raise
        except OSError as error:
            raise StorageError(
                f"The data directory {self.path} is not this process's any more: its lock was "
                f"deleted or replaced, and cannot be taken again ({error.strerror})"
            ) from None
        os.close(self._lock_fd)
        self._lock_fd = lock_fd
        self._write_pid()
        logger.bind(event="lock_remade").warning(
            "{} was deleted or replaced; the data directory is locked again", name
        )

    def _write_pid(self) -> None:
        # Only told to people: on a full disk the lock holds without it.
        with suppress(OSError):
            os.ftruncate(self._lock_fd, 0)
            os.pwrite(self._lock_fd, f"{os.getpid()}\n".encode(), 0)

    def close(self) -> None:
        """Give the directory up; closing twice is fine."""
        if self._lock_fd >= 0:
            os.ftruncate(self._lock_fd, 0)
            os.close(self._lock_fd)
            self._lock_fd = -1

    def __enter__(self) -> DataDirectory:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def check_has_database(path: Path) -> None:
    """Raise NotFound where nothing was ever stored; changes nothing, and makes no directory.

    Raises DataDirectoryBusy while somebody is about to make the database, and DataDirectoryError
    when this user may not look.
    """
    try:
        if (path / DATABASE_NAME).exists():
            return
        lock_fd = os.open(path / LOCK_NAME, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise DataDirectoryError(why_unusable(path, error)) from None
    else:
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataDirectoryBusy(f"The data directory {path} is being made.") from None
        finally:
            os.close(lock_fd)
    raise NotFound(
        f"{path} has no database: no service was ever started with it. "
        "Start one, or choose another directory with --data-dir."
    )


def why_unusable(path: Path, error: OSError) -> str:
    """One line that says why a data directory cannot be used, by whom, and what to run instead."""
    me = user_name(os.geteuid())
    found = path
    while not _exists(found) and found != found.parent:
        found = found.parent
    try:
        owner = user_name(found.stat().st_uid)
    except OSError:
        owner = "another user"
    if isinstance(error, PermissionError) and owner != me:
        return (
            f"User {me} may not use the data directory {path}: {found} belongs to {owner}. "
            f"Run this as that user or as root: `sudo bg-charm-service --data-dir {path} …`"
        )
    return (
        f"The data directory {path} cannot be used by user {me}: {error.strerror or error}. "
        "Choose another with --data-dir."
    )


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _become_owner(path: Path) -> None:
    """Let root go on as the directory's owner, so that no file of root's stays behind."""
    found = path.stat()
    if found.st_mode & stat.S_ISVTX:
        # Taking the others' rights away here would break /tmp for everybody.
        raise DataDirectoryError(f"{path} is shared by all users. Choose another with --data-dir.")
    if os.geteuid() == 0 and found.st_uid != 0:
        groups = [found.st_gid]
        try:
            owner = pwd.getpwuid(found.st_uid)
        except KeyError:
            # A unit's user with DynamicUser= has no name while the unit is stopped.
            pass
        else:
            groups = os.getgrouplist(owner.pw_name, found.st_gid)
            os.environ["HOME"] = owner.pw_dir
        open_way(path, found.st_uid, groups)
        os.setgroups(groups)
        os.setgid(found.st_gid)
        os.setuid(found.st_uid)
        if not os.path.samestat(found, path.stat()):
            raise DataDirectoryError(f"{path} was replaced while it was opened.")
    elif os.geteuid() != found.st_uid:
        raise PermissionError(1, "it belongs to another user")
