"""Commands that change a charm: its source, its state, whether and how often it is polled."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bg_charm_service.cli.arguments import (
    FieldType,
    JsonOrInputType,
    JsonType,
    LinkType,
    MomentType,
    SecondsType,
    SpaceType,
    SpanType,
    charm_argument,
    read_json,
)
from bg_charm_service.cli.charms.limits import given_limits, limit_options
from bg_charm_service.cli.charms.package_progress import with_progress
from bg_charm_service.cli.charms.runs import check_run, print_end
from bg_charm_service.cli.charms.shipped import fields_of, show_shipped, tell_next
from bg_charm_service.cli.output.formatting import moment
from bg_charm_service.cli.output.json_output import json_option
from bg_charm_service.cli.output.printing import note, print_json
from bg_charm_service.cli.session import Session, pass_session, path_of
from bg_charm_service.cli.standard_input import STANDARD_INPUT, ask_for, read_all
from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.domain.quantities import size_text

if TYPE_CHECKING:
    from bg_charm_service.cli.client import Response

#: A source, or a line of an import, is not larger; a device that never ends would fill the memory.
LARGEST_LINE_BYTES = 16 * 1024 * 1024

_source_argument = click.argument(
    "file", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
_class_option = click.option(
    "--class", "class_name", metavar="C", help="The charm's class, where a file has several."
)


@click.command()
@click.argument(
    "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=False
)
@click.option(
    "--from",
    "shipped",
    is_flag=False,
    flag_value="",
    metavar="[NAME]",
    help="Add one that ships, and poll it; without a NAME, list them.",
)
@click.option("--space", metavar="NAME|DID", type=SpaceType(), help="Its space.")
@_class_option
@click.option(
    "--set",
    "values",
    multiple=True,
    metavar="FIELD=JSON",
    type=FieldType(),
    help="First value of a field.",
)
@click.option(
    "--set-secret",
    "secrets",
    multiple=True,
    metavar="FIELD",
    help="Ask for the text of a field without showing it, or read a line of standard input.",
)
@click.option(
    "--link",
    "links",
    multiple=True,
    metavar="FIELD=SPACE/CHARM[/PATH]",
    type=LinkType(),
    help="Cell that a field is linked to; read-only into another space.",
)
@click.option(
    "--writable-link",
    "writable_links",
    multiple=True,
    metavar="FIELD=SPACE/CHARM[/PATH]",
    type=LinkType(),
    help="The same, and the charm may write to it.",
)
@click.option("--cause", metavar="TEXT", help="What the id is made from.  [default: file name]")
@click.option("--register", is_flag=True, help="Poll it from now on.")
@click.option("--integration", metavar="ID", help="Label of the registration.  [default: manual]")
@limit_options
@json_option
@pass_session
def add(
    session: Session,
    /,
    file: Path | None,
    shipped: str | None,
    space: str | None,
    class_name: str | None,
    values: tuple[tuple[str, Any], ...],
    secrets: tuple[str, ...],
    links: tuple[tuple[str, str], ...],
    writable_links: tuple[tuple[str, str], ...],
    cause: str | None,
    register: bool,
    integration: str | None,
    as_json: bool,
    **limits: str | None,
) -> None:
    """Add the charm in FILE, or one that ships, to a space, and print its address.

    Adding the same source under the same cause again is the same charm. Limits are set for the
    charm itself, and count while its source is loaded too; only an operator sets them.

    With --from its fields are asked for on a terminal, and the port that it needs is opened to it.
    Its space and its label are those that its file names, unless you say otherwise.
    """
    from bg_charm_service.domain.views import AddedCharm

    if shipped == "":
        show_shipped(as_json=as_json)
        return
    if (file is None) == (shipped is None):
        raise click.UsageError("Give a FILE, or --from NAME for a charm that ships.")
    given = given_limits(limits)
    names = [*secrets, *(name for name, _ in values if name in secrets)]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise click.UsageError(f"--set-secret {twice}: this field is given twice.")
    fields, known = dict(values), None
    if shipped is not None:
        from bg_charm_service.service.shipped_charms import shipped_charm

        known = shipped_charm(shipped)
        source, file_name, space = known.source, known.file_name, space or known.space
        register, integration = True, integration or known.integration
        fields = fields_of(known, fields, secrets)
        if "network" not in given and (ports := known.network(fields)):
            given["network"] = ports
    else:
        assert file is not None
        if space is None:
            raise click.UsageError("Missing option '--space'.")
        source, file_name = read_source(file), file.name
        fields |= {name: ask_for(name, hidden=True) for name in secrets}
    if integration and not register:
        raise click.UsageError("--integration labels a registration: give --register as well.")
    body = {
        "source": source,
        "file": file_name,
        "space": space,
        "class": class_name,
        "set": fields,
        "links": dict(links),
        "writable_links": dict(writable_links),
        "cause": cause,
        "register": register,
        **({"integration": integration} if integration else {}),
        **({"limits": given} if given else {}),
    }
    response = session.ask(
        lambda client: with_progress(client, space, body, client.post("charms", body=body)),
        makes_directory=True,
    )
    if as_json:
        print_json(response.content)
        return
    added = response.read(AddedCharm)
    click.echo(f"{added.space}/{added.charm_id}")
    if not added.created:
        other = "; --cause NAME adds another beside it" if shipped else ""
        note(f"This charm was there already{', and keeps its fields' if shipped else ''}{other}.")
    for sentence in (*added.unmet, *added.notes):
        note(sentence)
    if known is not None:
        tell_next(known, space, cause or known.name)
    if not added.registered:
        note(f"It is not polled yet: `bg-charm-service register {added.space}/{added.charm_id}`")


@click.command()
@charm_argument
@_source_argument
@_class_option
@click.option("--dry-run", is_flag=True, help="Only tell whether its state fits.")
@click.option("--upgrade", is_flag=True, help="Look for newer packages, for the same names too.")
@click.option("--yes", is_flag=True, help="Do not ask before items are lost, on a terminal.")
@json_option
@pass_session
def update(
    session: Session,
    ref: CharmRef,
    file: Path,
    class_name: str | None,
    dry_run: bool,
    upgrade: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Give a charm the source in FILE.

    Id, state, history and registration stay. A run under way ends on the old source. The packages
    that its `# /// script` block names stay as they are locked while it names the same ones. On a
    terminal it asks before a collection is lost that has items.
    """
    from bg_charm_service.domain.views import UpdateReport

    body = {
        "source": read_source(file),
        "file": file.name,
        "class": class_name,
        "dry_run": dry_run,
        "upgrade": upgrade,
        "keep_items": not (yes or dry_run) and sys.stdin.isatty(),
    }

    def give() -> Response:
        return session.ask(
            lambda client: with_progress(
                client, ref.space, body, client.put(*path_of(ref, "source"), body=body)
            )
        )

    response = give()
    report = response.read(UpdateReport)
    if body["keep_items"] and report.removed_items and not report.problems:
        lost = " and ".join(
            f"the collection {name} with its {count:,} items"
            for name, count in report.removed_items.items()
        )
        click.confirm(f"Update {ref.short_name}, and remove {lost}?", abort=True)
        body["keep_items"] = False
        response = give()
        report = response.read(UpdateReport)
    if as_json:
        print_json(response.content)
    else:
        for field in report.added_fields:
            click.echo(f"new field: {field}")
        for field in report.removed_fields:
            count = report.removed_items.get(field)
            items = f", a collection with {count:,} items" if count else ""
            click.echo(f"field no longer used: {field}{items}")
        for sentence in report.notes:
            note(sentence)
    if report.problems:
        raise InvalidInput("The state does not fit the source: " + "; ".join(report.problems))
    if not as_json:
        click.echo(f"Updated {ref}." if report.applied else "The state fits; nothing was changed.")


