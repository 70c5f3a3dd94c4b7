"""One TLS context for all clients of all workers: made once, in the process that forks them.

To read the certificates of all authorities takes about 20 ms of processor time; a client that is
given them is made in 0.1 ms. It trusts what httpx2 trusts by itself. Used by the zygote, which
makes it, and by `self.http`.
"""

from __future__ import annotations

import os
import ssl
import sys
from functools import lru_cache
from typing import NamedTuple

#: Where certificates lie where OpenSSL's own places are empty; those of httpx2.
_CA_FILES = (
    "/etc/ssl/cert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/cert.pem",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/ca-bundle.pem",
)

#: So many are kept: the machine's, and those that charms name by SSL_CERT_FILE.
_KEPT = 4


class _Places(NamedTuple):
    """Where certificates are read from: a file, and a folder that is looked into when needed.

    `is_named` where the environment says so.
    """

    file: str | None
    folder: str | None
    is_named: bool = False


def shared_tls_context() -> ssl.SSLContext:
    """Give the context of this process: one that is as new as the certificates are."""
    places = _places()
    return _context(places, (_changed(places.file), _changed(places.folder)))


def prepare_tls_context() -> None:
    """Make it now, for all that are forked from here on."""
    shared_tls_context()


@lru_cache(maxsize=_KEPT)
def _context(places: _Places, _as_of: tuple[object, ...]) -> ssl.SSLContext:
    """Make a context; once for certificates that are as they were."""
    if sys.platform in ("win32", "darwin"):
        import httpcore2

        # Certificates are the system's business there, and lie in no file.
        return httpcore2.default_ssl_context()
    if places.is_named:
        return ssl.create_default_context(cafile=places.file, capath=places.folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if places.file or places.folder:
        context.load_verify_locations(places.file, places.folder)
    return context


def _places() -> _Places:
    if file := os.environ.get("SSL_CERT_FILE"):
        return _Places(file, None, is_named=True)
    if folder := os.environ.get("SSL_CERT_DIR"):
        return _Places(None, folder, is_named=True)
    own = ssl.get_default_verify_paths()
    file = own.openssl_cafile if os.path.isfile(own.openssl_cafile) else None
    folder = own.openssl_capath if os.path.isdir(own.openssl_capath) else None
    if file is None and (folder is None or not _has_hashed(folder)):
        return _Places(next(filter(os.path.isfile, _CA_FILES), None), None)
    return _Places(file, folder)


def _has_hashed(folder: str) -> bool:
    """Whether certificates lie in a folder under the names by which OpenSSL looks for them."""
    return any(len(name) == 10 and name.endswith((".0", ".1")) for name in os.listdir(folder))


def _changed(path: str | None) -> tuple[int, int] | None:
    if path is None:
        return None
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
