"""Promises of the Makefile: its tasks are listed, and say what the service is asked to do."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Every documented task, and the command line that it ends in, where it runs the service.
COMMANDS = {
    "run": "--demo",
    "start": "",
    "gmail": "--integration=gmail",
    "gcal": "--integration=gcal",
    "mail": "--integration=mail",
    "calendar": "--integration=calendar",
    "rss": "--integration=rss",
    "discord": "--integration=discord",
    "run-notion": "--integration=notion",
    "initialize": "--initialize",
    "initialize-gmail": "--initialize --integration=gmail",
    "initialize-gcal": "--initialize --integration=gcal",
    "add-admin-charm": "add-admin-charm",
}
OTHERS = {
    *(
        "test",
        "test-lowest",
        "test-systemd",
        "test-pythons",
        "simulate",
        "soak",
        "audit",
        "release-check",
        "reliability-report",
        "check",
        "fmt",
        "lint",
    ),
    *(
        "bench",
        "demo-outage",
        "screenshots",
        "profile",
        "reference",
        "build-binaries",
        "clean",
        "help",
    ),
    *("install-systemd", "uninstall-systemd"),
}


def make(*arguments: str) -> str:
    """Return what make prints, free of what a surrounding `make test` hands down."""
    handed_down = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "ARGS"}
    finished = subprocess.run(
        ["make", "--no-print-directory", "-C", str(ROOT), *arguments],
        check=True,
        capture_output=True,
        text=True,
        env={name: value for name, value in os.environ.items() if name not in handed_down},
    )
    return finished.stdout


def service_line(printed: str) -> str:
    """Return the arguments that the launcher is started with."""
    (line,) = re.findall(r"^exec bin/bg-charm-service(.*)$", printed, re.MULTILINE)
    return " ".join(str(line).split())


@pytest.mark.parametrize("arguments", [(), ("help",)])
def test_help_lists_every_task(arguments: tuple[str, ...]) -> None:
    """`make` and `make help` list every documented task with a text."""
    listed = dict(re.findall(r"^  (\S+) +(\S.*)$", make(*arguments), re.MULTILINE))

    documented = {name for name in COMMANDS if name != "run-notion"} | OTHERS | {"run-NAME"}
    assert set() == documented - listed.keys()


def test_every_task_is_listed() -> None:
    """A target without a text would be a secret: there is none."""
    text = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][\w-]*|run-%):", text, re.MULTILINE))
    described = set(re.findall(r"^([a-z][\w-]*|run-%):.*## \S", text, re.MULTILINE))

    assert set() == targets - described


@pytest.mark.parametrize(("target", "expected"), COMMANDS.items())
def test_task_starts_the_service_with(target: str, expected: str) -> None:
    """Each task replaces its shell by the launcher, with the flags of the old task."""
    assert expected == service_line(make("-n", target))


@pytest.mark.parametrize("target", COMMANDS)
def test_flags_are_passed_on(target: str) -> None:
    """ARGS reaches the service behind the task's own flags."""
    printed = make("-n", target, "ARGS=--interval=5 --failures=2")

    assert f"{COMMANDS[target]} --interval=5 --failures=2".strip() == service_line(printed)


def test_tests_can_be_chosen() -> None:
    """`make test ARGS=path` runs that path only, in one process; without it all have a share."""
    assert ".venv/bin/pytest tests/unit\n" in make("-n", "test", "ARGS=tests/unit")
    for target, venv in (("test", ".venv"), ("test-lowest", ".venv-lowest")):
        assert f"{venv}/bin/pytest --numprocesses=logical --maxprocesses=4\n" in make("-n", target)


def test_lowest_versions_have_a_venv_of_their_own() -> None:
    """`make test-lowest ARGS=path` runs that path in .venv-lowest, and leaves .venv alone."""
    printed = make("-n", "test-lowest", "ARGS=tests/unit")

    assert ".venv-lowest/bin/pytest tests/unit" in printed
    assert ".venv/" not in printed


def test_each_python_is_given_the_tests() -> None:
    """`make test-pythons` runs all tests or those of ARGS; only a release needs every Python."""
    assert ".ci/pythons  -- tests/unit\n" in make("-n", "test-pythons", "ARGS=tests/unit")
    assert ".ci/pythons  -- --numprocesses=logical" in make("-n", "test-pythons")


def test_check_is_every_gate() -> None:
    """`make check` holds format, lint, types and layers."""
    printed = make("-n", "check")

    for gate in ("ruff format --check", "ruff check", "mypy", "test_architecture.py"):
        assert gate in printed


def test_a_release_needs_every_gate() -> None:
    """`make release-check` tests on every Python, with the oldest too, and looks up known holes."""
    printed = make("-n", "release-check")

    for gate in ("mypy", ".ci/pythons --every -- -", ".venv-lowest/bin/pytest", "tests.simulation"):
        assert gate in printed
    assert ".ci/audit  constraints.txt .venv/lowest.txt\n" in printed