@click.command("set")
@charm_argument
@click.argument("field")
@click.argument("value", metavar="JSON|-", type=JsonOrInputType())
@pass_session
def set_field(session: Session, ref: CharmRef, field: str, value: str) -> None:
    """Set a field of a charm to a JSON value, or with - to that on standard input."""
    if value == STANDARD_INPUT:
        value = read_all(LARGEST_LINE_BYTES).strip()
        try:
            read_json(value)
        except ValueError:
            # It may be a secret: nothing of it is shown.
            raise InvalidInput(
                "Standard input: this is not JSON; a text needs quotes of its own."
            ) from None
    path = path_of(ref, "state", field)
    session.ask(lambda client: client.put(*path, body=value.encode()))
    click.echo(f"Set {field}.")


@click.command()
@charm_argument
@click.argument("event", metavar="[JSON]", type=JsonType(), default="{}")
@click.option("--stream", metavar="NAME", help="Which stream.  [default: the one that polls use]")
@click.option(
    "--at",
    metavar="TIME",
    type=MomentType(),
    help="Send it then, by the local clock: 08:30, 2030-01-31T08:30.",
)
@click.option("--after", metavar="TIME", type=SpanType(), help="Send it after 30s, 5m, 12h or 1d.")
@click.option("--wait", is_flag=True, help="Wait for its run, and show how that ended.")
@click.option(
    "--key", metavar="TEXT", help="Sent once only: the same key is the same job, for a day."
)
@json_option
@pass_session
def send(
    session: Session,
    ref: CharmRef,
    event: str,
    stream: str | None,
    at: float | None,
    after: float | None,
    wait: bool,
    key: str | None,
    as_json: bool,
) -> None:
    """Send an event to a stream of a charm, by default {}, now or later.

    It has to fit the type that the handler gives its event, if any. One that is sent later is
    shown by `charm show`, and taken back by `charm forget`.
    """
    from bg_charm_service.api.responses import SentEvent

    if at is not None and after is not None:
        raise click.UsageError("Give --at or --after, not both.")
    if (wait or key is not None) and (at is not None or after is not None):
        raise click.UsageError("--wait and --key are for an event that is sent now.")
    if key is not None and not (key.isascii() and key.isprintable() and 0 < len(key) <= 255):
        raise click.UsageError("--key: It has 1 to 255 characters of ASCII that can be printed.")

    async def work(client: Any) -> tuple[Any, bool]:
        body = {"stream": stream, "event": read_json(event)}
        when = {name: one for name, one in (("at", at), ("after", after)) if one is not None}
        query = {"wait": "true"} if wait else None
        headers = {"Idempotency-Key": key} if key is not None else None
        path = path_of(ref, "send")
        sent = await client.post(*path, body=body | when, query=query, headers=headers)
        return sent, client.is_online

    response, is_online = session.ask(work)
    sent = response.read(SentEvent)
    if as_json:
        print_json(response.content)
        check_run(sent.run)
        return
    if sent.reminder is not None:
        when = moment(sent.reminder.remind_at)
        needed = "" if is_online else " The service has to run then."
        click.echo(f"It is sent at {when}, as reminder {sent.reminder.name}.{needed}")
        return
    if sent.run is not None:
        print_end(sent.run)
        check_run(sent.run)
        return
    what = "Was sent before, as" if sent.is_repeated else "Sent as"
    later = "" if is_online else " It runs when the service starts."
    later = _HELD_UNTIL.get(sent.waits_for, later)
    click.echo(f"{what} job {sent.job_id}.{later}")


