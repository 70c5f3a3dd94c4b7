"""The operator sees and sets limits, by command and API, per space and charm; pages show them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.program import COUNTER, Program
from tests.process.reaching import Reached, reached
from tests.process.running import Refused

#: A charm that asks for less memory, more time, and a port that is not allowed.
ASKING = COUNTER.replace(
    "    counter: int = 0\n",
    '    limits = {"memory": "64M", "timeout": 3600}\n    network = (443, 5432)\n'
    "    counter: int = 0\n",
)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reached]:
    """A service that can be reached over its port."""
    with reached(tmp_path_factory.mktemp("limits"), "--timeout=20") as found:
        yield found


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """The program on a directory of its own, without a service."""
    return Program(tmp_path / "data")


def shown(program: Program, place: str, *options: str) -> dict[str, tuple[str, str]]:
    """What the command shows: value and whose word it is, by name."""
    told = program.value("limits", place, *options)["limits"]
    return {one["name"]: (one["value"], one["set_by"]) for one in told}


def add(program: Program, tmp_path: Path, source: str) -> str:
    """Add a charm to space `home`; gives what the command said beside its address."""
    file = tmp_path / "asking.py"
    file.write_text(source)
    done = program.run("charm", "add", str(file), "--space=home")
    assert 0 == done.returncode, done.stderr
    return done.stderr


def test_limits_are_set_and_taken_back(program: Program, tmp_path: Path) -> None:
    """A charm's limit wins over its space's; each can be taken back alone, or all at once."""
    add(program, tmp_path, COUNTER)
    charm = "home/asking"
    assert ("30", "service") == shown(program, charm)["timeout"]

    shown(program, "home", "--timeout=60", "--memory=1G")
    assert ("60", "space") == shown(program, charm)["timeout"]

    found = shown(program, charm, "--timeout=90", "--network=5432")
    assert (("90", "charm"), ("1G", "space")) == (found["timeout"], found["memory"])
    assert ("53,5432", "charm") == found["network"]

    found = shown(program, charm, "--timeout=default")
    assert (("60", "space"), ("53,5432", "charm")) == (found["timeout"], found["network"])

    shown(program, charm, "--reset")
    found = shown(program, "home", "--reset")
    assert {"service"} == {set_by for _, set_by in found.values()}
    assert found == shown(program, charm)


def test_what_is_shown_reads_like_a_table(program: Program, tmp_path: Path) -> None:
    """Each limit has a line with its value, whose word it is, and what it bounds."""
    add(program, tmp_path, COUNTER)
    program.output("limits", "home/asking", "--network=deny")
    lines = program.output("limits", "home/asking").splitlines()

    assert ["LIMIT", "VALUE", "SET", "BY", "WHAT"] == lines[0].split()
    (network,) = [line for line in lines if line.startswith("network ")]
    assert ["network", "deny", "charm", "Ports to connect to, or deny."] == re.split(
        r"\s\s+", network
    )


def test_wishes_that_are_not_met_are_told(program: Program, tmp_path: Path) -> None:
    """A class that asks for more is added, and it is said that this has no effect."""
    told = add(program, tmp_path, ASKING)
    for sentence in (
        "It asks for timeout 3600, and the operator allows 30: a class can only ask for less.",
        "It asks for port 5432, which the operator does not allow: it runs without.",
    ):
        assert sentence in told
        assert sentence in " ".join(program.output("charm", "show", "home/asking").split())
    lines = json.dumps({"source": ASKING, "file": "asking.py", "space": "many", "cause": "asking"})
    imported = program.run("charm", "import", "-", given=lines)
    assert "line 1: It asks for timeout 3600, and the operator allows 30" in imported.stderr
    assert {"memory": ("64M", "class"), "network": ("53,443", "class")} == {
        name: found for name, found in shown(program, "home/asking").items() if found[1] == "class"
    }

    program.output("limits", "home", "--network=443,5432", "--timeout=7200")
    assert "It asks" not in program.output("charm", "show", "home/asking")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("home", "--memory=1M"), "memory: expected a size such as 512K, 512M or 1G"),
        (("home", "--files=many"), "files: expected a whole number from 32 to 4096; or default"),
        (("home", "--network=https"), "network: expected ports from 1 to 65535"),
        (("home", "--timeout=5", "--reset"), "--reset takes all limits back: give it alone."),
        (("home", "--speed=5"), "No such option '--speed'"),
    ],
)
def test_limits_that_cannot_be_are_refused(
    program: Program, arguments: tuple[str, ...], said: str
) -> None:
    """What is wrong is told in a line, and nothing is changed."""
    assert said in program.error("limits", *arguments, code=2)


def test_limits_are_set_before_a_spaces_first_charm(program: Program, tmp_path: Path) -> None:
    """A space that is not there shows what would count, and is made by what is set for it."""
    done = program.run("limits", "home", "--timeout=60", "--network=5432")
    assert (0, "The space home is new: it was made, without any charm.") == (
        done.returncode,
        done.stderr.strip(),
    )
    done = program.run("limits", "nowhere")
    expected = "There is no space nowhere yet: these would count for its first charm."
    assert (0, expected) == (done.returncode, done.stderr.strip())
    assert "nowhere" not in program.output("space", "list")

    assert "" == program.run("limits", "home").stderr
    add(program, tmp_path, COUNTER)
    found = shown(program, "home/asking")
    assert (("60", "space"), ("53,5432", "space")) == (found["timeout"], found["network"])


def test_charm_is_added_with_limits_of_its_own(program: Program, tmp_path: Path) -> None:
    """They are the charm's; adding it again changes none of them, and says how to."""
    file = tmp_path / "asking.py"
    file.write_text(COUNTER)
    adding = ("charm", "add", str(file), "--space=home")
    program.output(*adding, "--timeout=90", "--network=5432", "--memory=default")
    found = shown(program, "home/asking")
    assert (("90", "charm"), ("53,5432", "charm")) == (found["timeout"], found["network"])
    assert ("512M", "service") == found["memory"]

    assert "Its limits were not changed" in program.run(*adding, "--timeout=5").stderr
    assert ("90", "charm") == shown(program, "home/asking")["timeout"]
    assert "memory: expected a size" in program.error(*adding, "--memory=1M", code=2)


