"""The folders that packages lie in: one for each lock, complete or not there at all.

A folder is made aside, written to disk, and renamed at the end; what a death leaves behind is
removed at the next start. It is named after its lock, the interpreter that it is for, and a number
of its own: one that is fetched again is another folder, and workers that knew the old one end with
it. What lies in it is in its list, by which damage is seen. Used by `installer`.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from bg_charm_service.domain.packages.lock import INTERPRETER
from bg_charm_service.files.durable import sync, sync_file_system
from bg_charm_service.files.removal import remove_folder

_LIST = "files.json"
_PACKAGES = "lib"
_NAME = re.compile(r"([0-9a-f]{64})\.(.+)\.[0-9a-f]{8}")

#: So much of a file is read at a time.
_CHUNK_BYTES = 1024 * 1024


class _File(msgspec.Struct, frozen=True, array_like=True):
    """One file of a folder, by its path in it."""

    path: str
    size_bytes: int
    sha256: str


class PackageFolders:
    """The folders of one data directory, all of them made by this class."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cache = root / "cache"
        self._work = root / "work"
        self._folders = root / "folders"
        self._numbers = itertools.count(1)
        #: By the hash of a lock, the name of the folder that there is.
        self._known: dict[str, str] = {}

    def open(self) -> None:
        """Find what is there, and remove what an earlier life left half done; raises OSError."""
        if not self.root.is_dir():
            return
        remove_folder(self._work)
        for name in self._find():
            remove_folder(self._folders / name)

    def look(self) -> None:
        """Find what is there, and change nothing; raises OSError."""
        self._find()

    def _find(self) -> list[str]:
        """Note each lock's folder; gives what is none, or another one of the same lock."""
        others = []
        for name in _entries(self._folders):
            found = _NAME.fullmatch(name)
            if found is None or found[1] in self._known:
                others.append(name)
            elif found[2] == INTERPRETER and (self._folders / name / _LIST).is_file():
                self._known[found[1]] = name
        return others

    def name(self, lock_hash: str) -> str:
        """The folder of a lock; empty where there is none."""
        return self._known.get(lock_hash, "")

    def path(self, name: str) -> Path:
        """Where the packages of a folder lie."""
        return self._folders / name / _PACKAGES

    def bound_path(self, name: str) -> str:
        """The same beneath `packages_root`, as workers are told."""
        return f"{name}/{_PACKAGES}"

    @property
    def packages_root(self) -> Path:
        """What a folder's name is looked for in, by whoever only gets its name."""
        return self._folders

    def is_there(self, lock_hash: str) -> bool:
        """Whether a lock has its folder now; one that was taken away is forgotten."""
        name = self._known.get(lock_hash)
        if name is None:
            return False
        if not os.path.isdir(self._folders / name / _PACKAGES):
            self._known.pop(lock_hash, None)
            return False
        return True

    def begin(self) -> Path:
        """Make an empty place to work in; raises OSError."""
        for path in (self.root, self._work, self._folders, self.cache):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        # One number is never used twice, whoever else works here.
        place = self._work / f"{os.getpid()}.{next(self._numbers)}"
        place.mkdir(mode=0o700)
        (place / _PACKAGES).mkdir(mode=0o700)
        return place

    def discard(self, place: Path) -> None:
        """Remove a place to work in."""
        remove_folder(place)

    def complete(self, place: Path, lock_hash: str) -> str:
        """Make what was installed at a place the folder of a lock, on disk; raises OSError.

        Takes its time: called beside the loop. Gives the folder's name; `announce` makes it known.
        """
        name = f"{lock_hash}.{INTERPRETER}.{secrets.token_hex(4)}"
        made = place / "folder"
        made.mkdir(mode=0o700)
        (place / _PACKAGES).rename(made / _PACKAGES)
        listed = list(_files(made / _PACKAGES))
        _take_write_rights(made / _PACKAGES)
        (made / _LIST).write_bytes(msgspec.json.encode(listed))
        sync_file_system(self.root)
        made.rename(self._folders / name)
        sync(self._folders)
        return name

    def announce(self, lock_hash: str, name: str) -> None:
        """Let a folder be used from now on."""
        self._known[lock_hash] = name

    def size_bytes(self, name: str) -> int:
        """What a folder takes, as its list says."""
        return sum(each.size_bytes for each in self._list(name))

    def damage(self, name: str, *, reads: bool) -> str:
        """Say what of a folder is not as it was made; empty for nothing. Called beside the loop.

        With `reads` each file is read to its end, else only looked at.
        """
        try:
            listed = self._list(name)
        except (OSError, msgspec.MsgspecError):
            return "its list of files cannot be read"
        for each in listed:
            path = self.path(name) / each.path
            try:
                status = os.lstat(path)
                if not stat.S_ISREG(status.st_mode) or status.st_size != each.size_bytes:
                    return f"{each.path} is another file than was installed"
                if reads and _hash_of(path) != each.sha256:
                    return f"{each.path} is not what was installed"
            except OSError as error:
                return f"{each.path}: {error.strerror}"
        return ""

    def forget(self, lock_hash: str) -> str:
        """Let a lock have no folder any more; gives its name, which `remove` takes."""
        return self._known.pop(lock_hash, "")

    def known(self) -> dict[str, str]:
        """Each lock that has a folder, with its name."""
        return dict(self._known)

    def others(self, kept: set[str]) -> list[str]:
        """The folders that are none of those, nor any that is announced."""
        used = kept | set(self._known.values())
        return [name for name in _entries(self._folders) if name not in used]

    def remove(self, name: str) -> None:
        """Remove a folder from disk. Called beside the loop; one that is gone is fine."""
        place = self._folders / name
        with suppress(OSError):
            # Aside first: half of it must not be taken for all of it.
            aside = self._work / f"{name}.removed"
            self._work.mkdir(mode=0o700, exist_ok=True)
            place.rename(aside)
            place = aside
        remove_folder(place)

    def _list(self, name: str) -> list[_File]:
        encoded = (self._folders / name / _LIST).read_bytes()
        return msgspec.json.decode(encoded, type=list[_File])


def used_bytes(*folders: Path) -> int:
    """What folders take on disk, as far as it can be seen; called beside the loop."""
    total = 0
    for folder in folders:
        for parent, _, names in os.walk(folder):
            for name in names:
                with suppress(OSError):
                    total += os.lstat(os.path.join(parent, name)).st_size
    return total


def _entries(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []


def _files(folder: Path) -> Iterator[_File]:
    """Give each file beneath a folder; raises OSError for what is neither file nor folder."""
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode):
                raise OSError(None, "it holds what is no file", str(path))
            relative = str(path.relative_to(folder))
            yield _File(relative, status.st_size, _hash_of(path))
        for name in folders:
            if Path(parent, name).is_symlink():
                raise OSError(None, "it holds a link", name)


def _hash_of(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _take_write_rights(folder: Path) -> None:
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            path = os.path.join(parent, name)
            os.chmod(path, 0o400)
        os.chmod(parent, 0o500)
