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

    import click

    from bg_charm_service.cli.root import root
    from bg_charm_service.daemon.systemd import is_journal, priority

    for stream in (sys.stdout, sys.stderr):
        # A name in a script that the terminal cannot show must not stop a command.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if not is_journal(sys.stderr):
        root.main(prog_name="bg-charm-service")
    try:
        code = root.main(prog_name="bg-charm-service", standalone_mode=False)
    except click.ClickException as error:
        # One entry of the journal, that its readers find by its priority.
        click.echo(f"{priority(40)}Error: {error.format_message()}", err=True)
        code = error.exit_code
    sys.exit(code)