#: What is said of an event that does not run by itself, by what it waits for.
_HELD_UNTIL = {
    "enable": " Its charm is disabled: it runs when that is enabled.",
    "resume": " It is paused: it runs when that is resumed.",
    "sign-in": " Its charm needs a sign-in: it runs after that.",
    "its packages": " Its charm's packages are not there: it runs when they are.",
}


@click.command()
@charm_argument
@click.argument("name")
@pass_session
def forget(session: Session, ref: CharmRef, name: str) -> None:
    """Take back an event that is to be sent later, by the NAME that `charm show` gives it."""
    session.ask(lambda client: client.delete(*path_of(ref, "reminders", name)))
    click.echo(f"Forgot {name}.")


@click.command()
@charm_argument
@pass_session
def enable(session: Session, ref: CharmRef) -> None:
    """Poll a disabled charm again, from now on."""
    session.ask(lambda client: client.post(*path_of(ref, "enable")))
    click.echo("Enabled.")


@click.command()
@charm_argument
@pass_session
def disable(session: Session, ref: CharmRef) -> None:
    """Stop polling a charm until somebody enables it."""
    session.ask(lambda client: client.post(*path_of(ref, "disable")))
    click.echo("Disabled.")


@click.command()
@charm_argument
@click.option("--yes", is_flag=True, help="Do not ask, on a terminal.")
@pass_session
def remove(session: Session, ref: CharmRef, yes: bool) -> None:
    """Remove a charm with its state and history.

    A run under way is stopped and recorded as cancelled; its writes are refused.
    """
    if not yes and sys.stdin.isatty():
        click.confirm(f"Remove {ref.short_name} with its state and history?", abort=True)
    session.ask(lambda client: client.delete(*path_of(ref)))
    click.echo("Removed.")


@click.command()
@charm_argument
@click.argument("seconds", metavar="SECONDS|default", type=SecondsType())
@pass_session
def interval(session: Session, ref: CharmRef, seconds: float | None) -> None:
    """Poll a charm every SECONDS, or by default as its class or the service says."""
    body = {"seconds": seconds}
    session.ask(lambda client: client.put(*path_of(ref, "interval"), body=body))
    every = "as its class or the service says" if seconds is None else f"every {seconds:g} s"
    click.echo(f"Polled {every}.")


@click.command()
@charm_argument
@json_option
@pass_session
def requeue(session: Session, ref: CharmRef, as_json: bool) -> None:
    """Try the dead letters of a charm again, all of them.

    `dead-letters requeue` takes single ones too.
    """
    from bg_charm_service.api.responses import QueuedJob

    response = session.ask(lambda client: client.post(*path_of(ref, "requeue")))
    if as_json:
        print_json(response.content)
    else:
        click.echo(f"Queued again as job {response.read(QueuedJob).job_id}.")


def read_source(file: Path) -> str:
    """Read a charm's source; raises InvalidInput when it is no text, or never ends."""
    try:
        with file.open("rb") as opened:
            source = opened.read(LARGEST_LINE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidInput(f"{file}: cannot be read: {reason}") from None
    if len(source) > LARGEST_LINE_BYTES:
        raise InvalidInput(f"{file}: this is larger than {size_text(LARGEST_LINE_BYTES)}.")
    try:
        text = source.decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"{file}: this is not a text in UTF-8.") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")
