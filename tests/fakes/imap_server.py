"""An IMAP server on loopback that answers by a script: what a real one does only at times.

    with FakeImap({"EXAMINE": ["* 3 EXISTS", "* OK [UIDVALIDITY 7] valid"]}) as server:

A command that the script names is answered with its lines, and OK; one without a script with OK
alone. A line that begins with NO or BAD takes the place of OK; None closes the connection.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType

Lines = Sequence[str | None]

#: The same for each command of a name, or by what is said.
Script = Lines | Callable[[str], Lines]


class FakeImap:
    """One server; `said` are the commands that came, without their tags."""

    def __init__(self, script: Mapping[str, Script], capabilities: str = "") -> None:
        self.script: dict[str, Script] = dict(script)
        self.capabilities = f"IMAP4rev1 AUTH=PLAIN {capabilities}".strip()
        self.said: list[str] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]

    def __enter__(self) -> FakeImap:
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Closing alone would leave a thread in accept.
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection, connection.makefile("rwb") as wire:
            wire.write(b"* OK ready\r\n")
            wire.flush()
            for line in wire:
                tag, _, command = line.decode("utf-8", "replace").strip().partition(" ")
                self.said.append(command)
                for answer in self._answer(tag, command, wire):
                    if answer is None:
                        return
                    wire.write(answer.encode() + b"\r\n")
                wire.flush()

    def _answer(self, tag: str, command: str, wire: object) -> list[str | None]:
        name = command.upper().removeprefix("UID ").split(" ")[0]
        script = self.script.get(name, ())
        lines = list(script(command) if callable(script) else script)
        if name == "CAPABILITY":
            lines.insert(0, f"* CAPABILITY {self.capabilities}")
        if name == "AUTHENTICATE" and not lines:
            wire.write(b"+ \r\n")  # type: ignore[attr-defined]
            wire.flush()  # type: ignore[attr-defined]
            wire.readline()  # type: ignore[attr-defined]
        if lines and (lines[-1] is None or lines[-1].startswith(("NO", "BAD"))):
            last = lines.pop()
            return [*lines, None if last is None else f"{tag} {last}"]
        return [*lines, f"{tag} OK done"]
