"""The operator's key is replaced: nothing is lost of the data, whenever the process is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from bg_charm_service.domain.identity import DEFAULT_PASSPHRASE, Identity
from tests.hostile.runners import NOBODY, ordinary_user
from tests.process.program import PATIENCE_SECONDS, Program
from tests.process.running import Refused, Service

SECRETIVE = """\
from bg_charm_service import Charm, Secret

class Secretive(Charm):
    token: Secret[str] = "the-secret-of-the-charm"
    length: int = 0

    def bg_updater(self, event: dict) -> None:
        self.length = len(self.token)
"""

#: Where the process of the command is killed, each as code that runs before the program does.
#: The drill of docs/operating.md is the same, with these moments in the place of a power cut.
MOMENTS = {
    "the new key is on disk": """
import bg_charm_service.cli.key_rotation as command
ready_key = command.ready_key
command.ready_key = lambda file: (ready_key(file), end())
""",
    "inside the transaction": """
from bg_charm_service.storage.sql.store.data_keys import Secrets
hand_over = Secrets.hand_over
Secrets.hand_over = lambda *arguments: (hand_over(*arguments), end())
""",
    "the database has changed hands": """
import bg_charm_service.cli.key_rotation as command
command.take_place = lambda file: end()
""",
    "the old key has its second name": """
