"""Asks for what the first charm of an integration needs, adds it, and shows its first result.

    make mail (calendar, discord, rss)
    python -m demos.first_charm mail [--set FIELD=JSON …] [-- FLAG …]

Where people sign in (`make gmail`), `demos/first_sign_in.py` leads them there.

Only on a terminal, and while no charm of that integration is there: else it does nothing. FLAGs are
those of the service, which `make` starts afterwards. What was typed reaches the service over
standard input: passwords stand on no command line.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from bg_charm_service.service.shipped_charms import ShippedCharm, shipped_charm
from demos import first_sign_in
from demos.commands import ROOT, SERVICE, Refused, run
from demos.first_sign_in import SignIn

#: So long the service may take to start, in seconds.
START_SECONDS: Final = 60.0

#: The charms that are asked for, by their integrations, and what each brings.
CHARMS: Final = {
    "calendar": "calendar_importer",
    "discord": "discord_importer",
    "gcal": "gcal_importer",
    "gmail": "gmail_importer",
    "mail": "mail_importer",
    "rss": "rss",
}
EVENTS: Final = "events"
THINGS: Final = {
    "calendar": EVENTS,
    "discord": "messages",
    "gcal": EVENTS,
    "gmail": "mails",
    "mail": "mails",
    "rss": "entries",
}

#: So many items of the first result are shown, and so many characters of each.
SHOWN: Final = 5
SHOWN_CHARACTERS: Final = 100


class NotAdded(Exception):
    """The service did not take the charm; the text says why."""


@dataclass(frozen=True)
class FirstCharm:
    """The charm that ships for an integration; `things` is what people call what it brings."""

    shipped: ShippedCharm
    things: str
    sign_in: SignIn | None = None


#: Where people sign in for a charm, and the API that they switch on first.
SIGN_INS: Final = {
    "gmail": SignIn("google", "Gmail API", "gmail.googleapis.com"),
    "gcal": SignIn("google", "Google Calendar API", "calendar-json.googleapis.com"),
}


def first_of(name: str) -> FirstCharm:
    """Give the first charm of an integration."""
    return FirstCharm(shipped_charm(CHARMS[name]), THINGS[name], SIGN_INS.get(name))


@click.command()
@click.argument("name", type=click.Choice(sorted(CHARMS)))
@click.option("--set", "values", multiple=True, metavar="FIELD=JSON", help="Not asked for.")
@click.option("--issuer", default="", metavar="URL", help="Another provider than the real one.")
@click.argument("flags", nargs=-1)
def main(name: str, values: tuple[str, ...], issuer: str, flags: tuple[str, ...]) -> None:
    """Ask for what the first charm of an integration needs, and add it."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or _has_any(name, flags):
        return
    first = first_of(name)
    given = {field: json.loads(text) for field, _, text in (one.partition("=") for one in values)}
    click.echo(f"There is no charm of {name} yet. This adds one; Ctrl-C ends it.\n")
    if first.sign_in is not None:
        _with_sign_in(name, first, given, issuer, flags)
        return
    answers: dict[str, Any] = {}
    while True:
        answers = _answers(first, answers, given)
        try:
            ref = _add(name, first, {**answers, **given}, flags)
            with _running(flags):
                error = _first_run(ref, flags).error
                if not error:
                    _show(first, ref, flags)
                    return
                run(["charm", "remove", ref, "--yes"], flags)
        except NotAdded as refused:
            error = str(refused)
        click.echo(f"\nThat did not work: {error}\nOnce more; Enter takes what was typed before.\n")


def _with_sign_in(
    name: str, first: FirstCharm, given: dict[str, Any], issuer: str, flags: tuple[str, ...]
) -> None:
    """Add a charm that is polled once somebody has signed in, and lead there."""
    assert first.sign_in is not None
    first_sign_in.explain(first.sign_in, flags)
    first_sign_in.give_client(first.sign_in, issuer, flags)
    try:
        ref = _add(name, first, given, flags)
    except NotAdded as refused:
        sys.exit(str(refused))
    # Google sends the browser back to the service's own port.
    with _running(flags, has_api=True):
        while True:
            first_sign_in.lead(first.sign_in, ref, issuer, flags)
            while (ended := _first_run(ref, flags)).error:
                click.echo(f"\nThat did not work: {ended.error}")
                if ended.status == "sign_in":
                    break
                click.pause("Do what it says, and press a key to read once more; Ctrl-C ends it.")
            if not ended.error:
                _show(first, ref, flags)
                return


def _has_any(name: str, flags: Sequence[str]) -> bool:
    """Whether there is a charm of an integration; without data there is none."""
    try:
        charms = json.loads(run(["charm", "list", "--json"], flags))
    except Refused:
        return False
    return any(charm["integration"] == name for charm in charms)


