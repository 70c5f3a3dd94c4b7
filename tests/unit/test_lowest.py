"""Promises of .ci/lowest: the bounds of setup.cfg, all of them, as constraints."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / ".ci" / "lowest"

#: The first version without the newest hole that is known, of dependencies that have had one that
#: a bound of ours would let in.
ADVISORIES = {
    "click": ("8.3.3", "PYSEC-2026-2132"),
    "cryptography": ("50.0.0", "PYSEC-2026-3552"),
    "h11": ("0.16", "GHSA-vqfr-h8mv-ghfj"),
    "httpx2": ("2.12", "GHSA-8xx6-hgc6-gc2m"),
    "jinja2": ("3.1.6", "GHSA-cpwx-vrp4-4pq7"),
    "pynacl": ("1.6.2", "CVE-2025-69277"),
    "pytest": ("9.0.3", "CVE-2025-71176"),
    "setuptools": ("83", "GHSA-h35f-9h28-mq5c"),
    "starlette": ("1.3.1", "CVE-2026-54283"),
}

SETUP = """
[options]
install_requires =
    click>={}

[options.extras_require]
dev =
    pytest>=9.0
"""


def numbers(version: str) -> list[int]:
    """A version as what it is compared by."""
    return [int(each) for each in version.split(".")]


def lowest(folder: Path, setup: str) -> subprocess.CompletedProcess[str]:
    """Run it in a checkout with this setup.cfg."""
    (folder / ".ci").mkdir()
    (folder / "setup.cfg").write_text(setup)
    program = shutil.copy(PROGRAM, folder / ".ci")
    return subprocess.run([sys.executable, program], capture_output=True, text=True, check=False)


def test_each_bound_becomes_the_only_version(tmp_path: Path) -> None:
    """Dependencies of the service and of its extras are held at their lowest versions."""
    assert "click==8.4\npytest==9.0\n" == lowest(tmp_path, SETUP.format("8.4")).stdout


@pytest.mark.parametrize("bound", ["8.4,<9", "8.4; python_version < '3.12'"])
def test_what_is_no_plain_bound_is_refused(tmp_path: Path, bound: str) -> None:
    """A dependency whose lowest version cannot be told is named, and nothing is left out."""
    refused = lowest(tmp_path, SETUP.format(bound))

    assert 1 == refused.returncode
    assert f"setup.cfg: click>={bound} has no plain lower bound" in refused.stderr


def test_a_dependency_without_a_bound_is_refused(tmp_path: Path) -> None:
    """Without a bound any version would be allowed, and none tested."""
    refused = lowest(tmp_path, SETUP.format("8.4").replace("pytest>=9.0", "pytest"))

    assert 1 == refused.returncode
    assert "setup.cfg: pytest has no plain lower bound" in refused.stderr


def test_no_bound_lets_a_known_hole_in() -> None:
    """Whoever installs the oldest that is allowed gets no version with a hole that we know of."""
    printed = subprocess.run([sys.executable, PROGRAM], capture_output=True, text=True, check=True)
    bounds = dict(line.split("==") for line in printed.stdout.splitlines())

    assert [] == [
        f"{name} {bounds.get(name)} has {advisory}, {mended} has not"
        for name, (mended, advisory) in ADVISORIES.items()
        if numbers(bounds.get(name, "0")) < numbers(mended)
    ]
