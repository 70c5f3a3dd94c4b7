"""The unit under a real systemd, deployed as docs/deploy.md says and worked as an operator does.

The tests share one machine, and go on from what those before them did.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator

import pytest

from tests.process.running import ROOT
from tests.systemd.guide import Guide, publish
from tests.systemd.machine import (
    CONFIG,
    DATA,
    DROP_INS,
    UNIT,
    VARIABLES,
    CannotBoot,
    Machine,
    Unit,
    booted,
    wait_until,
)

KEY = "/etc/credstore/bg-charm-service.pem"

OPERATING = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")

#: As long as the server has this file, events of the stream `slow` do not end.
HOLD = "/srv/hold"

#: A charm that works until it is let go, takes all memory, or pries into what is not its own.
PROBE = """\
import contextlib, socket, time, urllib.error, urllib.request
from bg_charm_service import Charm

class Probe(Charm):
    done: int = 0
    reached: str = ""
    def slow(self, event: dict) -> None:
        with contextlib.suppress(urllib.error.HTTPError):
            while urllib.request.urlopen("http://localhost/hold"):
                time.sleep(0.2)
        self.done += 1
    def greedy(self, event: dict) -> None:
        b"x" * 450_000_000
    def bg_updater(self, event: dict) -> None:
        self.reached = ""
        data = "/var/lib/bg-charm-service/bg-charm-service.db"
        for path in "/usr/lib/os-release", "/etc/passwd", "/proc/1/environ", data:
            with contextlib.suppress(OSError):
                open(path).close()
                self.reached += path
        for port in 8000, 81:
            with contextlib.suppress(PermissionError):
                socket.create_connection(("127.0.0.1", port))
                self.reached += str(port)
"""

FEED = (
    '<rss version="2.0"><channel><title>Good news</title>'
    "<item><title>One</title></item></channel></rss>"
)


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A machine with the checkout in it, and a server of feeds."""
    try:
        with booted() as found:
            found.put("/srv/feed.xml", FEED)
            web = "ExecStart=python3 -m http.server 80 --bind 127.0.0.1 --directory /srv"
            found.put("/run/systemd/system/web.service", "[Service]", web)
            found.put("/root/probe.py", PROBE)
            yield found
    except CannotBoot as reason:
        pytest.skip(f"no real systemd: {reason}")


@pytest.fixture(scope="module")
def guide(machine: Machine) -> Guide:
    """The guide for a bare machine, of which nothing is done yet."""
    return Guide(machine)


@pytest.fixture(scope="module")
def installed(guide: Guide) -> Machine:
    """The machine with the service installed."""
    guide.follow("Packages")
    publish(guide.machine)
    guide.follow("The program")
    return guide.machine


@pytest.fixture(scope="module")
def unit(installed: Machine, guide: Guide) -> Unit:
    """The unit, started by the commands of the guide, then with what the tests need."""
    for section in ("The key", "Settings", "The start"):
        # With Type=notify it works when the start returns.
        guide.follow(section)
    found = Unit(installed)
    found.set()
    log = f"ExecStart=/opt/{UNIT}/bin/{UNIT} --sandbox=require --log-file={DATA}/service.log"
    installed.put(f"{DROP_INS}/usual.conf", "[Service]", "RestartSec=100ms", "ExecStart=", log)
    installed.output("systemctl", "daemon-reload")
    found.systemctl("restart")
    installed.output("systemctl", "start", "web")
    found.program("charm", "add", "/root/probe.py", "--space", "demo", "--cause", "probe")
    return found


def counter(unit: Unit) -> int:
    """How often the counter was polled."""
    return int(unit.program("charm", "get", "demo/counter", "counter"))


def begin_three(unit: Unit) -> int:
    """Send three events that do not end until they are let go; gives how many there were before.

    When this returns, one of them runs.
    """
    unit.machine.put(HOLD)
    before = int(unit.program("charm", "get", "demo/probe", "done"))
    for _ in range(3):
        unit.program("charm", "send", "demo/probe", "--stream", "slow")
    wait_until(lambda: unit.status("jobs_processing") > 0)
    return before


