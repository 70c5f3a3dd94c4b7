"""Which paths a sandboxed process may read: libraries, certificates, and what names resolve by.

Never a home, a checkout's root, or the folders /proc and /sys: of those, single files. Landlock
cannot subtract, so nothing that is named here may have the data directory beneath it:
`folder_around` tells.
"""

from __future__ import annotations

import os
import ssl
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import msgspec

from bg_charm_service.domain.package_folder import PACKAGE_FOLDER

_LIBRARIES = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64"),
    *("/nix/store", "/gnu/store"),
)

#: Allowed even where they are not there yet: programs make them anew when something changes.
_NAMES = (
    *("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf"),
    *("/etc/services", "/etc/protocols"),
    # Where resolv.conf often leads to; a new one is made there with every change.
    *("/run/systemd/resolve", "/run/NetworkManager/resolv.conf", "/run/resolvconf"),
)

#: Never all of /etc/ssl or /etc/pki: private keys are kept there.
_CERTIFICATES = (
    *("/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/ssl/openssl.cnf", "/etc/ca-certificates"),
    *("/usr/share/ca-certificates", "/usr/local/share/ca-certificates"),
    *("/etc/pki/tls/certs", "/etc/pki/tls/cert.pem", "/etc/pki/tls/openssl.cnf"),
    *("/etc/pki/ca-trust/extracted", "/usr/share/pki/ca-trust-source", "/etc/crypto-policies"),
)

_PLACE_AND_TIME = (
    *("/etc/localtime", "/etc/timezone", "/usr/share/zoneinfo", "/usr/share/locale"),
    *("/etc/mime.types", "/etc/ld.so.cache"),
)

_FONTS = (
    *("/usr/share/fonts", "/usr/local/share/fonts", "/etc/fonts", "/usr/share/fontconfig"),
    "/usr/share/mime",
)

#: What libraries ask of the machine when they are loaded: how many processors, how much memory.
#: Nothing of any process. Their inodes go with the kernel's cache, and the rules with them.
_MACHINE_FACTS = (
    *("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/loadavg", "/proc/uptime"),
    *("/proc/filesystems", "/proc/sys/vm/overcommit_memory"),
    *("/sys/devices/system/cpu", "/sys/devices/system/node"),
    "/sys/kernel/mm/transparent_hugepage",
)

#: How much of the machine a control group may use: by these libraries size their pools.
_GROUP_FACTS = (
    *("cpu.max", "memory.max", "memory.high"),
    *("cpu.cfs_quota_us", "cpu.cfs_period_us", "memory.limit_in_bytes"),
)
_GROUPS = "/sys/fs/cgroup"

#: What a process may read of itself. Never its folder, which holds `environ` and `mem`.
OWN_FILES = (
    *("/proc/self/maps", "/proc/self/cgroup"),
    *("/proc/self/status", "/proc/self/stat", "/proc/self/statm"),
)

#: /dev/zero is not among them: it gives memory, and the limits are to count all of that.
_DEVICES = ("/dev/urandom", "/dev/random")

#: Device that may be written to as well.
NULL = "/dev/null"

_LIBRARY_FOLDERS = {"site-packages", "dist-packages"}


@cache
def paths() -> tuple[str, ...]:
    """Every path that may be read, with all beneath it; worked out once in a process."""
    # Not Path.exists, which raises for what lies in a folder that this user may not enter.
    code = filter(os.path.exists, (*_libraries(), *_certificates()))
    found = {Path(os.path.realpath(path)) for path in code}
    others = (*_PLACE_AND_TIME, *_FONTS, *machine_facts(), *_DEVICES)
    found |= {Path(path) for path in others if os.path.exists(path)}
    outer = {path for path in found if not found.intersection(path.parents)}
    return (*sorted(map(str, outer)), *_NAMES)


@cache
def outer_folders() -> tuple[Path, ...]:
    """Where those paths lead to; worked out once in a process."""
    return tuple(Path(path).resolve() for path in paths())


@cache
def machine_facts() -> tuple[str, ...]:
    """What tells of the machine, and of the control group of this process."""
    return (*_MACHINE_FACTS, *filter(os.path.exists, _group_facts()))


def _group_facts() -> Iterator[str]:
    """Where the limits of this process's groups may stand, in both versions of control groups."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        for folder in {f"{_GROUPS}/{controllers}", f"{_GROUPS}/{controllers}{path}"}:
            for name in _GROUP_FACTS:
                yield os.path.normpath(f"{folder}/{name}")


@cache
def keep_machine_facts() -> None:
    """Hold what tells of the machine open, in this process and those that it forks.

    The kernel makes these files anew when its cache was emptied: a rule would stay with one that
    nobody can open any more.
    """
    for path in machine_facts():
        with suppress(OSError):
            os.open(path, os.O_PATH | os.O_CLOEXEC)


def name_files() -> dict[str, tuple[int, int]]:
    """Which files this machine's names are resolved by, as device and inode.

    A path that was allowed stays with its file: one that is put in its place is another.
    """
    found = {}
    for path in _NAMES:
        try:
            status = os.stat(path)
        except OSError:
            continue
        found[path] = (status.st_dev, status.st_ino)
    return found


def folder_around(path: Path) -> Path | None:
    """Give the readable folder in which a path lies, or would lie; None where none is around it."""
    inner = path.resolve()
    around = {inner, *inner.parents}
    return next((outer for outer in outer_folders() if outer in around), None)


def may_read(path: str) -> bool:
    """Whether a process behind the wall of files may read a path, as far as its user may."""
    if path in (*OWN_FILES, NULL):
        return True
    try:
        return folder_around(Path(path)) is not None
    except OSError:
        # Where a link of /proc leads is not to be read either.
        return False


def _libraries() -> Iterator[Path]:
    """Where the code lies that a charm may import."""
    yield from map(Path, _LIBRARIES)
    for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix):
        yield from (Path(prefix, "lib"), Path(prefix, "lib64"))
    for kind in ("stdlib", "platstdlib", "purelib", "platlib"):
        yield Path(sysconfig.get_path(kind))
    yield Path(sys.executable)
    # Where one library was installed the others were, whatever that place is called.
    yield Path(msgspec.__file__).parents[1]
    # The package, but not what it lies in: that may be a checkout with the data directory.
    yield PACKAGE_FOLDER
    for entry in map(Path, filter(None, sys.path)):
        # Other folders are where the service was started, or the operator's own business.
        if entry.name in _LIBRARY_FOLDERS or os.path.isfile(entry):
            yield entry


def _certificates() -> Iterator[Path]:
    """Whom a charm may trust that it connects to."""
    yield from map(Path, _CERTIFICATES)
    trusted = ssl.get_default_verify_paths()
    for named in (trusted.cafile, trusted.capath, trusted.openssl_cafile, trusted.openssl_capath):
        yield from [Path(named)] if named else []
    yield Path(trusted.openssl_cafile).with_name("openssl.cnf")
