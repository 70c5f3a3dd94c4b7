"""The promises of the sandbox's mode: what is required, what is made do with, what is said."""

from __future__ import annotations

import socket

import pytest

from bg_charm_service.daemon.ports import own_ports
from bg_charm_service.daemon.settings import Settings
from bg_charm_service.daemon.status_log import walls_text
from bg_charm_service.domain.errors import ServiceError
from bg_charm_service.domain.sandbox_mode import Isolation, Sandboxing, SandboxMode, choose_walls

NAMES = ("files", "calls")


def choose(mode: SandboxMode, **missing: str) -> Sandboxing:
    """Choose on a machine that lacks some of two walls."""
    return choose_walls(mode, Isolation.SPACE, NAMES, missing)


@pytest.mark.parametrize("mode", [SandboxMode.REQUIRE, SandboxMode.AUTO])
def test_all_walls_stand_where_none_is_missing(mode: SandboxMode) -> None:
    """On a machine that has them all, require and auto are the same."""
    chosen = choose(mode)

    assert (True, ()) == (chosen.has_walls, chosen.missing)
    assert "files, calls; isolation: space" == walls_text(chosen)


def test_require_names_every_missing_wall() -> None:
    """The refusal is one line with each wall, its reason, and what to do."""
    with pytest.raises(ServiceError) as caught:
        choose(SandboxMode.REQUIRE, files="too old", calls="not allowed")

    assert "files (too old); calls (not allowed)" in str(caught.value)
    assert "--sandbox=auto" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_auto_makes_do_with_what_there_is() -> None:
    """What is missing is told, what is there stands."""
    chosen = choose(SandboxMode.AUTO, files="too old")

    assert chosen.has_walls
    assert ["files"] == [wall.name for wall in chosen.missing]
    assert "calls; missing: files (too old); isolation: space" == walls_text(chosen)


def test_auto_without_any_wall_has_none() -> None:
    """A machine with no wall at all is not taken for one with walls."""
    chosen = choose(SandboxMode.AUTO, files="only Linux has it", calls="only Linux has it")

    assert not chosen.has_walls
    assert walls_text(chosen).startswith("none; missing: files (only Linux has it)")


def test_off_takes_every_wall_down() -> None:
    """Switched off, no wall stands, whatever the machine has."""
    chosen = choose(SandboxMode.OFF)

    assert not chosen.has_walls
    assert list(NAMES) == [wall.name for wall in chosen.missing]
    assert "off; isolation: space" == walls_text(chosen)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (Settings(), {8000}),
        (Settings(listen="127.0.0.1:81"), {81, 8000}),
        (Settings(listen="127.0.0.1:0", api_url="https://charms.example.org"), set()),
        (Settings(listen="127.0.0.1:81", api_url="https://charms.example.org"), {81}),
        (Settings(listen="127.0.0.1:81", api_url="https://localhost"), {81, 443}),
        (Settings(listen="127.0.0.1:81", api_url="http://127.0.0.5"), {81, 80}),
        (Settings(listen="127.0.0.1:81", api_url=f"http://{socket.gethostname()}:82"), {81, 82}),
        (Settings(no_api=True, api_url="https://charms.example.org"), set()),
    ],
)
def test_own_ports_are_those_that_lead_here(settings: Settings, expected: set[int]) -> None:
    """Where it listens, and where a proxy on this machine does; never a port of somebody else."""
    assert expected == own_ports(settings)
