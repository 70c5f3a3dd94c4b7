"""The data directory: private, locked by one process, and clear about why it cannot be used."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bg_charm_service.domain.errors import DataDirectoryBusy, DataDirectoryError, NotFound
from bg_charm_service.storage.data_directory import (
    DataDirectory,
    check_has_database,
    user_name,
    why_unusable,
)

NOBODY = pwd.getpwnam("nobody")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A directory that any user may enter: those of pytest are only for who runs it."""
    with tempfile.TemporaryDirectory(prefix="open-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def mode(path: Path) -> int:
    """Give who may do what with a file."""
    return stat.S_IMODE(path.stat().st_mode)


def test_directory_is_made_private(tmp_path: Path) -> None:
    """A missing directory is created with its parents, and only its owner may enter it."""
    with DataDirectory.open(tmp_path / "a" / "b") as directory:
        assert 0o700 == mode(directory.path)
        assert 0o600 == mode(directory.path / "lock")


def test_directory_that_was_open_to_others_is_closed(tmp_path: Path) -> None:
    """An existing directory of ours loses the rights that others had."""
    path = tmp_path / "data"
    path.mkdir(mode=0o755)
    with DataDirectory.open(path):
        assert 0o700 == mode(path)


def test_a_database_is_looked_for(tmp_path: Path) -> None:
    """Where nothing was stored yet, whoever only looks hears so, and nothing is made."""
    path = tmp_path / "data"
    for _ in range(2):
        with pytest.raises(NotFound, match=f"{path} has no database"):
            check_has_database(path)
        assert not path.exists()
    with DataDirectory.open(path) as directory:
        # Somebody else has it, and is about to make the database: that is waited for.
        with pytest.raises(DataDirectoryBusy):
            check_has_database(path)
        directory.database_path.touch()
        check_has_database(path)
        directory.database_path.unlink()
    with pytest.raises(NotFound):
        check_has_database(path)


def test_second_owner_is_refused_by_name(tmp_path: Path) -> None:
    """While the directory is open, another opening fails and names the process that has it."""
    with (
        DataDirectory.open(tmp_path / "data") as directory,
        pytest.raises(DataDirectoryBusy, match=f"in use by process {os.getpid()}"),
    ):
        DataDirectory.open(directory.path)


def test_closed_directory_opens_again(tmp_path: Path) -> None:
    """Closing gives the lock up; closing twice is fine."""
    directory = DataDirectory.open(tmp_path / "data")
    directory.close()
    directory.close()
    with DataDirectory.open(tmp_path / "data") as again:
        assert tmp_path / "data" == again.path


def test_lock_does_not_reach_a_program_started_meanwhile(tmp_path: Path) -> None:
    """A child that outlives the owner does not keep the directory locked."""
    directory = DataDirectory.open(tmp_path / "data")
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        directory.close()
        DataDirectory.open(tmp_path / "data").close()
    finally:
        child.communicate(b"\n")


def test_relative_path_is_fixed_when_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory stays the same when the working directory changes."""
    monkeypatch.chdir(tmp_path)
    with DataDirectory.open(Path("data")) as directory:
        assert tmp_path / "data" == directory.path
        assert tmp_path / "data" / "service.sock" == directory.socket_path
        assert tmp_path / "data" / "bg-charm-service.db" == directory.database_path


def test_file_is_no_directory(tmp_path: Path) -> None:
    """A file in the directory's place is named as such, and left alone."""
    path = tmp_path / "data"
    path.write_text("mine")
    with pytest.raises(DataDirectoryError, match="is not a directory"):
        DataDirectory.open(path)
    assert "mine" == path.read_text()


def test_directory_of_all_users_is_refused(tmp_path: Path) -> None:
    """A directory like /tmp keeps its rights, and is never taken for the service."""
    path = tmp_path / "shared"
    path.mkdir()
    path.chmod(0o1777)
    with pytest.raises(DataDirectoryError, match="shared by all users"):
        DataDirectory.open(path)
    assert 0o1777 == mode(path)


def test_foreign_directory_names_owner_and_command(tmp_path: Path) -> None:
    """Whoever may not use a directory is told whose it is, and what to run, in one line."""
    owner = user_name(tmp_path.stat().st_uid)
    text = why_unusable(tmp_path / "missing", OSError(28, "No space left on device"))
    assert "No space left on device" in text
    assert "\n" not in text
    if owner != NOBODY.pw_name:
        script = (
            "import os, sys; from pathlib import Path;"
            "from bg_charm_service.storage.data_directory import why_unusable;"
            "print(why_unusable(Path(sys.argv[1]), PermissionError(13, 'no')))"
        )
        told = run_as_nobody(script, tmp_path) if os.geteuid() == 0 else ""
        assert not told or f"`sudo bg-charm-service --data-dir {tmp_path}" in told


def run_as_nobody(script: str, path: Path) -> str:
    """Run a script that drops root first, once its imports are done."""
    become = f"os.setgid({NOBODY.pw_gid}); os.setuid({NOBODY.pw_uid}); "
    script = script.replace("print(", become + "print(")
    ran = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    return ran.stdout


@as_root
@pytest.mark.parametrize("uid", [NOBODY.pw_uid, 54_321], ids=["known", "without a name"])
def test_root_goes_on_as_the_owner(open_to_all: Path, uid: int) -> None:
    """Root that opens another user's directory becomes that user, and leaves no file of root's."""
    path = open_to_all / "data"
    path.mkdir()
    os.chown(path, uid, NOBODY.pw_gid)
    script = (
        "import os, sys; from pathlib import Path;"
        "from bg_charm_service.storage.data_directory import DataDirectory;"
        "DataDirectory.open(Path(sys.argv[1])); print(os.geteuid())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False
    )
    assert f"{uid}\n" == ran.stdout, ran.stderr
    assert {uid} == {found.stat().st_uid for found in path.iterdir()}


def mount_namespaces() -> bool:
    """Tell whether root may have a mount namespace here."""
    done = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    return os.geteuid() == 0 and done.returncode == 0


needs_namespaces = pytest.mark.skipif(
    not mount_namespaces(), reason="only root with mount namespaces can go where a parent is closed"
)

#: Opens a directory, and says as whom it then works there, and what else it can see.
WORKER = """
import os, sqlite3, subprocess, sys
from pathlib import Path
from bg_charm_service.storage.data_directory import DataDirectory

with DataDirectory.open(Path(sys.argv[1])) as directory:
    with sqlite3.connect(directory.path / "some.db") as database:
        database.execute("CREATE TABLE some (x)")
    database.close()
    child = subprocess.run(["ls", directory.path], stdout=subprocess.PIPE, text=True, check=True)
    print(os.geteuid(), "some.db" in child.stdout, os.listdir(directory.path.resolve().parent))
"""


def opened_by_root(path: Path) -> subprocess.CompletedProcess[str]:
    """Open a directory as root, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", WORKER, str(path)], capture_output=True, text=True, check=False
    )


@needs_namespaces
def test_root_reaches_what_lies_below_a_closed_parent(open_to_all: Path) -> None:
    """As systemd keeps it: the parent is root's alone, and a link leads to the directory."""
    closed = open_to_all / "private"
    path = closed / "data"
    path.mkdir(parents=True)
    closed.chmod(0o700)
    (closed / "of another unit").mkdir()
    os.chown(path, 54_321, 54_321)
    (open_to_all / "data").symlink_to("private/data")

    done = opened_by_root(open_to_all / "data")

    assert "54321 True ['data']\n" == done.stdout, done.stderr
    assert {54_321} == {found.stat().st_uid for found in path.iterdir()}
    assert {"data", "of another unit"} == set(os.listdir(closed))
    assert str(closed) not in Path("/proc/self/mountinfo").read_text()


@needs_namespaces
def test_a_closed_parent_of_another_user_is_not_mounted_over(open_to_all: Path) -> None:
    """Whoever owns a parent could lead root elsewhere: that is refused, and nothing is changed."""
    closed = open_to_all / "private"
    path = closed / "data"
    path.mkdir(parents=True)
    closed.chmod(0o700)
    os.chown(path, 54_321, 54_321)
    os.chown(closed, NOBODY.pw_uid, NOBODY.pw_gid)

    done = opened_by_root(path)

    assert f"{closed} is not root's alone" in done.stderr
    assert [] == list(path.iterdir())
