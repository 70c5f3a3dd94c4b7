"""The demonstration of an outage: its steps happen, and it says so when one does not."""

from __future__ import annotations

import subprocess
import sys

from tests.unit.pages import ROOT

#: All but what lasts as long as a provider is left alone for: half a minute.
QUICK = ("waiting", "maintenance", "sign-in", "stopped", "stale", "outage", "silence")


def demonstrate(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        [sys.executable, "-m", "demos.outage", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_step_happens() -> None:
    """With a provider that asks for little patience: each step is shown, in order, and done."""
    done = demonstrate("--patience=3", "--away=1", *reversed(QUICK))
    assert 0 == done.returncode, done.stdout + done.stderr
    titles = [line for line in done.stdout.splitlines() if " of 7. " in line]
    assert [name.capitalize() for name in QUICK] == [
        title.partition(". ")[2].partition(":")[0] for title in titles
    ]
    for shown in (
        "not once before; ",
        "Sign in again: the token was revoked",
        "Stopped: the parcel was delivered",
        "localhost is down since",
        "3 charms wait as one line; no failure is counted, none is disabled.",
        "Told by a notice: ",
        "No heartbeat for 5 s: whoever listens sounds the alarm.",
    ):
        assert shown in done.stdout
    assert "Every step happened" in done.stdout


def test_step_that_does_not_happen_is_named() -> None:
    """It ends there, with another exit code than 0, and says what was expected."""
    done = demonstrate("--deadline=0", "stopped")
    assert 1 == done.returncode
    assert "✗ stopped: expected it to stop, and waited 0 s for it" in done.stdout
    assert "" == done.stderr
