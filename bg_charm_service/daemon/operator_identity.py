"""The key that the service and its commands act with: from a file, a passphrase, or the default.

The only place that reads the passphrase, so that no settings object ever holds it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from bg_charm_service.daemon.settings import Settings, quoted
from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.identity import DEFAULT_PASSPHRASE, Identity

#: An identity file larger than this is not one, in bytes.
_IDENTITY_LIMIT_BYTES = 64 * 1024

#: Where the key of the installed service is kept, readable by root alone, and what its unit calls
#: it when it hands it over; and the data directory of that service.
INSTALLED_KEY = Path("/etc/credstore/bg-charm-service.pem")
INSTALLED_DATA_DIR = Path("/var/lib/bg-charm-service")
CREDENTIAL = "operator.pem"


def operator_identity(settings: Settings, environ: Mapping[str, str]) -> Identity:
    """Give the key that the service acts with; raises InvalidInput.

    IDENTITY, else what the unit was given or root finds beside the unit, else OPERATOR_PASS, else
    the public default.
    """
    if settings.identity_file is None and (credential := _credential(environ)) is not None:
        return identity_of_file(credential, "The credential operator.pem")
    if (file := key_file(settings)) is not None:
        is_named = settings.identity_file is not None
        return identity_of_file(
            file, "IDENTITY" if is_named else "The key of the installed service"
        )
    try:
        return Identity.from_passphrase(environ.get("OPERATOR_PASS") or DEFAULT_PASSPHRASE)
    except InvalidInput as error:
        raise InvalidInput(f"OPERATOR_PASS: {error}") from None


def key_file(settings: Settings) -> Path | None:
    """Give the file that holds the key, and that can be replaced by whoever may write beside it.

    That of IDENTITY, else for root the one that the installed unit takes its key from; None for a
    passphrase, the default, or what systemd hands over.
    """
    if settings.identity_file is not None:
        return settings.identity_file
    if _is_installed(settings.data_dir) and os.access(INSTALLED_KEY, os.R_OK):
        return INSTALLED_KEY
    return None


def _credential(environ: Mapping[str, str]) -> Path | None:
    """Give the file in which systemd hands the key over, if it has been given one."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    file = Path(folder) / CREDENTIAL if folder else None
    return file if file is not None and file.exists() else None


def _is_installed(data_dir: Path) -> bool:
    return os.path.realpath(data_dir) == os.path.realpath(INSTALLED_DATA_DIR)


def identity_of_file(file: Path, name: str = "IDENTITY") -> Identity:
    """Read the key in a file; raises InvalidInput that names the file."""
    source = f"{name}={quoted(str(file))}" if name == "IDENTITY" else f"{name} ({file})"
    try:
        with file.open("rb") as opened:
            pem = opened.read(_IDENTITY_LIMIT_BYTES + 1)
    except PermissionError:
        # Only here: the command line is loaded without what storage needs.
        from bg_charm_service.storage.data_directory import user_name

        raise InvalidInput(
            f"{source}: cannot be read by user {user_name(os.geteuid())}; a service of systemd "
            f"gets a key that only root can read from {INSTALLED_KEY}"
        ) from None
    except OSError as error:
        raise InvalidInput(f"{source}: cannot be read: {error.strerror}") from None
    if len(pem) > _IDENTITY_LIMIT_BYTES:
        raise InvalidInput(f"{source}: too large for a PKCS#8 PEM key")
    try:
        return Identity.from_pem(pem)
    except InvalidInput as error:
        raise InvalidInput(f"{source}: {error}") from None
