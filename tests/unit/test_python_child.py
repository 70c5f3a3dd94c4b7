"""How a Python process of the service's own is started: what it is given, and what is withheld."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bg_charm_service.workers.protocol.python_child import (
    child_options,
    operator_environment,
    python_command,
    scrubbed_environment,
)

ENVIRON = {
    "PATH": "/bin",
    "TZ": "UTC",
    "HTTPS_PROXY": "http://proxy",
    "GMAIL_TOKEN": "theirs",
    "OPERATOR_PASS": "ours",
    "IDENTITY": "key.pem",
    "NOTIFY_SOCKET": "/run/notify",
    "DATABASE_URL": "postgresql://me:ours@host/charms",
    "PGPASSWORD": "ours",
    "BG_CHARM_TOKEN": "token",
    "PYTHONPATH": "/elsewhere",
}

MODULE = """
import json, os, sys

def main(*arguments):
    told = {
        "arguments": arguments,
        "path": sys.path,
        "folder": os.getcwd(),
        "leads a group": os.getpgid(0) == os.getpid(),
        "variables": sorted(os.environ),
        "isolated": sys.flags.isolated,
    }
    json.dump(told, sys.stdout)
"""


def test_a_child_gets_path_and_arguments_and_stands_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It imports what this process can, sees its arguments as they are, and nothing else."""
    (tmp_path / "told_by_child.py").write_text(MODULE)
    monkeypatch.setattr(sys, "path", [*filter(None, sys.path), "", str(tmp_path)])
    odd = os.fsdecode(b"/tmp/\xff")

    done = subprocess.run(
        python_command("told_by_child", 7, odd),
        stdout=subprocess.PIPE,
        check=True,
        **child_options(scrubbed_environment(ENVIRON)),
    )

    told = json.loads(done.stdout)
    assert [7, odd] == told["arguments"]
    assert [entry for entry in sys.path if entry] == told["path"]
    assert ("/", True, 1) == (told["folder"], told["leads a group"], told["isolated"])
    assert {"PATH", "TZ"} == set(told["variables"]) - {"LC_CTYPE"}


def test_charms_see_nothing_of_the_operator() -> None:
    """A scrubbed environment is a list of what is passed, not of what is withheld."""
    assert {"PATH": "/bin", "TZ": "UTC"} == scrubbed_environment(ENVIRON)


def test_the_operators_own_code_sees_all_but_what_is_the_services() -> None:
    """Integrations and hooks find their credentials; a caller may withhold more."""
    own = {"OPERATOR_PASS", "IDENTITY", "NOTIFY_SOCKET", "DATABASE_URL", "PGPASSWORD"}
    assert ENVIRON.keys() - own == operator_environment(ENVIRON).keys()
    less = operator_environment(ENVIRON, "BG_CHARM_TOKEN")
    assert ENVIRON.keys() - own - {"BG_CHARM_TOKEN"} == less.keys()
