"""Which packages a worker has before it loads a charm: they were imported in the zygote.

A charm cannot have another version of these, so each lock is made beside them. `main` is a process
of its own, which prepares itself as the zygote does and prints what it has.
"""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from importlib import metadata

import msgspec

#: This package's own name: it is never looked for anywhere.
OURS = "bg-charm-service"


class LoadedPackage(msgspec.Struct, frozen=True):
    """One that is there; `extras` are what it can bring along, `requires` what for them."""

    name: str
    version: str
    extras: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()


def main() -> None:
    """Print what is loaded, as JSON."""
    # Not at the top: the service does not become a worker to ask for this.
    from bg_charm_service.workers.runtime.boot import preload

    # The zygote takes the output of its process for that of its workers.
    with redirect_stdout(sys.stdout):
        preload()
    sys.stdout.write(json.dumps(msgspec.to_builtins(loaded_packages())))
    sys.stdout.flush()


def loaded_packages() -> list[LoadedPackage]:
    """Give the packages of which this process has imported something, but for this one itself."""
    from packaging.utils import canonicalize_name

    imported = {name.partition(".")[0] for name in sys.modules}
    names = {
        canonicalize_name(each)
        for module, owners in metadata.packages_distributions().items()
        if module in imported
        for each in owners
    }
    return [_describe(name) for name in sorted(names - {OURS})]


def _describe(name: str) -> LoadedPackage:
    found = metadata.distribution(name)
    extras = tuple(found.metadata.get_all("Provides-Extra") or ())
    # What it needs itself it has; what it needs for an extra may be missing.
    requires = tuple(each for each in found.requires or () if "extra" in each.partition(";")[2])
    return LoadedPackage(name, found.version, extras, requires)