def let_go_and_check(unit: Unit, before: int) -> None:
    """Let the three end: each is counted once, and no charm is blamed."""
    unit.machine.run("rm", "-f", HOLD)
    wait_until(lambda: unit.value("charm", "show", "demo/probe")["waiting_jobs"] == 0)
    wait_until(lambda: unit.status("jobs_processing") == 0)
    assert before + 3 == int(unit.program("charm", "get", "demo/probe", "done"))
    assert 0 == unit.status("failures")


def test_it_is_installed_and_not_started(installed: Machine) -> None:
    """The program is found by its name; the folder of keys is root's alone; nothing runs yet."""
    assert "Usage: " in installed.output(UNIT, "--help")
    assert "root:root 700" == installed.output("stat", "-c", "%U:%G %a", "/etc/credstore")
    assert "root:root 644" == installed.output("stat", "-c", "%U:%G %a", CONFIG)
    assert "inactive" == installed.run("systemctl", "is-active", UNIT).stdout.strip()


def test_it_is_of_the_right_type_and_says_what_it_does(unit: Unit) -> None:
    """`systemctl status` has a line of what it is doing."""
    assert "notify" == unit.show("Type")
    wait_until(lambda: unit.show("StatusText"))


def test_it_has_a_user_of_its_own(unit: Unit) -> None:
    """One of systemd's dynamic users; its data is closed to others."""
    uid = int(unit.machine.output("stat", "-c", "%u", f"/proc/{unit.show('MainPID')}"))
    assert 61184 <= uid <= 65519
    assert f"private/{UNIT}" == unit.machine.output("readlink", DATA)
    assert f"{uid}:700" == unit.machine.output("stat", "-c", "%u:%a", f"{DATA}/.")


def test_it_is_hardened(unit: Unit) -> None:
    """No capability, no new privileges, a filter of calls, a read-only system."""
    proc = f"/proc/{unit.show('MainPID')}"
    found = unit.machine.output("grep", "-E", "^(CapBnd|NoNewPrivs|Seccomp):", f"{proc}/status")
    assert ["0000000000000000", "1", "2"] == re.findall(r"\t(\w+)", found)
    unit.machine.output("grep", " / / ro[, ]", f"{proc}/mountinfo")


def test_all_walls_stand(unit: Unit) -> None:
    """With --sandbox=require it starts, and lacks none."""
    sandbox = unit.status("sandbox")
    assert ("require", []) == (sandbox["mode"], [w for w in sandbox["walls"] if w["missing"]])


def test_its_settings_count(unit: Unit) -> None:
    """Those in the file of settings, which the unit and root read, and its variables above them."""
    assert 1.0 == unit.status("interval_seconds")
    assert unit.status("backup")["last"]["path"].startswith(f"{DATA}/backups/")
    shown = {each["name"]: each for each in unit.value("config", "show")["settings"]}
    keep = shown["backup_keep"]
    assert (48, f"{CONFIG}: backup_keep") == (keep["value"], keep["from"])


def test_a_first_charm_is_added(unit: Unit, guide: Guide) -> None:
    """The command reads the file as root, and the service runs it, and polls it."""
    guide.follow("The first charm")
    wait_until(lambda: counter(unit) >= 2)


def test_the_page_is_reached(unit: Unit, guide: Guide) -> None:
    """By the link that the guide has root make; it signs in."""
    guide.follow("The page")
    link = unit.program("open").split()[0]
    ask = "curl --silent --show-error --fail --location --cookie-jar /root/jar --output /dev/null"
    unit.machine.output(*ask.split(), link)
    page = "http://localhost:8000/api/tokens"
    unit.machine.output(*ask.split(), "--cookie", "/root/jar", page)
    assert 0 != unit.machine.run(*ask.split(), page).returncode


def test_somebody_is_told(unit: Unit, guide: Guide) -> None:
    """A target is added as root; where it leads is asked by nobody here."""
    guide.follow("Notices")
    unit.program("notify", "remove", "phone")


