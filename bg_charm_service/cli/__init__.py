"""The command line: reads arguments, asks the service, prints answers. No rule lives here.

Every command is a client of the HTTP API, over the service's socket or in-process. Exit codes:
0 done, 1 failed, 2 usage; what went wrong is one line that begins with `Error:`.
"""

from __future__ import annotations

from typing import NoReturn


def main() -> NoReturn:
    """Run the command line with the arguments of this process, and end it."""
    import io
    import sys

    from bg_charm_service.cli.root import root

    for stream in (sys.stdout, sys.stderr):
        # A name in a script that the terminal cannot show must not stop a command.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    root.main(prog_name="bg-charm-service")
