"""The file of the operator's key while it is replaced: at every moment one file opens the data.

The order, which a kill may cut anywhere: (1) the new key is whole on disk, in FILE.next or a file
that was named; (2) the database changes hands, in one transaction; (3) FILE gets a second name by
which the old key is kept, FILE.retired-…; (4) FILE.next takes its place. Before (2) FILE opens the
data, after it FILE.next does, which every start tries too, and then does what is left of (3) and
(4). Called by the command that rotates, and by whoever opens a data directory.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from bg_charm_service.daemon.operator_identity import identity_of_file, key_file
from bg_charm_service.daemon.settings import Settings
from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.identity import Identity

#: Characters of the old DID's end that tell retired keys apart.
_TAIL = 8

#: What a file system says on which files have one name each.
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS)


def next_identity(settings: Settings) -> Identity | None:
    """Give the key that a rotation of the identity file had made ready; None without one."""
    file = key_file(settings)
    if file is None:
        return None
    try:
        return identity_of_file(_next_file(file.resolve()))
    except (InvalidInput, OSError):
        # It is not there, or this user was given the other alone: that has to open the data then.
        return None


def finish_rotation(settings: Settings, ready: Identity | None, did: str) -> None:
    """Give the key that was ready its place, if it is the one that the data belong to now.

    Where this user cannot, it is said, and works without: the next start tries both keys again.
    """
    file = key_file(settings)
    if file is None or ready is None or ready.did() != did:
        return
    try:
        take_place(file)
    except (OSError, InvalidInput) as error:
        # Only here: commands that rotate nothing name this module too.
        from loguru import logger

        logger.bind(event="rotation_unfinished").warning(
            "The data belong to the key in {}.next, which cannot be moved to {}: {}. Move it "
            "there, and keep the old one for backups that were made before",
            file,
            file,
            getattr(error, "strerror", None) or error,
        )


def ready_key(settings_file: Path) -> Identity:
    """Make a key ready to take the place of an identity file, or give the one that is ready.

    Raises InvalidInput when it cannot be written.
    """
    file = settings_file.resolve()
    ready = _next_file(file)
    if ready.exists():
        return identity_of_file(ready)
    identity = Identity.generate()
    write_key(ready, identity.to_pem().decode(), like=file)
    return identity


def take_place(settings_file: Path) -> Path:
    """Put the next key where the old one is, which is kept; gives the old one's new name.

    May be done again after it was cut off. Raises OSError, and InvalidInput for an old key that
    cannot be read.
    """
    file = settings_file.resolve()
    retired = file.with_name(f"{file.name}.retired-{identity_of_file(file).did()[-_TAIL:]}")
    try:
        os.link(file, retired)
    except FileExistsError:
        # It was cut off behind this.
        pass
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if not retired.exists():
            write_key(retired, file.read_text(), like=file)
    _sync_folder(file)
    os.replace(_next_file(file), file)
    _partial_file(_next_file(file)).unlink(missing_ok=True)
    _sync_folder(file)
    return retired


def write_key(file: Path, text: str, *, like: Path | None = None) -> None:
    """Write a key to a new file that is whole and on disk when it has its name.

    For its owner only, or for whom the file `like` is. Raises InvalidInput.
    """
    if not file.name:
        raise InvalidInput(f"{str(file)!r} is no file.")
    partial = _partial_file(file)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, flags, 0o600), "w") as opened:
            if like is not None:
                found = like.stat()
                if os.geteuid() == 0:
                    os.fchown(opened.fileno(), found.st_uid, found.st_gid)
                os.fchmod(opened.fileno(), found.st_mode & 0o777)
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        _name_anew(partial, file)
        _sync_folder(file)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise InvalidInput(f"{file}: cannot be written: {error.strerror}") from None


def _name_anew(partial: Path, file: Path) -> None:
    """Give a file a name that no file has; raises FileExistsError."""
    try:
        # Not a rename: that would replace a key that somebody else has put there.
        os.link(partial, file)
        partial.unlink()
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if file.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
        partial.rename(file)


def _partial_file(file: Path) -> Path:
    return file.with_name(f".{file.name}.partial")


def _next_file(file: Path) -> Path:
    return file.with_name(f"{file.name}.next")


def _sync_folder(file: Path) -> None:
    opened = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
