"""The key that the service and its commands act with, from the environment or a file.

The only place that reads the passphrase, so that no settings object ever holds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bg_charm_service.daemon.settings import Settings, quoted
from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.identity import DEFAULT_PASSPHRASE, Identity

#: An identity file larger than this is not one, in bytes.
_IDENTITY_LIMIT_BYTES = 64 * 1024


def operator_identity(settings: Settings, environ: Mapping[str, str]) -> Identity:
    """Give the key that the service acts with: IDENTITY, else OPERATOR_PASS, else the default."""
    if settings.identity_file is not None:
        return _identity_from_file(settings.identity_file)
    try:
        return Identity.from_passphrase(environ.get("OPERATOR_PASS") or DEFAULT_PASSPHRASE)
    except InvalidInput as error:
        raise InvalidInput(f"OPERATOR_PASS: {error}") from None


def _identity_from_file(file: Path) -> Identity:
    source = f"IDENTITY={quoted(str(file))}"
    try:
        with file.open("rb") as opened:
            pem = opened.read(_IDENTITY_LIMIT_BYTES + 1)
    except OSError as error:
        raise InvalidInput(f"{source}: cannot be read: {error.strerror}") from None
    if len(pem) > _IDENTITY_LIMIT_BYTES:
        raise InvalidInput(f"{source}: too large for a PKCS#8 PEM key")
    try:
        return Identity.from_pem(pem)
    except InvalidInput as error:
        raise InvalidInput(f"{source}: {error}") from None
