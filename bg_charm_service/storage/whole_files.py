"""Files that are whole or not there at all: written beside their place, synced, then renamed.

Used for copies of a database: by engines, and by backups.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bg_charm_service.domain.errors import BackupError
from bg_charm_service.files.durable import sync

#: Ends the name of a file that is not whole yet.
PARTIAL = ".partial"


@contextmanager
def written(target: Path) -> Iterator[None]:
    """Make a new file of mode 0600, for writing inside; it is synced, or removed after an error.

    Raises BackupError in the place of errors of the disk.
    """
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise _cannot_write(target, error) from None
    try:
        yield
        sync(target)
    except OSError as error:
        discard(target)
        raise _cannot_write(target, error) from error
    except BaseException:
        discard(target)
        raise


def discard(partial: Path) -> None:
    """Remove a copy that nobody wants, if it is there."""
    with suppress(OSError):
        partial.unlink()


def publish(partial: Path, target: Path) -> None:
    """Give a whole copy its name, in the place of what had it; durable when this returns."""
    try:
        os.replace(partial, target)
        sync(target.parent)
    except OSError as error:
        discard(partial)
        raise _cannot_write(target, error) from None


def _cannot_write(target: Path, error: OSError) -> BackupError:
    reason = error.strerror or error
    name = target.name.removesuffix(PARTIAL)
    shown = name.removeprefix(".") if name != target.name else name
    return BackupError(f"{target.parent} cannot take the file {shown}: {reason}.")
