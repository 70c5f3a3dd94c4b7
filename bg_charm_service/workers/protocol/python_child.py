"""How this service starts a Python process of its own: the zygote, a scan, the check of a file.

One way for all: a new interpreter, isolated from the folder and the environment it is started in,
gets the service's own import path (in another folder it would not find a checkout), and calls the
`main` of one of our modules. What of the environment it gets to see is one of the two rules here.
Called by those who start one; each reads its output and ends it in its own way.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Final, TypedDict

from bg_charm_service.workers.protocol.processes import SIGNALS_FOR_MAIN

#: All that a process gets to see that runs code of others, or has no use for more.
_PASSED_VARIABLES: Final = (
    "PATH",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)

#: What is the service's alone: keys and credentials, and the service manager's channels.
_WITHHELD_VARIABLES: Final = frozenset(
    {
        "OPERATOR_PASS",
        "IDENTITY",
        "CREDENTIALS_DIRECTORY",
        "DATABASE_URL",
        "HEARTBEAT_URL",
        "NOTIFY_SOCKET",
        "NOTIFY_URLS",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
        "LISTEN_FDS",
        "LISTEN_FDNAMES",
        "LISTEN_PID",
        "JOURNAL_STREAM",
        # What the client of PostgreSQL signs in with.
        "PGPASSFILE",
        "PGPASSWORD",
        "PGSERVICEFILE",
        "PGSSLKEY",
        "OTEL_EXPORTER_OTLP_HEADERS",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    }
)


class ChildOptions(TypedDict):
    """What every child is started with, as keyword arguments of subprocess and asyncio."""

    stdin: int
    cwd: str
    start_new_session: bool
    env: dict[str, str]


def python_command(module: str, *arguments: str | int, is_unbuffered: bool = False) -> list[str]:
    """Give the command that calls `main(*arguments)` of a module of ours in a new interpreter.

    Unbuffered, each line that it prints can be read at once. Signals that are sent to the whole
    service it ignores from its first line on. While it loads, nothing is looked for among what it
    made: all of it stays.
    """
    ignored = [int(number) for number in SIGNALS_FOR_MAIN]
    boot = (
        "import _signal, gc, json, sys; gc.disable(); "
        f"[_signal.signal(number, _signal.SIG_IGN) for number in {ignored}]; "
        "sys.path[:] = json.loads(sys.argv[1]); "
        f"from {module} import main; gc.enable(); main(*json.loads(sys.argv[2]))"
    )
    import_path = [os.path.abspath(entry) for entry in sys.path if entry]
    flags = ["-I", "-u"] if is_unbuffered else ["-I"]
    return [sys.executable, *flags, "-c", boot, json.dumps(import_path), json.dumps(arguments)]


def child_options(environment: dict[str, str]) -> ChildOptions:
    """Give what keeps a child apart from this process: its folder, its group, its variables."""
    return ChildOptions(stdin=subprocess.DEVNULL, cwd="/", start_new_session=True, env=environment)


def scrubbed_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Give what charms, and whoever needs no variable, get to see: nothing of the operator's."""
    return {name: environ[name] for name in _PASSED_VARIABLES if name in environ}


def operator_environment(environ: Mapping[str, str], *also_withheld: str) -> dict[str, str]:
    """Give what the operator's own code gets to see: all but what is the service's alone.

    An integration or a hook finds its credentials, proxies and paths in the environment.
    """
    withheld = _WITHHELD_VARIABLES.union(also_withheld)
    return {name: text for name, text in environ.items() if name not in withheld}
