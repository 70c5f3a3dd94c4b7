"""A terminal in front of a command, and somebody who answers what it asks."""

from __future__ import annotations

import os
import pty
import select
import subprocess
from collections.abc import Callable, Sequence

from tests.process.running import PATIENCE_SECONDS, ROOT

#: How a question ends. Its space comes when a password may be typed: getpass throws away what was
#: typed before it switched the echo off, and click shows the question before that.
ASKED = ": "

#: What is said, and what is typed at the next question: a text, or what is made of all that was
#: seen.
Answer = tuple[str, str | Callable[[str], str]]


def typed(command: Sequence[str], *answers: Answer) -> tuple[int, str]:
    """Run a command on a terminal; answer what it asks, which has to come in this order.

    A question that comes again is another one.

    Gives its exit code, and what was seen.
    """
    terminal, theirs = pty.openpty()
    with subprocess.Popen(
        command,
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


def _talk(terminal: int, answers: tuple[Answer, ...]) -> str:
    seen = ""
    for said, answer in answers:
        start = len(seen)
        while said not in seen[start:] or not seen.endswith(ASKED):
            more = _read(terminal)
            assert more, seen
            seen += more
        told = answer if isinstance(answer, str) else answer(seen)
        os.write(terminal, f"{told}\n".encode())
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
