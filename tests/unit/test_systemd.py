"""Promises of the systemd unit, checked by systemd's own tools."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bg_charm_service.daemon.operator_identity import CREDENTIAL, INSTALLED_KEY
from bg_charm_service.daemon.settings import Settings
from bg_charm_service.workers.pool.contract import PoolLimits

#: How many threads one charm may have started when it is ended for it: seen were 80,000 a second,
#: and it may take a twentieth of one until somebody looks.
THREADS_UNTIL_ENDED = 5000

#: The service, its zygote, its scans and its hooks, and all threads that they may have.
THREADS_OF_OURS = 500

UNIT = Path(__file__).parents[2] / "bin" / "bg-charm-service.service"

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="systemd-analyze is not installed (Debian: apt-get install systemd); .ci/run insists",
)


def systemd_analyze(*arguments: str) -> str:
    """Return all that the tool prints, errors included."""
    finished = subprocess.run(
        ["systemd-analyze", *arguments],
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return finished.stdout


def test_verify_has_nothing_to_say() -> None:
    """`systemd-analyze verify` accepts the unit without a word."""
    assert "" == systemd_analyze("verify", str(UNIT))


def test_exposure_is_two_or_better() -> None:
    """The unit is hardened: an overall exposure of 2.0 or less, of 10."""
    report = systemd_analyze("security", "--offline=true", "--no-pager", str(UNIT))
    overall = re.search(r"Overall exposure level for \S+: (\d+\.\d+)", report)

    assert overall is not None, report
    assert float(overall[1]) <= 2.0, report


def test_threads_of_all_charms_fit() -> None:
    """Not even when each charm at work takes as many at once as it can before it is ended."""
    (most,) = re.findall(r"^TasksMax=(\d+)$", UNIT.read_text(), re.MULTILINE)
    settings = Settings()
    pool = PoolLimits(max_concurrent=settings.max_concurrent)
    allowed = pool.workers * settings.threads

    assert allowed + pool.workers * THREADS_UNTIL_ENDED + THREADS_OF_OURS < int(most)
    # Up to where docs/operating.md says that it does for more: each with a worker in reserve.
    assert 2 * 200 * settings.threads < int(most)


def call_groups() -> dict[str, set[str]]:
    """Give systemd's groups of system calls, each with the calls and groups in it."""
    groups: dict[str, set[str]] = {}
    members: set[str] = set()
    for line in systemd_analyze("syscall-filter", "--no-pager").splitlines():
        if line.startswith("@"):
            members = groups.setdefault(line.strip(), set())
        elif line.startswith("    ") and not line.strip().startswith("#"):
            members.add(line.strip())
    return groups


def calls_of(name: str, groups: dict[str, set[str]]) -> set[str]:
    """Give the calls that a name of a filter stands for."""
    if not name.startswith("@"):
        return {name}
    return set().union(*(calls_of(member, groups) for member in groups[name]))


def allowed_calls() -> set[str]:
    """Give the calls that the unit allows, by reading its filters in order."""
    groups, allowed = call_groups(), set[str]()
    for line in re.findall(r"^SystemCallFilter=(.*)$", UNIT.read_text(), re.MULTILINE):
        named = set().union(*(calls_of(name, groups) for name in line.removeprefix("~").split()))
        allowed = allowed - named if line.startswith("~") else allowed | named
    return allowed


def test_workers_may_build_their_walls() -> None:
    """The calls by which a worker goes behind its walls are allowed."""
    landlock = {"landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"}
    walls = {*landlock, "prctl", "seccomp", "capset", "prlimit64"}

    assert set() == walls - allowed_calls()


def test_the_kernel_may_be_asked_whose_a_connection_is() -> None:
    """The families of sockets that the service itself opens are allowed, and no others."""
    (allowed,) = re.findall(r"^RestrictAddressFamilies=(.*)$", UNIT.read_text(), re.MULTILINE)

    assert {"AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK"} == set(allowed.split())


def test_the_unit_allows_less_than_root_may() -> None:
    """What no part of the service needs is refused to all of it."""
    assert not allowed_calls() & {"mount", "chroot", "bpf", "ptrace", "reboot", "init_module"}


@pytest.mark.parametrize(
    "line",
    [
        "OOMPolicy=continue",
        "StartLimitIntervalSec=0",
        "RestartPreventExitStatus=2",
        "LoadCredential=operator.pem:bg-charm-service.pem",
    ],
)
def test_what_operators_rely_on_is_in_the_unit(line: str) -> None:
    """What tests/systemd sees at work, held where no systemd can be booted."""
    assert line in UNIT.read_text().splitlines()


def test_code_may_be_compiled_at_run_time() -> None:
    """Libraries that do so are not refused memory for it, which docs/security.md explains."""
    assert "MemoryDenyWriteExecute=yes" not in UNIT.read_text()


def test_the_key_is_where_the_unit_and_commands_look_for_it() -> None:
    """The unit's name of the credential, and the file that root's commands read, are one."""
    (loaded,) = re.findall(r"^LoadCredential=(.*)$", UNIT.read_text(), re.MULTILINE)
    name, _, source = loaded.partition(":")
    assert (CREDENTIAL, INSTALLED_KEY) == (name, Path("/etc/credstore") / source)