def _answers(first: FirstCharm, before: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Ask for what the charm needs; what was typed before is offered, but for secrets."""
    answers: dict[str, Any] = {}
    for field in first.shipped.fields:
        if not field.is_asked or field.name in given:
            continue
        known = None if field.is_secret else before.get(field.name)
        default = known if known is not None or field.is_required else ""
        text = click.prompt(
            field.question,
            default=default,
            show_default=bool(default),
            hide_input=field.is_secret,
        )
        if text.strip() or field.is_required:
            answers[field.name] = field.read(text)
    return answers


def _add(name: str, first: FirstCharm, values: dict[str, Any], flags: Sequence[str]) -> str:
    """Add the charm, to be polled, with its port open to it; give its address."""
    shipped = first.shipped
    values = shipped.completed(values)
    line: dict[str, Any] = {
        "file": str(ROOT / "charms" / shipped.file_name),
        "space": shipped.space,
        "set": values,
    }
    if network := shipped.network(values):
        line["limits"] = {"network": network}
    if first.sign_in is None:
        # Else it is polled once somebody has signed in.
        line |= {"register": True, "integration": name}
    try:
        told = json.loads(run(["charm", "import", "-", "--json"], flags, json.dumps(line)))
    except Refused as error:
        raise NotAdded(str(error)) from None
    if told["errors"]:
        raise NotAdded(_in_words(shipped, told["errors"][0]["error"]))
    return str(told["charms"][0])


def _in_words(shipped: ShippedCharm, error: str) -> str:
    """Say by its title which answer will not do."""
    name, _, reason = error.partition(": ")
    for field in shipped.fields:
        if field.name == name:
            is_pattern = "should match pattern" in reason or "string_pattern" in reason
            return f"{field.title}: {'it is ' + field.help if is_pattern else reason}"
    return error


@contextmanager
def _running(flags: Sequence[str], *, has_api: bool = False) -> Iterator[None]:
    """Run the service for the first result, where none runs."""
    if json.loads(run(["status", "--json"], flags))["running"]:
        yield
        return
    with (
        tempfile.NamedTemporaryFile("w+", prefix="first-charm-") as log,
        subprocess.Popen(
            [*SERVICE, *flags, *([] if has_api else ["--no-api"]), "--log-format=json"],
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


TLS_ADVICE: Final = (
    "Name the server as its certificate does; SSL_CERT_FILE names a file with certificates of your "
    "own"
)

#: What Python puts before the sentence of an error.
_ERROR_NAME: Final = re.compile(r"^[A-Za-z]*(?:Error|Exception): ")


@dataclass(frozen=True)
class Ended:
    """How a run ended, and what went wrong; empty for nothing."""

    status: str
    error: str = ""


def _first_run(ref: str, flags: Sequence[str]) -> Ended:
    """Have it run."""
    click.echo("\nReading …")
    try:
        told = json.loads(run(["charm", "run", ref, "--json"], flags))["run"]
    except Refused as error:
        return Ended("refused", str(error))
    problem = "" if told["status"] == "success" else _ERROR_NAME.sub("", str(told["error"]))
    if told["cause"] == "tls":
        problem += f". {TLS_ADVICE}"
    return Ended(told["status"], problem)


def _show(first: FirstCharm, ref: str, flags: Sequence[str]) -> None:
    """Show the first of what it brought."""
    shipped = first.shipped
    values, count = (
        _items(ref, shipped.result, flags)
        if shipped.is_collection
        else _list(ref, shipped.result, flags)
    )
    progress = ""
    with suppress(Refused):
        progress = run(["charm", "get", ref, "progress"], flags).strip()
    which = "the next" if first.things == EVENTS else "the newest"
    click.echo(f"{progress or f'{count:,} {first.things}'}{f', {which}:' if values else ''}")
    for value in values:
        told = "  ".join(_short(value.get(column)) for column in shipped.columns)
        click.echo(f"  {_printable(told)[:SHOWN_CHARACTERS].rstrip()}")
    click.echo("\nThe service goes on from here.\n")


def _items(ref: str, field: str, flags: Sequence[str]) -> tuple[list[dict[str, Any]], int]:
    """The first items of a collection, from today on where keys begin with their day."""

    def page(*more: str) -> dict[str, Any]:
        command = ["charm", "items", ref, field, "--limit", str(SHOWN), "--json", *more]
        found: dict[str, Any] = json.loads(run(command, flags))
        return found

    found = page()
    today = datetime.now(UTC).date().isoformat()
    if found["items"] and found["items"][0]["key"][:10] < today and _is_day(found["items"]):
        found["items"] = page("--after", today)["items"]
    return [item["value"] for item in found["items"]], found["count"]


def _is_day(items: Sequence[Mapping[str, Any]]) -> bool:
    return all(item["key"][4:5] == item["key"][7:8] == "-" for item in items)


def _list(ref: str, field: str, flags: Sequence[str]) -> tuple[list[dict[str, Any]], int]:
    values = json.loads(run(["charm", "get", ref, field, "--json"], flags))
    return values[:SHOWN], len(values)


def _short(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value or "")


def _printable(text: str) -> str:
    """What strangers wrote, without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


if __name__ == "__main__":
    main()
