"""Asks for what the first charm of an integration needs, adds it, and shows its first result.

    make mail
    python -m demos.first_charm mail [--set FIELD=JSON …] [-- FLAG …]

Only on a terminal, and while no charm of that integration is there: else it does nothing. FLAGs are
those of the service, which `make` starts afterwards. What was typed reaches the service over
standard input: passwords stand on no command line.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

ROOT: Final = Path(__file__).parents[1]
SERVICE: Final = (sys.executable, "-m", "bg_charm_service")

#: So long the service may take to start, in seconds.
START_SECONDS: Final = 60.0

#: So many items of the first result are shown, and so many characters of each.
SHOWN: Final = 5
SHOWN_CHARACTERS: Final = 100


@dataclass(frozen=True)
class Question:
    """What a person is asked for a field; an answer of `HOST:PORT` says two."""

    field: str
    text: str
    is_secret: bool = False


@dataclass(frozen=True)
class FirstCharm:
    """What the first charm of an integration is made of, and where its result stands."""

    file: str
    space: str
    questions: tuple[Question, ...]
    port: int
    items: str
    columns: tuple[str, ...]


FIRST: Final = {
    "mail": FirstCharm(
        file="mail_importer.py",
        space="mail",
        questions=(
            Question("host", "IMAP server, such as imap.gmail.com or imap.fastmail.com"),
            Question("user", "User, mostly the whole address"),
            Question("password", "Password; an app password at Gmail and Fastmail", is_secret=True),
        ),
        port=993,
        items="mails",
        columns=("received", "sender", "subject"),
    )
}


class Refused(Exception):
    """A command failed; the text is what it said."""


@click.command()
@click.argument("name", type=click.Choice(sorted(FIRST)))
@click.option("--set", "values", multiple=True, metavar="FIELD=JSON", help="Not asked for.")
@click.argument("flags", nargs=-1)
def main(name: str, values: tuple[str, ...], flags: tuple[str, ...]) -> None:
    """Ask for what the first charm of an integration needs, and add it."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or _has_any(name, flags):
        return
    first = FIRST[name]
    given = {field: json.loads(text) for field, _, text in (one.partition("=") for one in values)}
    click.echo(f"There is no charm of {name} yet. This adds one; Ctrl-C ends it.\n")
    answers: dict[str, Any] = {}
    while True:
        answers = _answers(first, answers)
        ref = _add(name, first, {**_fields(answers), **given}, flags)
        with _running(flags):
            error = _first_run(ref, flags)
            if not error:
                _show(first, ref, flags)
                return
            run(["charm", "remove", ref, "--yes"], flags)
        click.echo(f"\nThat did not work: {error}\nOnce more; Enter takes what was typed before.\n")


def _has_any(name: str, flags: Sequence[str]) -> bool:
    """Whether there is a charm of an integration; without data there is none."""
    try:
        charms = json.loads(run(["charm", "list", "--json"], flags))
    except Refused:
        return False
    return any(charm["integration"] == name for charm in charms)


def _answers(first: FirstCharm, before: dict[str, Any]) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    for question in first.questions:
        default = None if question.is_secret else before.get(question.field)
        answer = click.prompt(question.text, default=default, hide_input=question.is_secret)
        answers[question.field] = answer.strip()
    return answers


def _fields(answers: dict[str, Any]) -> dict[str, Any]:
    """What the answers say of the fields of the charm."""
    host, _, port = answers["host"].partition(":")
    return {**answers, "host": host, "port": int(port)} if port.isdigit() else answers


def _add(name: str, first: FirstCharm, values: dict[str, Any], flags: Sequence[str]) -> str:
    """Add the charm, to be polled, with its port open to it; give its address."""
    line = {
        "file": str(ROOT / "charms" / first.file),
        "space": first.space,
        "register": True,
        "integration": name,
        "limits": {"network": f"53,{values.get('port', first.port)}"},
        "set": values,
    }
    try:
        told = json.loads(run(["charm", "import", "-", "--json"], flags, json.dumps(line)))
    except Refused as error:
        sys.exit(str(error))
    return str(told["charms"][0])


@contextmanager
def _running(flags: Sequence[str]) -> Iterator[None]:
    """Run the service for the first result, where none runs."""
    if json.loads(run(["status", "--json"], flags))["running"]:
        yield
        return
    with (
        tempfile.NamedTemporaryFile("w+", prefix="first-charm-") as log,
        subprocess.Popen(
            [*SERVICE, *flags, "--no-api", "--log-format=json"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        ) as service,
    ):
        try:
            _wait_for_start(service, Path(log.name))
            yield
        finally:
            service.terminate()


def _wait_for_start(service: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while '"event": "started"' not in (text := log.read_text(errors="replace")):
        if service.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"The service did not start:\n{text}")
        time.sleep(0.1)


def _first_run(ref: str, flags: Sequence[str]) -> str:
    """Have it run; gives what went wrong, or nothing."""
    click.echo("\nReading …")
    try:
        told = json.loads(run(["charm", "run", ref, "--json"], flags))
    except Refused as error:
        return str(error)
    return "" if told["run"]["status"] == "success" else str(told["run"]["error"])


def _show(first: FirstCharm, ref: str, flags: Sequence[str]) -> None:
    progress = run(["charm", "get", ref, "progress"], flags).strip()
    page = json.loads(
        run(["charm", "items", ref, first.items, "--limit", str(SHOWN), "--json"], flags)
    )
    click.echo(f"{progress}{', the newest:' if page['items'] else ''}")
    for item in page["items"]:
        told = "  ".join(str(item["value"].get(name) or "") for name in first.columns)
        click.echo(f"  {_printable(told)[:SHOWN_CHARACTERS]}")
    click.echo("\nThe service goes on from here.\n")


def _printable(text: str) -> str:
    """What strangers wrote, without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def run(command: Sequence[str], flags: Sequence[str], given: str = "") -> str:
    """Run a command of the service; gives what it prints; raises Refused."""
    done = subprocess.run(
        [*SERVICE, *flags, *command],
        cwd=ROOT,
        check=False,
        text=True,
        input=given,
        capture_output=True,
    )
    if done.returncode and not done.stdout.startswith("{"):
        raise Refused(done.stderr.strip() or done.stdout.strip())
    return done.stdout


if __name__ == "__main__":
    main()
