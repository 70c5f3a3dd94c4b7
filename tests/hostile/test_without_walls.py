"""Without walls the same deeds succeed: it is the walls that hold them, and not luck.

These are some that hurt nobody; `pytest tests/hostile --sandbox=off` does them all, and whatever
only the walls hold fails there.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.hostile.deeds import Deed, deeds_of
from tests.hostile.rig import Rig
from tests.process.running import Runner

DEEDS = {
    "reading": (
        *("passphrase_of_the_service", "data_directory", "database", "key_in_the_home"),
        *("secret_in_the_data_directory", "by_a_symbolic_link", "by_the_working_directory"),
    ),
    "writing": ("create_in_tmp", "make_a_directory", "change_times"),
    "processes": ("fork", "raw_clone3", "posix_spawn", "run_a_program", "run_a_shell"),
    "tracing": ("probe_for_processes", "hold_a_process", "limits_of_the_zygote"),
    "listening": ("on_any_port", "the_call_itself"),
    "sockets": ("unix", "udp"),
    "reaching": ("another_port", "socket_without_a_file"),
}


@pytest.fixture(scope="module")
def open_yard() -> Iterator[Rig]:
    """A rig without walls."""
    with Rig(Runner(), "off") as opened:
        yield opened


def _chosen() -> list[Deed]:
    return [deed for file, names in DEEDS.items() for deed in deeds_of(file) if deed.name in names]


@pytest.mark.parametrize("deed", _chosen(), ids=str)
def test_deed_succeeds_without_walls(open_yard: Rig, deed: Deed) -> None:
    """What ends in a failure behind walls has its way without them."""
    run = open_yard.cycle(deed)
    assert ("success", "") == (run["status"], run["error"])


def test_secrets_are_taken_without_walls(open_yard: Rig) -> None:
    """The passphrase, a key and a file of the service come into the charm's hands."""
    for deed in deeds_of("reading"):
        if deed.name in DEEDS["reading"]:
            open_yard.cycle(deed)
    taken = str(open_yard.hostile("reading").get("loot"))
    for name in ("pass", "file", "key"):
        assert open_yard.secrets[name] in taken
