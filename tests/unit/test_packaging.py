"""Promises of what is shipped: a wheel and an archive of the source, built without a network."""

from __future__ import annotations

import configparser
import email
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bg_charm_service.domain.version import VERSION

ROOT = Path(__file__).parents[2]

#: What a build reads.
INPUTS = (
    *("setup.cfg", "pyproject.toml", "MANIFEST.in", "Makefile", "constraints.txt", "ruff.toml"),
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE"),
    *("bin", "charms", "integrations", "bg_charm_service"),
)

BUILD = """
import sys
from setuptools import build_meta
print(getattr(build_meta, sys.argv[1])(sys.argv[2]))
"""


def build(kind: str, folder: Path) -> Path:
    """Build `kind` from a copy of the checkout; returns the file."""
    copy = folder / "checkout"
    copy.mkdir()
    for name in INPUTS:
        if (ROOT / name).is_dir():
            shutil.copytree(
                *(ROOT / name, copy / name),
                symlinks=True,
                ignore=shutil.ignore_patterns("__pycache__", ".*"),
            )
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, copy / name)
    built = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BUILD, f"build_{kind}", str(folder)],
        cwd=copy,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert built.returncode == 0, built.stdout
    return folder / built.stdout.splitlines()[-1]


def package_files() -> set[str]:
    """Return the names that the built package must have: modules, charms, integrations, pages."""
    wanted = {"bg_charm_service/py.typed"}
    for folder in ("bg_charm_service", "charms", "integrations"):
        prefix = "" if folder == "bg_charm_service" else "bg_charm_service/"
        wanted |= {prefix + str(p.relative_to(ROOT)) for p in (ROOT / folder).rglob("*.py")}
    for folder in ("api/static", "api/templates"):
        files = (ROOT / "bg_charm_service" / folder).rglob("*.*")
        wanted |= {str(path.relative_to(ROOT)) for path in files}
    return wanted


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """A wheel of the checkout."""
    with zipfile.ZipFile(build("wheel", tmp_path_factory.mktemp("wheel"))) as archive:
        yield archive


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of the files in an archive of the source."""
    with tarfile.open(build("sdist", tmp_path_factory.mktemp("sdist"))) as archive:
        return {m.name.partition("/")[2] for m in archive.getmembers() if m.isfile()}


def configuration() -> configparser.ConfigParser:
    """Return what stands in setup.cfg."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config


def requirements() -> list[str]:
    """Return the name of every declared dependency, in one spelling."""
    config = configuration()
    extras = config["options.extras_require"].values()
    declared = "\n".join([config["options"]["install_requires"], *extras])
    return [plain(line) for line in declared.splitlines() if line]


def plain(requirement: str) -> str:
    """Return the distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[<>=!~\[; ]", requirement)[0]).lower()


def test_wheel_holds_code_charms_integrations_and_types(wheel: zipfile.ZipFile) -> None:
    """Everything that works in a checkout is in the wheel: the symlinked folders too."""
    assert set() == package_files() - set(wheel.namelist())


def test_wheel_holds_nothing_but_the_package(wheel: zipfile.ZipFile) -> None:
    """No tests, and no top-level package called charms or integrations, reach a user's machine."""
    tops = {name.partition("/")[0] for name in wheel.namelist()}

    assert {"bg_charm_service"} == {top for top in tops if not top.endswith(".dist-info")}


def test_wheel_installs_the_command(wheel: zipfile.ZipFile) -> None:
    """The command `bg-charm-service` is a console script of the entry module."""
    (entry_points,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))

    text = wheel.read(entry_points).decode()
    assert "bg-charm-service = bg_charm_service.__main__:main" in text


def test_wheel_holds_the_license(wheel: zipfile.ZipFile) -> None:
    """Whoever has the wheel has the license, word for word, and its metadata name it."""
    (license_name,) = (name for name in wheel.namelist() if name.endswith("licenses/LICENSE"))
    (metadata_name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))

    assert (ROOT / "LICENSE").read_bytes() == wheel.read(license_name)
    metadata = email.message_from_bytes(wheel.read(metadata_name))
    assert "MIT" == metadata["License"]
    assert ["LICENSE"] == metadata.get_all("License-File")


def test_license_names_its_holder() -> None:
    """The license is MIT's, of the authors."""
    text = (ROOT / "LICENSE").read_text()

    assert text.startswith("MIT License\n")
    assert "Copyright (c) 2026 the bg-charm-service authors" in text


def test_source_archive_holds_what_a_wheel_needs(source: set[str]) -> None:
    """The archive of the source has real files where the checkout has symlinks."""
    assert set() == package_files() - source


def test_source_archive_holds_what_people_read_first(source: set[str]) -> None:
    """License, guide for contributors and how to report a fault go along with the source."""
    wanted = {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE"}

    assert set() == wanted - source


def test_changelog_has_the_version() -> None:
    """The version that is built stands in the changelog, with a date; what follows is above."""
    text = (ROOT / "CHANGELOG.md").read_text()
    sections = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", text, re.MULTILINE)

    assert ("Unreleased", "") == sections[0]
    assert all(date for _, date in sections[1:])
    assert VERSION in dict(sections[1:])


def test_pyproject_holds_the_build_backend_only() -> None:
    """Metadata has one place, setup.cfg."""
    assert {"build-system"} == tomllib.loads((ROOT / "pyproject.toml").read_text()).keys()


def test_every_dependency_is_pinned_once() -> None:
    """constraints.txt pins each declared dependency exactly, and nothing twice."""
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line]
    pinned = [plain(line) for line in lines]

    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    assert len(set(pinned)) == len(pinned)
    assert set() == set(requirements()) - set(pinned)


def test_folders_are_reached_through_relative_symlinks() -> None:
    """Integrations and charms are one set of files, wherever the checkout lies."""
    for name in ("integrations", "charms"):
        assert Path("..", name) == (ROOT / "bg_charm_service" / name).readlink()
