"""The lock of a charm's packages: each with its version and the hashes that it may have.

Made where a source is added, kept with the charm, and installed from again wherever it is missing.
It holds no address: where packages come from is the operator's to say, each time. Pure.
"""

from __future__ import annotations

import hashlib
import re
import sysconfig
from typing import Final

import msgspec

from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.packages.script_block import ScriptBlock

_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9._-]{0,200}[a-z0-9])?")
_HASH: Final = re.compile(r"sha(256|384|512):[0-9a-f]{64,128}")

#: The index that counts unless the operator names another.
PYPI: Final = "https://pypi.org/simple"

#: A lock holds no more packages, and a package no more hashes.
_MOST_PACKAGES: Final = 2000
_MOST_HASHES: Final = 2000

#: The interpreter that the compiled parts of packages are made for.
INTERPRETER: Final = str(sysconfig.get_config_var("SOABI") or "any")


class LockedPackage(msgspec.Struct, frozen=True):
    """One package; `marker` says on which machines it is needed, empty for all."""

    name: str
    version: str
    hashes: tuple[str, ...]
    marker: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


class PackageLock(msgspec.Struct, frozen=True):
    """All packages that a block came to.

    `python` says which Pythons it is for; `requires` and `requires_python` what it was made from.
    """

    requires: tuple[str, ...]
    requires_python: str
    python: str
    packages: tuple[LockedPackage, ...]

    def fits(self, block: ScriptBlock) -> bool:
        """Whether it was made for what a block asks for."""
        return (self.requires, self.requires_python) == (block.dependencies, block.requires_python)


def lock_hash(lock: PackageLock) -> str:
    """Name a lock by its content."""
    return hashlib.sha256(encode_lock(lock)).hexdigest()


def encode_lock(lock: PackageLock) -> bytes:
    """Write a lock as JSON, always the same way."""
    return msgspec.json.encode(lock, order="sorted")


def decode_lock(encoded: bytes) -> PackageLock:
    """Read what `encode_lock` wrote."""
    return msgspec.json.decode(encoded, type=PackageLock)


def read_lock(value: object) -> PackageLock:
    """Read a lock that somebody gives; raises InvalidInput for what is none."""
    from packaging.markers import InvalidMarker, Marker
    from packaging.specifiers import InvalidSpecifier, SpecifierSet
    from packaging.version import InvalidVersion, Version

    try:
        lock = msgspec.convert(value, PackageLock)
        # JSON can spell half of a surrogate pair, which nothing takes.
        encode_lock(lock)
        SpecifierSet(lock.python)
        for each in lock.packages:
            Version(each.version)
            if each.marker:
                Marker(each.marker)
    except UnicodeEncodeError:
        raise InvalidInput("lock: this is not valid Unicode text.") from None
    except (msgspec.ValidationError, InvalidMarker, InvalidSpecifier, InvalidVersion) as error:
        raise InvalidInput(f"lock: {error}") from None
    if len(lock.packages) > _MOST_PACKAGES:
        raise InvalidInput(f"lock: it has more than {_MOST_PACKAGES} packages.")
    for each in lock.packages:
        is_named = _NAME.fullmatch(each.name) and "\n" not in each.marker + each.version
        if not is_named or not 0 < len(each.hashes) <= _MOST_HASHES:
            raise InvalidInput(f"lock: {each.name!r:.100} has no proper name, or no hashes.")
        if not all(_HASH.fullmatch(one) for one in each.hashes):
            raise InvalidInput(f"lock: {each.name} has a hash that is none.")
    return lock


def check_given(lock: PackageLock, block: ScriptBlock, file_name: str) -> None:
    """Raise InvalidInput where a lock that came along is not that of the file's block."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    if not lock.fits(block):
        raise InvalidInput(f"{file_name}: the lock that came along is for another block.")
    for text in block.dependencies:
        wanted = Requirement(text)
        if wanted.marker is not None:
            continue
        name = canonicalize_name(wanted.name)
        versions = [each.version for each in lock.packages if each.name == name]
        if not all(wanted.specifier.contains(each, prereleases=True) for each in versions):
            raise InvalidInput(f"{file_name}: the lock that came along has no {text}.")


def check_python_of(lock: PackageLock, running: str) -> None:
    """Raise InvalidInput where a lock is for other Pythons than the one that runs here."""
    from packaging.specifiers import SpecifierSet

    if not SpecifierSet(lock.python).contains(running, prereleases=True):
        raise InvalidInput(
            f"its packages are locked for Python {lock.python}, and the service runs on {running}: "
            "`charm update --upgrade` with its file locks them anew"
        )


def write_requirements(lock: PackageLock) -> str:
    """Write a lock as requirements with hashes, as installers read them."""
    lines = []
    for each in lock.packages:
        marker = f" ; {each.marker}" if each.marker else ""
        hashes = "".join(f" --hash={one}" for one in each.hashes)
        lines.append(f"{each.name}=={each.version}{marker}{hashes}\n")
    return "".join(lines)


def read_requirements(text: str, block: ScriptBlock, python: str) -> PackageLock:
    """Read what a resolver wrote, requirements with hashes; raises InvalidInput."""
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    packages = []
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        wanted, *hashes = line.split(" --hash=")
        try:
            read = Requirement(wanted.strip())
        except InvalidRequirement as error:
            raise InvalidInput(f"the resolver's answer cannot be read: {error}") from None
        versions = [one.version for one in read.specifier if one.operator == "=="]
        packages.append(
            LockedPackage(
                canonicalize_name(read.name),
                versions[0] if versions else "",
                tuple(sorted(each.strip() for each in hashes)),
                str(read.marker or ""),
            )
        )
    packages.sort(key=lambda each: (each.name, each.version, each.marker))
    found = PackageLock(block.dependencies, block.requires_python, python, tuple(packages))
    return read_lock(msgspec.to_builtins(found))
