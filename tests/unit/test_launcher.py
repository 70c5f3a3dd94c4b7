"""Promises of bin/bg-charm-service, tried in a checkout of its own."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

LAUNCHER = Path(__file__).parents[2] / "bin" / "bg-charm-service"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with nothing but the launcher, in a folder with a space in its name."""
    root = tmp_path / "a checkout"
    (root / "bin").mkdir(parents=True)
    shutil.copy(LAUNCHER, root / "bin")
    return root


def install_program(checkout: Path) -> None:
    """Put a program into .venv that prints its arguments and exits with 7."""
    program = checkout / ".venv" / "bin" / "bg-charm-service"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\nprintf '<%s>' \"$@\"\nexit 7\n")
    program.chmod(0o755)


def launch(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the launcher from a folder that has nothing to do with it."""
    return subprocess.run([path, *arguments], cwd="/", capture_output=True, text=True)


def test_program_of_the_checkout_runs(checkout: Path) -> None:
    """It passes on every argument as it is, and the exit code back."""
    install_program(checkout)

    ran = launch(checkout / "bin" / "bg-charm-service", "--charms=a b", "*", "")

    assert ("<--charms=a b><*><>", 7) == (ran.stdout, ran.returncode)


def test_symlinks_lead_to_the_checkout(checkout: Path, tmp_path: Path) -> None:
    """Called through a chain of symlinks it still finds its own checkout."""
    install_program(checkout)
    (tmp_path / "first").symlink_to(checkout / "bin" / "bg-charm-service")
    (tmp_path / "second").symlink_to("first")

    assert "<status>" == launch(tmp_path / "second", "status").stdout


def test_missing_venv_is_one_line_that_says_what_to_do(checkout: Path) -> None:
    """Without .venv it exits 1 and names the command that makes one."""
    ran = launch(checkout / "bin" / "bg-charm-service", "status")

    assert (1, "") == (ran.returncode, ran.stdout)
    (line,) = ran.stderr.splitlines()
    assert f"make -C '{checkout}' venv" in line


@pytest.mark.skipif(
    subprocess.run(["env", "--block-signal=INT", "true"], capture_output=True).returncode != 0,
    reason="env holds no signals here (coreutils 8.31 do)",
)
def test_signals_wait_for_the_program(checkout: Path) -> None:
    """While Python starts it would answer Ctrl-C with a traceback: until then signals are held."""
    install_program(checkout)
    program = checkout / ".venv" / "bin" / "bg-charm-service"
    # A shell would let them come.
    program.write_text(f"#!{sys.executable}\nprint(open('/proc/self/status').read())\n")

    status = launch(checkout / "bin" / "bg-charm-service").stdout

    held = int(status.partition("SigBlk:")[2].split()[0], 16)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        assert held >> (number - 1) & 1
