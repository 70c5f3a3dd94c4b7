"""Finds the service of a data directory: the socket that it listens on while it runs.

Says whether somebody is there, and speaks no HTTP. Used by the client.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bg_charm_service.domain.errors import DataDirectoryBusy, DataDirectoryError
from bg_charm_service.storage.data_directory import SOCKET_NAME, why_unusable

#: A socket's path holds at most so many bytes.
_SOCKET_PATH_BYTES = 107

#: Nobody listens there: the socket is missing, or was left by a service that was killed.
_NOT_LISTENING = (errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR)


@contextmanager
def socket_path(directory: Path) -> Iterator[str | None]:
    """Give a path to the socket that is short enough to connect to; None without a directory.

    Raises DataDirectoryError when this user may not use the directory.
    """
    path = str(directory / SOCKET_NAME)
    if len(os.fsencode(path)) <= _SOCKET_PATH_BYTES:
        yield path
        return
    try:
        opened = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        raise DataDirectoryError(why_unusable(directory, error)) from None
    try:
        yield f"/proc/self/fd/{opened}/{SOCKET_NAME}"
    finally:
        os.close(opened)


def is_listening(path: str, directory: Path, timeout_seconds: float) -> bool:
    """Whether somebody takes connections; a full queue of them is waited for.

    Raises DataDirectoryBusy when that takes too long, DataDirectoryError without permission.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(timeout_seconds)
        try:
            probe.connect(path)
        except (BlockingIOError, TimeoutError):
            raise DataDirectoryBusy(
                f"The service of {directory} takes no connections at the moment."
            ) from None
        except OSError as error:
            if error.errno in _NOT_LISTENING:
                return False
            raise DataDirectoryError(why_unusable(directory, error)) from None
    return True
