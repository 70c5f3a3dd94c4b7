"""Promises of the systemd unit, checked by systemd's own tools."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "bin" / "bg-charm-service.service"

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="systemd-analyze is not installed (Debian: apt-get install systemd); .ci/run insists",
)


def systemd_analyze(*arguments: str) -> str:
    """Return all that the tool prints, errors included."""
    finished = subprocess.run(
        ["systemd-analyze", *arguments],
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return finished.stdout


def test_verify_has_nothing_to_say() -> None:
    """`systemd-analyze verify` accepts the unit without a word."""
    assert "" == systemd_analyze("verify", str(UNIT))


def test_exposure_is_two_or_better() -> None:
    """The unit is hardened: an overall exposure of 2.0 or less, of 10."""
    report = systemd_analyze("security", "--offline=true", "--no-pager", str(UNIT))
    overall = re.search(r"Overall exposure level for \S+: (\d+\.\d+)", report)

    assert overall is not None, report
    assert float(overall[1]) <= 2.0, report


def test_workers_may_build_their_walls() -> None:
    """The system calls of the sandbox are allowed beside @system-service."""
    allowed = re.search(r"^SystemCallFilter=(@system-service .*)$", UNIT.read_text(), re.MULTILINE)

    assert allowed is not None
    walls = {"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self", "seccomp"}
    assert walls <= set(allowed[1].split())
