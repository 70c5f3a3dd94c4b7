"""Opens files for root by paths that pass through folders of others, without being led astray.

Whoever owns a folder or a link could lead root to a file that is not theirs to read or write: so
no step is taken from what belongs to another user than root to what belongs to somebody else.
(systemd and tmpfiles.d know the same rule as an unsafe path transition.) For anybody but root a
path is opened as it is. Called where a command reads or writes a file beside a data directory.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from bg_charm_service.domain.errors import InvalidInput

#: More links than Linux itself follows.
_MOST_LINKS = 40


def open_directory(path: Path) -> int:
    """Give a descriptor of a directory; raises OSError, InvalidInput for a path that is unsafe."""
    return _open(path, os.O_RDONLY | os.O_DIRECTORY)


def open_file(path: Path) -> int:
    """Give a descriptor of a file to read; raises OSError, InvalidInput for a path that is unsafe.

    A file of root's in another's folder is no hard link that was made to one elsewhere.
    """
    return _open(path, os.O_RDONLY)


def _open(path: Path, flags: int) -> int:
    flags |= os.O_CLOEXEC | os.O_NOCTTY
    if os.geteuid() != 0:
        return os.open(path, flags)
    found = _walk(path)
    try:
        return os.open(f"/proc/self/fd/{found}", flags)
    finally:
        os.close(found)


def _walk(path: Path) -> int:
    """Follow a path step by step, and give a descriptor that only names what it leads to."""
    names = list(reversed(path.absolute().parts[1:]))
    links = 0
    here = _root()
    last = os.fstat(here)
    try:
        while names:
            there = os.open(names.pop(), os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            found = os.fstat(there)
            try:
                # A link is a step as well: what it leads to is compared with it.
                last = _checked(last, found, path)
                if not stat.S_ISLNK(found.st_mode):
                    here, there = there, here
                    continue
                links += 1
                if links > _MOST_LINKS:
                    raise InvalidInput(f"{path} leads through too many links.")
                target = Path(os.readlink("", dir_fd=there))
            finally:
                os.close(there)
            names += reversed(target.parts)
            if target.is_absolute():
                names.pop()
                os.close(here)
                here = _root()
                last = _checked(last, os.fstat(here), path)
    except BaseException:
        os.close(here)
        raise
    return here


def _root() -> int:
    return os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _checked(last: os.stat_result, found: os.stat_result, path: Path) -> os.stat_result:
    """Give what was found by a step; raises InvalidInput for one that is not to be taken."""
    is_own = last.st_uid in (0, found.st_uid)
    # What has no other name was not put there by whoever owns the folder.
    is_only_there = stat.S_ISREG(found.st_mode) and found.st_nlink == 1
    if is_own or is_only_there:
        return found
    raise InvalidInput(
        f"{path} leads through what belongs to user {last.st_uid} to what belongs to user "
        f"{found.st_uid}: root does not follow there. Give a path that does not."
    )
