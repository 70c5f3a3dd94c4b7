"""The providers that ship with the service: `integrations/providers.toml`, read once.

Others are described by their own documents (RFC 8414), which `auth client NAME --issuer URL` reads.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from bg_charm_service.domain.oauth import Provider, check_provider
from bg_charm_service.domain.package_folder import PACKAGE_FOLDER

_FILE: Final = "providers.toml"


@cache
def shipped_providers() -> dict[str, Provider]:
    """Give those that are shipped, by name."""
    return read_providers(PACKAGE_FOLDER / "integrations" / _FILE)


def read_providers(path: Path) -> dict[str, Provider]:
    """Read a file of providers; raises InvalidInput for one that must not be asked."""
    found = {}
    for name, members in tomllib.loads(path.read_text()).items():
        found[name] = msgspec.convert({"name": name, **members}, Provider)
        check_provider(found[name])
    return found
