"""Every argument and option of every command, with every hostile text, at a running service.

Generated from the tree of commands: a new command without good arguments in the table fails.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import httpx2
import pytest
from click.testing import CliRunner, Result

from bg_charm_service.cli.root import root
from tests.bad_input.values import FEW_ARGUMENTS
from tests.process.program import COUNTER
from tests.process.running import Service

#: No answer to a mistake is longer, in characters.
LONGEST_LINE = 1100

#: Good arguments of each command; REF is a charm, FILE its source, LINES an import, CONFIG the
#: configuration.
GOOD = {
    "charm add": ["FILE", "--space", "demo"],
    "charm shipped": [],
    "charm update": ["REF", "FILE", "--dry-run"],
    "charm list": [],
    "charm show": ["REF"],
    "charm get": ["REF", "counter"],
    "charm items": ["REF", "counter"],
    "charm set": ["REF", "counter", "1"],
    "charm send": ["REF", "{}"],
    "charm run": ["REF"],
    "charm logs": ["REF"],
    "charm enable": ["REF"],
    "charm disable": ["REF"],
    "charm interval": ["REF", "60"],
    "charm schedule": ["REF", "0 8 * * *", "--time-zone", "Europe/Oslo"],
    "charm requeue": ["REF"],
    "charm forget": ["REF", "name"],
    "charm purge": ["REF", "--stream", "bgUpdater"],
    "charm remove": ["REF"],
    "limits": ["REF", "--timeout", "10"],
    "charm import": ["LINES"],
    "charm export": [],
    "register": ["REF"],
    "unregister": ["REF"],
    "space did": ["demo"],
    "space list": [],
    "space grant": ["demo", "DID"],
    "identity new": [],
    "identity did": [],
    "identity rotate": ["--to", "KEY"],
    "integration list": [],
    "integration initialize": ["gmail"],
    "pause": ["REF"],
    "resume": ["REF"],
    "jobs list": [],
    "jobs cancel": ["1"],
    "status": [],
    "dead-letters requeue": ["REF"],
    "dead-letters drop": ["REF"],
    "config show": [],
    "config check": ["CONFIG"],
    "open": [],
    "session show": [],
    "session list": [],
    "session end": [],
    "token new": ["--name", "name"],
    "token list": [],
    "token revoke": ["name"],
    "hooks list": ["REF"],
    "hooks rotate": ["REF", "bgUpdater"],
    "auth client": ["google"],
    "auth login": ["google", "--space", "demo"],
    "auth list": [],
    "auth logout": ["google", "--space", "demo", "--charm", "counter"],
    "notify add": ["--name", "phone", "--kinds", "down", "--down-after", "5m"],
    "notify list": [],
    "notify test": ["phone"],
    "notify remove": ["phone"],
    "audit": [],
    "add-admin-charm": [],
    "backup": ["NEW"],
    "restore": ["FILE"],
    "doctor": [],
}

#: What a command writes beside the service, and may: a new file, in the folder of the test.
WRITES_FILES = {"identity new", "identity rotate", "backup"}


def leaves(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """Give every command with its name; groups are left out."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


COMMANDS = dict(leaves(root))

#: Each parameter that takes a text, of each command.
CASES = [
    (name, parameter)
    for name, command in COMMANDS.items()
    for parameter in command.params
    if not (isinstance(parameter, click.Option) and parameter.is_flag)
]