def test_known_holes_are_no_gate_of_a_change() -> None:
    """`make check` needs no network: what somebody publishes elsewhere fails no change."""
    assert "audit" not in make("-n", "check")


def test_another_server_can_be_asked_about_holes() -> None:
    """`make audit ARGS=--osv-url=URL` passes it on."""
    assert ".ci/audit --osv-url=http://mirror/v1/query " in make(
        "-n", "audit", "ARGS=--osv-url=http://mirror/v1/query"
    )


def test_unit_is_installed_with_its_full_path() -> None:
    """`make install-systemd` honours DESTDIR and PREFIX, and names the program where it will be."""
    printed = make("-n", "install-systemd", "DESTDIR=/stage", "PREFIX=/srv/charms")

    assert "ExecStart=/srv/charms/bin/bg-charm-service" in printed
    assert "> /stage/etc/systemd/system/bg-charm-service.service" in printed
    assert "-m venv /stage/srv/charms" in printed


def test_an_operators_configuration_is_kept(tmp_path: Path) -> None:
    """The first installation writes a configuration with the data directory; no other does."""
    line = next(
        line
        for line in make("-n", "install-systemd", f"DESTDIR={tmp_path}").splitlines()
        if "config.toml" in line and "sed" in line
    )
    file = tmp_path / "etc" / "bg-charm-service" / "config.toml"
    file.parent.mkdir(parents=True)
    subprocess.run(["sh", "-ec", line], check=True, cwd=ROOT)

    assert {"data_dir": "/var/lib/bg-charm-service"} == tomllib.loads(file.read_text())
    assert 0o644 == file.stat().st_mode & 0o777
    file.write_text("failures = 2\n")
    subprocess.run(["sh", "-ec", line], check=True, cwd=ROOT)
    assert "failures = 2\n" == file.read_text()


def test_what_is_installed_for_elsewhere_starts_nothing_here() -> None:
    """Under DESTDIR no command goes to this machine's systemd, neither to start nor to stop."""
    for task in ("install-systemd", "uninstall-systemd"):
        assert "systemctl daemon-reload &&" not in make("-n", task, "DESTDIR=/stage")
        assert "disable --now" not in make("-n", task, "DESTDIR=/stage")


def test_a_prefix_is_removed_only_as_a_whole(tmp_path: Path) -> None:
    """`make uninstall-systemd` takes its own files, and no folder that holds something else."""
    kept = tmp_path / "usr" / "local" / "kept"
    unit = tmp_path / "etc" / "systemd" / "system" / "bg-charm-service.service"
    link = tmp_path / "usr" / "local" / "bin" / "bg-charm-service"
    for file in (kept, unit):
        file.parent.mkdir(parents=True)
        file.write_text("")
    link.parent.mkdir()
    link.symlink_to("/usr/local/bin/elsewhere")
    make("uninstall-systemd", f"DESTDIR={tmp_path}", "PREFIX=/usr/local")
    assert (True, True, False) == (kept.exists(), link.is_symlink(), unit.exists())
    (tmp_path / "opt").mkdir()
    (tmp_path / "opt" / "pyvenv.cfg").write_text("")
    link.unlink()
    link.symlink_to("/opt/bin/bg-charm-service")
    make("uninstall-systemd", f"DESTDIR={tmp_path}", "PREFIX=/opt")
    assert (False, False) == ((tmp_path / "opt").exists(), link.is_symlink())


def test_kill_loop_has_a_length_and_a_seed() -> None:
    """`make soak MINUTES=N SEED=S` passes both on; without a seed one is drawn."""
    assert "--minutes 3 --seed 7" in make("-n", "soak", "MINUTES=3", "SEED=7")
    assert "--seed" not in make("-n", "soak")


def test_a_part_of_the_benchmarks_can_be_chosen() -> None:
    """`make bench ONLY=NAME ARGS=FLAGS` passes both on; without a name all are run."""
    assert "-m benchmarks scale --quick" in make("-n", "bench", "ONLY=scale", "ARGS=--quick")
    assert re.search(r"-m benchmarks *$", make("-n", "bench"), re.MULTILINE)


def test_benchmarks_compare_with_a_build() -> None:
    """`make bench BEFORE=COMMIT ROUNDS=N` passes both on, and neither when they are not given."""
    printed = make("-n", "bench", "ONLY=cost", "BEFORE=HEAD~3", "ROUNDS=10", "ARGS=--charms=50")

    assert "-m benchmarks cost --charms=50 --before=HEAD~3 --rounds=10\n" in printed
    assert "BEFORE=COMMIT" in make("help")


def test_a_profile_is_that_of_throughput_unless_told() -> None:
    """`make profile` profiles the scenario of throughput, `ONLY=NAME` another."""
    assert "-m benchmarks throughput --profile" in make("-n", "profile")
    assert "-m benchmarks growth --profile" in make("-n", "profile", "ONLY=growth")


def test_what_benchmarks_compare_with_is_installed_by_itself() -> None:
    """`make bench` installs the extra in .venv before it runs, when it is not there."""
    assert "'.[dev,bench]'" in make("-n", "-W", "setup.cfg", "bench")
