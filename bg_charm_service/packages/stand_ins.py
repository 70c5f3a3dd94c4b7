"""Keeps the packages of a charm consistent with those that the service has loaded.

While versions are looked for, each loaded package is stood in for by a wheel that holds its name
and version only: so the index need not have that version, and nothing of it is installed again.
What was installed is checked again, since the service may have been updated after the lock was
made, and so is that no two packages bring the same module. Used by `installer`.
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from bg_charm_service.domain.errors import PackageError
from bg_charm_service.packages.loaded import LoadedPackage

_WHEEL = (
    "Wheel-Version: 1.0\nGenerator: bg-charm-service\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
)

#: How packages begin that several distributions share, on purpose.
_SHARED = ("declare_namespace", "extend_path")

#: Modules that many distributions bring by mistake, and nobody imports.
_NOBODYS = {"benchmarks", "docs", "examples", "scripts", "test", "tests", "tools"}

_ADVICE = "`charm update --upgrade` with the charm's file looks for versions that go together"


def write(folder: Path, loaded: Sequence[LoadedPackage]) -> None:
    """Write a wheel for each, which says who it is and what its extras bring along."""
    folder.mkdir()
    for one in loaded:
        name = one.name.replace("-", "_")
        inside = f"{name}-{one.version}.dist-info"
        lines = ["Metadata-Version: 2.1", f"Name: {one.name}", f"Version: {one.version}"]
        lines += [f"Provides-Extra: {extra}" for extra in one.extras]
        lines += [f"Requires-Dist: {each}" for each in one.requires]
        path = folder / f"{name}-{one.version}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr(f"{inside}/METADATA", "\n".join(lines) + "\n")
            wheel.writestr(f"{inside}/WHEEL", _WHEEL)
            names = (f"{inside}/{each}" for each in ("METADATA", "WHEEL", "RECORD"))
            wheel.writestr(f"{inside}/RECORD", "".join(f"{each},,\n" for each in names))


def check_beside(folder: Path, loaded: Sequence[LoadedPackage]) -> None:
    """Raise PackageError for a package that needs another version than is loaded, or is one."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    versions = {one.name: one.version for one in loaded}
    for found in metadata.distributions(path=[str(folder)]):
        own = versions.get(canonicalize_name(found.metadata["Name"] or ""))
        if own is not None and own != found.version:
            raise PackageError(
                f"it has {found.name} {found.version}, and the service itself runs on "
                f"{found.name} {own}: {_ADVICE}"
            )
        for text in found.requires or ():
            wanted = Requirement(text)
            version = versions.get(canonicalize_name(wanted.name))
            applies = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
            if version is None or not applies:
                continue
            if not wanted.specifier.contains(version, prereleases=True):
                raise PackageError(
                    f"{found.name} {found.version} needs {wanted.name}{wanted.specifier}, and the "
                    f"service itself runs on {wanted.name} {version}: {_ADVICE}"
                )


def check_apart(folder: Path) -> None:
    """Raise PackageError where two packages bring one module, of which only one can be there.

    Which of the files lies there is chance: uv unpacks all packages at once.
    """
    begins: dict[str, tuple[str, str]] = {}
    for found in metadata.distributions(path=[str(folder)]):
        for path, digest in _beginnings(found):
            other, theirs = begins.setdefault(path, (str(found.name), digest))
            if theirs == digest or _is_shared(folder / path):
                continue
            module = path.removesuffix(".py").removesuffix("/__init__")
            first, second = sorted((other, str(found.name)))
            raise PackageError(
                f"{first} and {second} both bring the module {module}: a charm can have only one "
                "of them"
            )


def _beginnings(found: metadata.Distribution) -> list[tuple[str, str]]:
    """Give where the modules of a package begin, with the hash of each file."""
    rows = csv.reader((found.read_text("RECORD") or "").splitlines())
    told = [(row[0], row[1]) for row in rows if len(row) > 1]
    return [
        (path, digest)
        for path, digest in told
        if (path.count("/"), path.endswith("/__init__.py")) in ((1, True), (0, False))
        and path.endswith(".py")
        and path.removesuffix(".py").partition("/")[0] not in _NOBODYS
    ]


def _is_shared(file: Path) -> bool:
    text = file.read_text(errors="replace")
    return any(word in text for word in _SHARED)