def test_places_that_are_not_there_are_refused(program: Program, tmp_path: Path) -> None:
    """A charm that does not exist has no limits, and nothing is taken back where nothing is."""
    add(program, tmp_path, COUNTER)
    assert "There is no space nowhere" in program.error("limits", "nowhere", "--reset")
    assert "Invalid charm ID" in program.error("limits", "nowhere/nobody", "--timeout=5")


def test_export_keeps_the_limits_of_a_charm(program: Program, tmp_path: Path) -> None:
    """What was set for a charm goes with it to another directory."""
    add(program, tmp_path, COUNTER)
    program.output("limits", "home/asking", "--timeout=90", "--network=deny")
    exported = program.output("charm", "export")
    assert {"timeout": "90", "network": "deny"} == json.loads(exported)["limits"]

    other = Program(tmp_path / "other")
    other.output("charm", "import", "-", given=exported)
    assert ("90", "charm") == shown(other, "home/asking")["timeout"]


def test_limits_go_with_a_removed_charm(program: Program, tmp_path: Path) -> None:
    """A charm that is added again begins without limits of its own."""
    add(program, tmp_path, COUNTER)
    program.output("limits", "home/asking", "--timeout=90")
    program.output("charm", "remove", "home/asking", "--yes")
    add(program, tmp_path, COUNTER)
    assert ("30", "service") == shown(program, "home/asking")["timeout"]


def test_a_change_counts_from_the_next_run_on(door: Reached) -> None:
    """Limits are applied by a running service at once."""
    source = "import time\n" + COUNTER.replace(
        "        print(", '        while event.get("wait"): time.sleep(60)\n        print('
    )
    charm = door.service.add(source, cause="sleeper")
    limits = door.service.request("PUT", f"{charm.path}/limits", {"timeout": 0.3})
    assert "0.3" == limits["limits"][0]["value"]
    run = charm.perform(wait=True)
    assert ("timeout", "Timed out after 0.3 s.") == (run["cause"], run["error"])

    door.service.request("PUT", f"{charm.path}/limits", {"timeout": 0.4, "cpu": 5})
    assert "Timed out after 0.4 s." == charm.perform(wait=True)["error"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"speed": 5}, "speed: There is no such member"),
        ({"memory": "1M"}, "memory: expected a size"),
        ({"timeout": 0}, "timeout: expected a number of seconds above 0"),
        ({"timeout": [5]}, "timeout"),
        ({"files": True}, "files"),
        ([], "This is not a JSON object"),
    ],
)
def test_bodies_that_are_wrong_are_refused(door: Reached, body: object, said: str) -> None:
    """A member that is wrong is named, and nothing is changed."""
    before = door.service.request("GET", f"{door.charm.path}/limits")
    with pytest.raises(Refused, match=said) as refused:
        door.service.request("PUT", f"{door.charm.path}/limits", body)
    assert 400 == refused.value.status
    assert before == door.service.request("GET", f"{door.charm.path}/limits")


def test_the_page_shows_limits_and_whose_word_they_are(door: Reached) -> None:
    """A charm's page has each limit, who set it, and what its class asks for in vain."""
    charm = door.service.add(ASKING, cause="asking")
    door.service.request("PUT", f"{charm.path}/limits", {"threads": 7})
    with door.signed_in() as client:
        page = " ".join(client.get(f"/charms/{charm.ref}").text.split())
    assert '<dd>7 <span class="tag">by its charm</span></dd>' in page
    assert '<dd>64M <span class="tag">by its class</span></dd>' in page
    assert "It asks for port 5432, which the operator does not allow" in page
