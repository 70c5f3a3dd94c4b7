"""`make mail` on a terminal asks for a mailbox and shows it; elsewhere, and later, it does not."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.running import PATIENCE_SECONDS, ROOT
from tests.process.test_mail_importer import Box
from tests.real_servers import PASSWORD, dovecot

COMMAND = [sys.executable, "-m", "demos.first_charm", "mail", "--set", "is_plain=true", "--"]


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A mailbox with three mails."""
    with dovecot(tmp_path) as server:
        box = Box(server, "")
        box.append(1, 2, 3)
        yield box
        box.imap.logout()


def typed(folder: Path, *answers: tuple[str, str]) -> tuple[int, str]:
    """Run it on a terminal, and answer what it asks, which has to come in this order."""
    terminal, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "--data-dir", str(folder), "--sandbox=auto"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=ROOT,
        env={**os.environ, "BG_CHARM_CONFIG": os.devnull, "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    ) as process:
        os.close(theirs)
        try:
            seen = _talk(terminal, answers)
            return process.wait(PATIENCE_SECONDS), seen.replace("\r\n", "\n")
        finally:
            process.kill()
            os.close(terminal)


def _talk(terminal: int, answers: tuple[tuple[str, str], ...]) -> str:
    seen = ""
    for question, answer in answers:
        start = len(seen)
        while question not in seen[start:]:
            more = _read(terminal)
            assert more, seen
            seen += more
        os.write(terminal, f"{answer}\n".encode())
    while more := _read(terminal):
        seen += more
    return seen


def _read(terminal: int) -> str:
    """What came; nothing once the program is over."""
    ready, _, _ = select.select([terminal], [], [], PATIENCE_SECONDS)
    if not ready:
        return ""
    try:
        return os.read(terminal, 65536).decode(errors="replace")
    except OSError:
        return ""


def test_a_mailbox_is_there_after_three_answers(tmp_path: Path, box: Box) -> None:
    """Wrong ones are told, and asked for once more; the password is never shown."""
    data = tmp_path / "data"
    code, seen = typed(
        data,
        ("IMAP server", f"127.0.0.1:{box.port}"),
        ("User", box.user),
        ("Password", "wrong"),
        ("That did not work: 127.0.0.1 refused user", ""),
        ("User", ""),
        ("Password", PASSWORD),
    )
    assert 0 == code, seen
    assert "3 mails, the newest:" in seen
    assert "you@example.org  Grüße 3\n" in seen
    assert PASSWORD not in seen
    assert (0, "") == typed(data)


def test_nothing_is_asked_where_nobody_is(tmp_path: Path) -> None:
    """As in a unit, or in a pipe."""
    done = subprocess.run(
        [*COMMAND, "--data-dir", str(tmp_path / "data")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=ROOT,
        check=True,
    )
    assert (b"", b"") == (done.stdout, done.stderr)
    assert not (tmp_path / "data").exists()