class Desk:
    """A running service, and the files that commands are given."""

    def __init__(self, service: Service, folder: Path) -> None:
        self.service = service
        transport = httpx2.HTTPTransport(uds=str(service.data_dir / "service.sock"))
        self._client = httpx2.Client(transport=transport, base_url="http://service")
        charm = service.add(COUNTER, space="demo", cause="counter", register=True)
        (folder / "file.py").write_text(COUNTER)
        (folder / "lines.jsonl").write_text(
            json.dumps({"source": COUNTER, "space": "demo", "cause": "counter"})
        )
        (folder / "config.toml").write_text("failures = 2")
        self._words = {
            "REF": charm.ref,
            "FILE": str(folder / "file.py"),
            "NEW": str(folder / "new.db"),
            "KEY": str(folder / "key.pem"),
            "LINES": str(folder / "lines.jsonl"),
            "CONFIG": str(folder / "config.toml"),
            "DID": str(service.status()["operator"]),
        }

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def good(self, name: str) -> list[str]:
        """Good arguments of a command."""
        return [self._words.get(word, word) for word in GOOD[name]]

    def run(self, *arguments: str) -> Result:
        """Run a command in this process."""
        flag = f"--data-dir={self.service.data_dir}"
        return CliRunner().invoke(root, [flag, *arguments], prog_name="bg-charm-service")

    def newest_change(self) -> object:
        """The number of the newest change: none that anybody makes goes unrecorded."""
        return self._client.get("/api/audit?limit=1").json()[0]["entry_id"]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A service that polls seldom, with one charm."""
    folder = tmp_path_factory.mktemp("commands")
    with Service(folder / "data", "--interval=3600") as service:
        desk = Desk(service, folder)
        yield desk
        desk.close()


def test_every_command_has_good_arguments() -> None:
    """The table has every command and no other, so that each is tried."""
    assert set(COMMANDS) == set(GOOD)


def arguments(name: str, parameter: click.Parameter, good: list[str], text: str) -> list[str]:
    """Put a text where a parameter of a command belongs, among good arguments."""
    if isinstance(parameter, click.Option):
        flag = parameter.opts[-1]
        if flag in good:
            place = good.index(flag)
            good = [*good[:place], *good[place + 2 :]]
        return [*good, f"{flag}={text}"]
    places = [each for each in COMMANDS[name].params if not isinstance(each, click.Option)]
    words = [word for word in good if not word.startswith("--")][: len(places)]
    options = good[len(words) :]
    place = places.index(parameter)
    padded = [*words, *[""] * (place + 1 - len(words))]
    padded[place] = text
    return [*options, "--", *padded]


@pytest.mark.parametrize(
    ("name", "parameter"), CASES, ids=[f"{name} {each.name}" for name, each in CASES]
)
def test_hostile_texts(
    desk: Desk,
    name: str,
    parameter: click.Parameter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A text is taken, or refused with 1 or 2 and one line, and nothing was changed."""
    monkeypatch.chdir(tmp_path)
    problems = []
    before = desk.newest_change()
    for what, text in FEW_ARGUMENTS.items():
        given = arguments(name, parameter, desk.good(name), text)
        result = desk.run(*name.split(), *given)
        after = desk.newest_change()
        problem = wrong_with(result, is_many=name == "charm import")
        if result.exit_code and after != before and name != "charm run":
            problem = f"changed something: {before} {after}"
        if result.exit_code and name not in WRITES_FILES and list(tmp_path.iterdir()):
            problem = f"left files: {list(tmp_path.iterdir())}"
        if problem:
            problems.append(f"{what}: {problem}")
        before = after
    assert [] == problems


def wrong_with(result: Result, *, is_many: bool) -> str:
    """Say what is wrong with how a command ended; nothing when it is as promised.

    One that takes `many` things has a line for each that is refused.
    """
    if result.exit_code not in (0, 1, 2):
        return f"exit code {result.exit_code}"
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return f"raised {result.exception!r}"[:500]
    if "Traceback" in result.output or "Internal error" in result.output:
        return f"said {result.stderr[-500:]}"
    if result.exit_code:
        lines = result.stderr.splitlines()
        return next(filter(None, map(wrong_with_line, lines)), "") if is_many else only_line(lines)
    return ""


def only_line(lines: list[str]) -> str:
    """Say what is wrong with the words of a command that failed; usage may stand before them."""
    errors = [line for line in lines if line.startswith("Error: ")]
    if len(errors) != 1 or lines[-1] != errors[0]:
        return f"is not one line: {lines[-4:]!r:.500}"
    return wrong_with_line(errors[0])


def wrong_with_line(line: str) -> str:
    """Say what is wrong with the words of a refusal."""
    if not line.isprintable():
        return f"has control characters: {line!a:.300}"
    if len(line) > LONGEST_LINE:
        return f"is {len(line)} characters long: {line:.200}"
    return ""