def test_plain_commands_act_on_the_installed_service(unit: Unit) -> None:
    """Without a flag, while it runs and while it is stopped; nothing is made beside it."""
    for integration in ("gcal", "discord"):
        assert "Counter" in unit.machine.output(UNIT, "charm", "list")
        unit.machine.output(UNIT, f"--integration={integration}", "--initialize")
        unit.systemctl("stop")
    unit.systemctl("start")
    found = {each["integration_id"]: each for each in unit.value("integration", "list")}
    assert found["gcal"]["initialised"]
    assert found["discord"]["initialised"]
    assert not unit.machine.exists(f"/root/.local/state/{UNIT}")


def test_backups_can_be_restored(unit: Unit, guide: Guide) -> None:
    """One is made, fetched, and tried beside the running service."""
    guide.follow("Backups")
    guide.follow("A drill")
    assert not unit.machine.exists("/root/drill")


def test_it_is_watched(unit: Unit, guide: Guide) -> None:
    """By Debian's Prometheus, with the token and the alerts."""
    guide.follow("Monitoring")
    (token,) = [each for each in unit.value("token", "list") if each["name"] == "prometheus"]
    assert token["last_used_at"] > 0
    rules = unit.machine.output("curl", "--silent", "http://localhost:9090/api/v1/rules")
    (group,) = json.loads(rules)["data"]["groups"]
    assert "BgCharmDown" in {rule["name"] for rule in group["rules"]}


def test_a_charm_reads_a_feed(unit: Unit) -> None:
    """A charm has the network that it is allowed."""
    file, url = "/root/checkout/charms/rss.py", 'url="http://localhost/feed.xml"'
    unit.program("charm", "add", file, "--space", "news", "--cause", "feed", "--set", url)
    unit.program("charm", "run", "news/feed")
    assert "Good news" == unit.program("charm", "get", "news/feed", "title")


def test_a_charm_gets_nothing_that_is_not_its_own(unit: Unit) -> None:
    """Of files and ports it reaches one, which everybody may read."""
    unit.program("charm", "run", "demo/probe")
    assert "/usr/lib/os-release" == unit.program("charm", "get", "demo/probe", "reached")


def test_page_and_api_answer(unit: Unit) -> None:
    """On the port of this machine."""
    ask = "import urllib.request as u; print(u.urlopen('http://localhost:8000').read())"
    assert "</html>" in unit.machine.output("python3", "-c", ask)


def test_reload_opens_the_log_anew(unit: Unit) -> None:
    """In the same process."""
    pid = unit.show("MainPID")
    unit.machine.output("mv", f"{DATA}/service.log", f"{DATA}/service.log.1")
    unit.systemctl("reload")
    wait_until(lambda: unit.machine.run("test", "-s", f"{DATA}/service.log").returncode == 0)
    assert pid == unit.show("MainPID")


def test_a_stop_in_flight_loses_nothing(unit: Unit) -> None:
    """And it leaves no process."""
    before = begin_three(unit)
    unit.systemctl("stop", "--no-block")
    wait_until(lambda: unit.show("ActiveState") == "deactivating")
    unit.machine.output("rm", HOLD)
    wait_until(lambda: unit.show("ActiveState") == "inactive")
    assert "success" == unit.show("Result")
    assert not unit.machine.exists(f"/sys/fs/cgroup/system.slice/{UNIT}.service")
    unit.systemctl("start")
    let_go_and_check(unit, before)


def test_a_kill_loses_nothing(unit: Unit) -> None:
    """After `kill -9` of the main process it is back, and nothing is lost or counted twice."""
    pid, before = unit.show("MainPID"), begin_three(unit)
    unit.systemctl("kill", "--kill-who=main", "--signal=KILL")
    wait_until(lambda: unit.show("MainPID") not in (pid, "0"))
    wait_until(lambda: unit.machine.run(UNIT, "--data-dir", DATA, "status").returncode == 0)
    assert "1" == unit.show("NRestarts")
    let_go_and_check(unit, before)


