"""docs/deploy.md, followed as an operator would: each block of commands is run as it is written.

What cannot be had in the machine of these tests is put there, so that no command is changed: `git`
finds the repository under the guide's address (`publish`), `ssh` is a stand-in that stays on the
machine, and apt upgrades nothing (`prepare`). Packages come by the network of the tests.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.systemd.machine import Machine

GUIDE = Path(__file__).parents[2] / "docs" / "deploy.md"

#: What the guide says for where the repository is.
ADDRESS = "https://git.example/background-charm-service.git"
REPOSITORY = "/root/checkout"

#: Programs that fetch something from elsewhere: a block with one of them has the network of the
#: tests, all others that of the machine, in which the service listens.
FETCHING = re.compile(r"^(?:apt-get (?:update|install)|make .*install-systemd)\b", re.MULTILINE)

#: Plays ssh, and the machine that it is called on: the command is run here. A tunnel from a port to
#: the same one of this machine is there already, if somebody listens.
SSH = r"""#!/bin/bash -eu
while getopts NL: option; do
    case $option in
    L) [[ $OPTARG =~ ^([0-9]+):localhost:([0-9]+)$ && ${BASH_REMATCH[1]} = "${BASH_REMATCH[2]}" ]]
       exec curl --silent --show-error --output /dev/null "http://localhost:${BASH_REMATCH[2]}" ;;
    esac
done
shift $((OPTIND - 1))
[ "$1" = root@charms.example ]
shift
exec bash -c "$*"
"""


@dataclass(frozen=True)
class Block:
    """Commands that stand together, and the lines that they are said to print, `…` for any text."""

    section: str
    commands: str
    shown: tuple[str, ...]


class Guide:
    """The guide on a machine: its sections are followed one by one, and it is known which were."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._blocks = read(GUIDE.read_text(encoding="utf-8"))
        self._left = list(self._blocks)
        prepare(machine)

    def follow(self, section: str) -> str:
        """Run all blocks of a section; each command has to succeed, and print what is shown.

        Gives all that they print.
        """
        blocks = [block for block in self._blocks if block.section == section]
        assert blocks, f"the guide has no section {section} with commands"
        return "".join(self._run(block) for block in blocks)

    def left(self) -> list[str]:
        """Give the commands that were not run."""
        return [block.commands for block in self._left]

    def _run(self, block: Block) -> str:
        # As in a shell of root's that ends with the first command that fails, also in a pipe.
        command = ["bash", "-e", "-o", "pipefail", "-c", f"cd /root\n{block.commands}"]
        run = self.machine.fetching if FETCHING.search(block.commands) else self.machine.output
        printed = run(*command)
        place = 0
        for line in block.shown:
            pattern = " *".join(map(re.escape, line.split())).replace("…", ".*?")
            found = re.compile(f"^ *{pattern} *$", re.MULTILINE).search(printed, place)
            assert found, f"{block.commands}\nprints no line after another as\n{line}:\n{printed}"
            place = found.end()
        if block in self._left:
            self._left.remove(block)
        return printed


def read(text: str) -> list[Block]:
    """Find the blocks of a guide; every fence has to be one, or what one shows."""
    found: list[Block] = []
    section = ""
    # A heading, or a fence with what is in it and the empty lines behind.
    for part in re.finditer(r"^## ([^\n]+)$|^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        title, kind, inside = part.groups()
        if title is not None:
            section = title
        elif kind == "bash":
            found.append(Block(section, inside, ()))
        else:
            assert kind == "text", f"a block of {kind or 'nothing'}: commands are in bash"
            assert found, "nothing is run before it"
            last = found.pop()
            assert (section, ()) == (last.section, last.shown), f"what is run before {inside}?"
            found.append(Block(section, last.commands, tuple(inside.splitlines())))
    fences = len(re.findall(r"^\s*(?:```|~~~)", text, re.MULTILINE))
    shown = sum(1 for block in found if block.shown)
    assert 2 * (len(found) + shown) == fences, "a block that is not understood"
    return found


def prepare(machine: Machine) -> None:
    """Give the machine what the guide takes for granted, but for the repository."""
    machine.put("/usr/local/bin/ssh", *SSH.splitlines())
    machine.output("chmod", "755", "/usr/local/bin/ssh")
    # What is installed already stays as it is: newer versions would have to be downloaded.
    machine.put("/etc/apt/apt.conf.d/99installed", 'APT::Get::Upgrade "false";')


def publish(machine: Machine) -> None:
    """Commit the checkout as it is, to where the guide's address leads; takes git."""
    git = ("git", "-C", REPOSITORY, "-c", "user.name=Tests", "-c", "user.email=tests@example.org")
    machine.output("git", "config", "--system", f"url.{REPOSITORY}.insteadOf", ADDRESS)
    machine.output(*git, "init", "--quiet")
    machine.output(*git, "add", "--all")
    machine.output(*git, "commit", "--quiet", "--message=As it is")
