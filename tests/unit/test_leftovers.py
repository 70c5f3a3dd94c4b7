"""What a run leaves outside of its process is noticed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bg_charm_service.workers.pool.scratch.directory import ScratchRoot
from bg_charm_service.workers.protocol.leftovers import Leftovers


@pytest.fixture
def root(tmp_path: Path) -> Iterator[ScratchRoot]:
    """A directory of scratch directories."""
    root = ScratchRoot(tmp_path)
    root.open()
    yield root
    root.close()


@pytest.fixture
def scratch(root: ScratchRoot) -> Path:
    """A scratch directory as a worker gets it."""
    return root.make(7)


@pytest.mark.parametrize("kind", ["file", "folder", "link", "file that is gone again"])
def test_files_are_noticed(scratch: Path, kind: str) -> None:
    """Whatever is made in the directory shows, also what was made and removed."""
    leftovers = Leftovers(str(scratch))
    assert not leftovers.are_there()
    path = scratch / "left"
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("nowhere")
    else:
        path.touch()
    if kind.endswith("again"):
        path.unlink()
    assert leftovers.are_there()


def test_emptied_directory_is_as_new(root: ScratchRoot, scratch: Path) -> None:
    """Once the supervisor has emptied it, nothing is left to notice; what comes later is."""
    leftovers = Leftovers(str(scratch))
    for _ in range(3):
        (scratch / "left").touch()
        assert leftovers.are_there()
        assert root.empty(7)
        assert not leftovers.are_there()


def test_directory_that_is_gone_is_noticed(scratch: Path) -> None:
    """A run that removed its directory has left something to be dealt with."""
    leftovers = Leftovers(str(scratch))
    scratch.rmdir()
    assert leftovers.are_there()


@pytest.mark.parametrize("closed", [0, 1], ids=["none", "stdout"])
def test_output_is_noticed_until_it_is_read(closed: int) -> None:
    """Raw output that nobody has read shows, also where one of its descriptors is closed."""
    code = (
        "import os, sys; from bg_charm_service.workers.protocol.leftovers import Leftovers\n"
        "leftovers = Leftovers('')\n"
        f"if {closed}: os.close(1)\n"
        "before = leftovers.are_there()\n"
        "os.write(2, b'raw')\n"
        "os.write(int(sys.argv[1]), repr((before, leftovers.are_there())).encode())\n"
    )
    told, tell = os.pipe()
    output, raw = os.pipe()
    command = [sys.executable, "-c", code, str(tell)]
    subprocess.run(command, stdout=raw, stderr=raw, pass_fds=[tell], check=True)
    assert b"(False, True)" == os.read(told, 100)
    for fd in (told, tell, output, raw):
        os.close(fd)