def test_a_signal_to_all_of_it_costs_nothing(unit: Unit) -> None:
    """`systemctl kill` sends it to workers too: none ends, and no charm is blamed."""
    before, workers = begin_three(unit), unit.processes()
    unit.systemctl("kill", "--signal=USR1")
    wait_until(lambda: "status.processes" in unit.journal("--lines=40"))
    let_go_and_check(unit, before)
    assert 0 == unit.status("workers_crashed")
    assert workers <= unit.processes()


def test_the_watchdog_restarts_it(unit: Unit) -> None:
    """When it stands still, and not before."""
    assert "1min" == unit.show("WatchdogUSec")
    with unit.changed():
        # The unit's minute is too long here; SIGABRT's core would go where the host says.
        unit.edit("WatchdogSec=5", "WatchdogSignal=SIGKILL")
        unit.systemctl("restart")
        pid = unit.show("MainPID")
        wait_until(lambda: unit.status("uptime_seconds") > 6)
        assert pid == unit.show("MainPID")
        unit.systemctl("kill", "--kill-who=main", "--signal=STOP")
        wait_until(lambda: unit.show("MainPID") not in (pid, "0"))
        assert "Watchdog timeout" in unit.journal()


def test_a_usage_error_is_not_tried_again(unit: Unit) -> None:
    """A setting that cannot be read is mended by no new start; the journal says it as an error."""
    with unit.changed():
        unit.set("CYCLE_INTERVAL_MS=soon")
        assert 0 != unit.machine.run("systemctl", "restart", UNIT).returncode
        wait_until(lambda: unit.show("ActiveState") == "failed")
        assert ("2", "0") == (unit.show("ExecMainStatus"), unit.show("NRestarts"))
        told = unit.journal("--priority=err", "--grep=CYCLE_INTERVAL_MS")
        assert told.startswith("Error: CYCLE_INTERVAL_MS='soon'")


def test_a_start_that_fails_for_long_can_be_mended(unit: Unit) -> None:
    """After ten failed starts `systemctl restart` does it, once the cause is gone."""
    with unit.changed():
        unit.set("IDENTITY=/etc/none.pem")
        assert 0 != unit.machine.run("systemctl", "restart", UNIT).returncode
        wait_until(lambda: int(unit.show("NRestarts")) >= 10)
        unit.set()
        unit.systemctl("restart")
        assert "active" == unit.show("ActiveState")


def test_commands_work_while_it_is_stopped(unit: Unit) -> None:
    """Root acts as the owner of the data, with the key of the service; files go where root said."""
    unit.systemctl("stop")
    assert "demo" in unit.program("charm", "list")
    assert "Backup made" in unit.program("backup", f"{DATA}/kept.db")
    assert "Backup made" in unit.program("backup", "/root/kept.db")
    assert "All is well" in unit.program("doctor", "--full")
    assert "Restored" in unit.program("restore", "--force", "/root/kept.db")
    assert "Restored" in unit.program("restore", "--force", f"{DATA}/kept.db")
    found = unit.machine.output("stat", "-c", "%u %a", "/root/kept.db")
    assert "0 600" == found
    owners = unit.machine.output("sh", "-c", f"stat -c %u {DATA}/* {DATA}/.[!.]* | sort -u")
    assert owners == unit.machine.output("stat", "-c", "%u", f"{DATA}/.")
    unit.systemctl("start")
    assert counter(unit) >= 2
    # It ends with 0: nothing but notes.
    unit.program("doctor")


@pytest.mark.parametrize("folder", ["/tmp", "/root", "/srv", DATA])
def test_a_backup_is_where_root_said(unit: Unit, folder: str) -> None:
    """Also in a folder that the unit does not see, has of its own, or may not write."""
    file = f"{folder}/made.db"
    assert f"Backup made and verified: {file}" in unit.program("backup", file)
    assert "600" == unit.machine.output("stat", "-c", "%a", file)
    check = f"import sqlite3; print(*sqlite3.connect('{file}').execute('PRAGMA integrity_check'))"
    assert "('ok',)" == unit.machine.output("python3", "-c", check)
    # A newer one takes its place.
    unit.program("backup", file)
    unit.machine.output("rm", file)


