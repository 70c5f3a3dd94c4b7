"""Which paths a sandboxed process may read: libraries, certificates, and what names resolve by.

Never a home, a checkout's root, /proc or /sys. Landlock cannot subtract, so nothing that is named
here may have the data directory beneath it: `folder_around` tells.
"""

from __future__ import annotations

import os
import ssl
import sys
import sysconfig
from collections.abc import Iterator
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
    found |= {Path(path) for path in (*_PLACE_AND_TIME, *_DEVICES) if os.path.exists(path)}
    outer = {path for path in found if not found.intersection(path.parents)}
    return (*sorted(map(str, outer)), *_NAMES)


@cache
def outer_folders() -> tuple[Path, ...]:
    """Where those paths lead to; worked out once in a process."""
    return tuple(Path(path).resolve() for path in paths())


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