import sys
sys.addaudithook(
    lambda event, arguments: event == "os.rename" and ".next" in str(arguments[0]) and end()
)
""",
}

KILLED = """
import os, signal
def end():
    os.kill(os.getpid(), signal.SIGKILL)
{moment}
from bg_charm_service.__main__ import main
main()
"""


class Keys:
    """A key file, and the data directory that belongs to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "operator.pem"
        self.program = Program(folder / "data", IDENTITY=str(self.file))
        self.program.output("identity", "new", str(self.file))
        self.program.output("add-admin-charm")

    @property
    def did(self) -> str:
        """Whose key is in the file."""
        return did_in(self.file)

    def owner(self) -> str:
        """Open the directory with the key file, as any command does; gives who owns it."""
        (space,) = self.program.value("space", "list")
        (owner,) = space["owners"]
        return str(owner)

    def killed(self, moment: str) -> None:
        """Rotate, in a process that is killed at a moment."""
        command = [sys.executable, "-c", KILLED.format(moment=MOMENTS[moment])]
        done = subprocess.run(
            [*command, f"--data-dir={self.program.data_dir}", "identity", "rotate"],
            env=self.program.environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert -signal.SIGKILL == done.returncode, (done.stdout, done.stderr)


def did_in(file: Path) -> str:
    """Whose key is in a file."""
    return Identity.from_pem(file.read_bytes()).did()


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_at_any_moment_leaves_a_pair_that_opens(tmp_path: Path, moment: str) -> None:
    """Killed at each step, the key file and the database still open together.

    The same command goes on from there. At the end one key is the owner, and in the file; the old
    one is kept, and opens nothing any more.
    """
    keys = Keys(tmp_path)
    first = keys.did
    keys.killed(moment)
    # What any start does: it opens, with the key of the file, or the one that was ready.
    assert keys.owner() == keys.did
    has_moved = keys.did != first
    assert has_moved == (list(MOMENTS).index(moment) >= 2)
    if not has_moved:
        assert keys.program.value("identity", "rotate")["did"] == keys.did != first
    (retired,) = tmp_path.glob("operator.pem.retired-*")
    assert first == did_in(retired)
    assert {keys.file, retired, keys.program.data_dir} == set(tmp_path.iterdir())
    assert {0o600} == {path.stat().st_mode & 0o777 for path in (keys.file, retired)}
    if moment == "the old key has its second name":
        with_old = Program(keys.program.data_dir, IDENTITY=str(retired))
        assert "AuthorizationError" in with_old.error("space", "list")


def test_a_running_service_goes_on_with_the_new_key(tmp_path: Path) -> None:
    """A rotation beside a running service: it acts as the new identity, and so does its restart.

    Its secrets stay readable, and a backup from before opens with the old key alone.
    """
    keys = Keys(tmp_path)
    with Service(tmp_path / "data", "--interval=3600", IDENTITY=str(keys.file)) as service:
        charm = service.add(SECRETIVE, cause="secretive")
        old = service.status()["operator"]
        copy = tmp_path / "before.db"
        service.request("POST", "/api/backups", {"path": str(copy)})
        told = keys.program.value("identity", "rotate")
        assert (keys.did, str(keys.file)) == (told["did"], told["file"])
        assert old == did_in(Path(told["kept"]))
        assert keys.did == service.status()["operator"] != old
        assert "success" == charm.run()["status"]
        assert "another" == service.add(SECRETIVE, cause="another").view()["cause"]
        newest = service.request("GET", "/api/audit")
        assert ["rotate identity"] == [
            each["action"] for each in newest if each["detail"] == f"{old} to {keys.did}"
        ]
        service.kill()
        service.start()
        assert keys.did == service.status()["operator"]
        charm.set("length", 0)
        assert "success" == charm.run()["status"]
        assert len("the-secret-of-the-charm") == charm.get("length")
        owners = [one["owners"] for one in service.request("GET", "/api/spaces")]
        assert [[keys.did]] * 2 == owners
    restored = Program(tmp_path / "restored", IDENTITY=str(keys.file))
    restored.output("restore", str(copy))
    assert f"{old} owns it" in restored.error("space", "list")
    with_old = Program(tmp_path / "restored", IDENTITY=told["kept"])
    with_old.output("identity", "rotate", "--to", str(keys.file))
    assert keys.did == restored.value("space", "list")[0]["owners"][0]


def test_a_passphrase_gives_way_to_a_file(tmp_path: Path) -> None:
    """Where the key is in no file, one is named; it is made where it is not there."""
    target = tmp_path / "operator.pem"
    program = Program(tmp_path / "data", OPERATOR_PASS="what people remember")
    program.output("add-admin-charm")
    assert "--to FILE" in program.error("identity", "rotate", code=2)
    assert program.value("identity", "rotate", "--to", str(target))["did"] == did_in(target)
    assert "AuthorizationError" in program.error("space", "list")
    with_file = Program(tmp_path / "data", IDENTITY=str(target))
    assert [did_in(target)] == with_file.value("space", "list")[0]["owners"]
    again = with_file.value("identity", "rotate", "--to", str(target))
    assert did_in(target) == again["did"]


def test_what_nobody_should_hand_over_to(tmp_path: Path) -> None:
    """A DID whose key is not there, or is everybody's, gets nothing."""
    stranger, public = Identity.generate(), Identity.from_passphrase(DEFAULT_PASSPHRASE)
    with Service(tmp_path / "data", "--interval=3600", OPERATOR_PASS="mine") as service:
        for did, proof, reason in (
            (stranger.did(), b"", "was not made with the key"),
            (stranger.did(), public.sign(b"anything"), "was not made with the key"),
            (public.did(), b"", "everybody can compute"),
            (service.status()["operator"], b"", "already"),
            ("nobody", b"", "Not a DID"),
        ):
            body = {"did": did, "proof": proof.hex()}
            with pytest.raises(Refused, match=reason):
                service.request("POST", "/api/identity", body)
        key = tmp_path / "other.pem"
        program = Program(tmp_path / "data", IDENTITY=str(key))
        program.output("identity", "new", str(key))
        assert "give this command the IDENTITY that the service has" in program.error(
            "identity", "rotate"
        )
    flagged = Program(tmp_path / "data", IDENTITY="x.pem", BG_CHARM_URL="http://localhost:1")
    assert "not by --url" in flagged.error("identity", "rotate", code=2)


def test_root_rotates_a_key_of_its_own_for_another_users_data() -> None:
    """Root, who becomes the owner of the data directory, still gives the key's file its place."""
    with ordinary_user() as runner, tempfile.TemporaryDirectory() as name:
        if isinstance(runner, str):
            pytest.skip(runner)
        folder = Path(name)
        folder.chmod(0o755)
        data, file = folder / "data", folder / "operator.pem"
        data.mkdir()
        os.chown(data, NOBODY, NOBODY)
        environment = {**runner.environ, "PATH": os.environ["PATH"], "IDENTITY": str(file)}

        def told_to_root(*arguments: str) -> Any:
            """Run a command as root, with a Python that the other user can read."""
            command = [runner.python, "-m", "bg_charm_service", f"--data-dir={data}", *arguments]
            done = subprocess.run(
                [*command, "--json"],
                env=environment,
                cwd="/",
                capture_output=True,
                text=True,
                timeout=PATIENCE_SECONDS,
                check=False,
            )
            assert 0 == done.returncode, done.stderr
            return json.loads(done.stdout)

        before = told_to_root("identity", "new", str(file))["did"]
        told_to_root("token", "new", "--name", "first")
        assert [before] == told_to_root("space", "list")[0]["owners"]
        rotated = told_to_root("identity", "rotate")
        assert rotated["did"] == did_in(file) != before
        assert before == did_in(Path(rotated["kept"]))
        assert [did_in(file)] == told_to_root("space", "list")[0]["owners"]
        owners = {path.stat().st_uid for path in data.iterdir()}
        assert ({NOBODY}, 0) == (owners, file.stat().st_uid)