def test_root_is_not_led_astray(unit: Unit) -> None:
    """A link that the unit's user has made leads root's commands nowhere."""
    uid = unit.machine.output("stat", "-c", "%u", f"{DATA}/.")
    for link, target in (("file.db", "/root/kept.db"), ("folder", "/etc")):
        unit.machine.output("ln", "-s", target, f"{DATA}/{link}")
        unit.machine.output("chown", "-h", uid, f"{DATA}/{link}")
    unit.systemctl("stop")
    for command in (("restore", "--force", f"{DATA}/file.db"), ("backup", f"{DATA}/folder/x.db")):
        done = unit.machine.run(UNIT, "--data-dir", DATA, *command)
        assert (1, True) == (done.returncode, "root does not follow there" in done.stdout)
    unit.machine.output("rm", f"{DATA}/file.db", f"{DATA}/folder")
    unit.systemctl("start")


def test_commands_in_the_journal_can_be_typed(unit: Unit) -> None:
    """As they stand, by root, and they act on the data of the service, and on no other."""
    text = unit.journal()
    found = set(re.findall(r"`(bg-charm-service [^`]*)`", text))
    assert len(found) >= 3
    for command in found:
        unit.machine.output(*shlex.split(command))
    assert any("--initialize" in command for command in found)
    assert not unit.machine.exists(f"/root/.local/state/{UNIT}")
    (gmail,) = [
        each for each in unit.value("integration", "list") if each["integration_id"] == "gmail"
    ]
    assert gmail["initialised"]


def test_a_key_that_only_root_can_read_is_the_services(unit: Unit) -> None:
    """The unit hands it over; root's commands say whom the service acts as."""
    assert "root:root 600" == unit.machine.output("stat", "-c", "%U:%G %a", KEY)
    did = unit.machine.output(UNIT, "identity", "did", IDENTITY=KEY)
    assert [did, did] == [unit.status("operator"), unit.program("identity", "did")]


def test_a_key_that_cannot_be_read_is_told_with_the_way_out(unit: Unit) -> None:
    """A service whose IDENTITY names root's file says where its unit takes one from."""
    with unit.changed():
        unit.set(f"IDENTITY={KEY}")
        assert 0 != unit.machine.run("systemctl", "restart", UNIT).returncode
        told = unit.journal("--priority=err", "--grep=IDENTITY=", "--lines=1")
        assert f"IDENTITY='{KEY}': cannot be read by user" in told
        assert f"gets a key that only root can read from {KEY}" in told


def test_the_journal_knows_what_matters(unit: Unit) -> None:
    """`journalctl -p warning` shows a failed run, and not one that succeeded."""
    unit.program("charm", "set", "demo/counter", "error", '"broken"')
    wait_until(lambda: "broken" in unit.journal("--priority=warning", "--grep=broken"))
    unit.program("charm", "set", "demo/counter", "error", '""')
    assert "Successfully executed" in unit.journal()
    assert "Successfully executed" not in unit.journal("--priority=warning")
    last = json.loads(unit.journal("--priority=warning", "--grep=broken", "--lines=1"))
    assert "WARNING" == last["level"]


def test_no_login_code_is_kept(unit: Unit) -> None:
    """Neither in the journal nor in the log file; `open` makes one."""
    assert "login?code=" not in unit.journal()
    assert "login?code=" not in unit.machine.output("cat", f"{DATA}/service.log")
    assert "/login?code=" in unit.program("open")


def test_a_greedy_charm_does_not_stop_it(unit: Unit) -> None:
    """One that takes all memory of the unit costs its worker, and not the service."""
    assert "continue" == unit.show("OOMPolicy")
    controllers = unit.machine.output("cat", "/sys/fs/cgroup/cgroup.controllers")
    if "memory" not in controllers.split():
        pytest.skip("there is no memory controller of cgroup v2 here")
    with unit.changed():
        unit.edit("MemoryMax=300M", "MemorySwapMax=0")
        unit.systemctl("restart")
        pid = unit.show("MainPID")
        unit.program("charm", "send", "demo/probe", "--stream", "greedy")
        events = f"/sys/fs/cgroup/system.slice/{UNIT}.service/memory.events"
        wait_until(lambda: unit.machine.run("grep", "oom_kill [1-9]", events).returncode == 0)
        wait_until(lambda: unit.status("failures") > 0)
        assert pid == unit.show("MainPID")


def test_an_upgrade_leaves_nothing_old(unit: Unit, guide: Guide) -> None:
    """Installed over the running one: the new version, its data and settings, no old process."""
    before, old = counter(unit), unit.processes()
    settings = unit.machine.output("cat", CONFIG)
    version = "/root/checkout/bg_charm_service/domain/version.py"
    unit.machine.output("sed", "-i", 's/^VERSION.*=.*/VERSION = "99.0"/', version)
    publish(unit.machine)
    guide.follow("An upgrade")
    assert ["99.0", 1.0] == unit.status("version", "interval_seconds")
    assert settings == unit.machine.output("cat", CONFIG)
    assert counter(unit) >= before
    assert set() == old & unit.processes()


def test_a_backup_is_gone_back_to(unit: Unit, guide: Guide) -> None:
    """That of the upgrade: what came after it is gone."""
    unit.program("charm", "add", "/root/probe.py", "--space", "demo", "--cause", "later")
    guide.follow("Going back to a backup")
    assert "demo" in unit.program("charm", "list")
    assert 0 != unit.machine.run(UNIT, "charm", "show", "demo/later").returncode


def test_a_machine_that_is_lost_is_made_anew(unit: Unit, guide: Guide) -> None:
    """From the key and the backup that were fetched: charms, and who the service acts as."""
    operator, before = unit.status("operator"), counter(unit)
    unit.program("backup", "/root/newest.db")
    unit.systemctl("disable", "--now")
    guide.machine.output("rm", "-r", DATA, f"/var/lib/private/{UNIT}", KEY)
    guide.follow("A machine that is lost")
    assert operator == unit.status("operator")
    assert counter(unit) >= before


def test_it_starts_with_the_machine(unit: Unit) -> None:
    """Once enabled."""
    unit.systemctl("stop")
    unit.machine.output("systemctl", "start", "multi-user.target")
    wait_until(lambda: unit.show("ActiveState") == "active")


def test_uninstalled_it_leaves_the_data(unit: Unit, guide: Guide) -> None:
    """No process, no program and no unit is left; data, key and settings are, and it says so."""
    printed = guide.follow("Taking it away")
    assert "not-found" == unit.show("LoadState")
    assert not unit.machine.exists(f"/sys/fs/cgroup/system.slice/{UNIT}.service")
    for path in (f"/opt/{UNIT}", f"/usr/local/bin/{UNIT}"):
        assert not unit.machine.exists(path)
    assert unit.machine.exists(f"{DATA}/bg-charm-service.db")
    for path in (DATA, CONFIG, VARIABLES, KEY):
        assert unit.machine.exists(path)
        assert path in printed
    # What docs/operating.md says removes these too.
    (rest,) = re.findall(
        r"To remove these too:\n\n```bash\n(.*?)^```", OPERATING, re.DOTALL | re.MULTILINE
    )
    unit.machine.output("sh", "-ec", rest)
    find = ("find", "/etc", "/var/lib", "/usr/local/bin", "-name", f"{UNIT}*")
    left = unit.machine.output(*find).splitlines()
    # Those that Prometheus reads are not the installation's.
    assert [] == [path for path in left if not path.startswith("/etc/prometheus/")]


def test_no_command_of_the_guide_was_left_out(guide: Guide) -> None:
    """The tests before this one have run every one."""
    assert [] == guide.left()
