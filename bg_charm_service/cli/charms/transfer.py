"""Many charms at once: import from a file of JSON lines, export to one."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from bg_charm_service.cli.charms.changes import LARGEST_LINE_BYTES, read_source
from bg_charm_service.cli.output.json_output import json_option
from bg_charm_service.cli.output.printing import note, print_error, print_json
from bg_charm_service.cli.session import Session, pass_session
from bg_charm_service.domain.errors import Conflict, InvalidInput, NotFound
from bg_charm_service.domain.quantities import size_text

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

    from bg_charm_service.cli.client import Client

#: One request carries at most so many charms, and not many more bytes than this.
BATCH_CHARMS = 500
BATCH_BYTES = 8 * 1024 * 1024


@dataclass(slots=True)
class Batch:
    """Charms for one request, each with the number of its line, and items that come after them."""

    charms: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    items: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    read_bytes: int = 0


@dataclass(slots=True)
class Tally:
    """What became of an import."""

    added: int = 0
    existing: int = 0
    failed: int = 0
    items: int = 0
    charms: list[str] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)

    def fail(self, line: int, error: str) -> None:
        """Note a line that gave no charm."""
        self.failed += 1
        self.errors.append({"line": line, "error": error})


@click.command("import")
@click.argument("file", metavar="FILE.jsonl", type=click.File("rb"))
@json_option
@pass_session
def import_charms(session: Session, file: BinaryIO, as_json: bool) -> None:
    """Add the charms of a file with one JSON object a line.

    - reads standard input.

    \b
    A line: {"file": "counter.py", "space": "demo", "cause": "counter 1",
             "set": {"counter": 5}, "register": true, "integration": "manual"}
    Instead of a "file" to read, the "source" itself may be given. Also known: "class",
    "links" and "writable_links", {FIELD: SPACE/CHARM[/PATH]}, "limits", "interval" in
    seconds, "schedule", {"cron": "0 8 * * *", "time_zone": "Europe/Oslo"}, and "lock".
    Behind the line of a charm there may be lines of its collections:
    {"space": …, "cause": …, "items": {FIELD: {KEY: VALUE}}}. A charm that was there
    already keeps the items that it has.
    """  # noqa: D301 -- as a raw text, click would not know its mark for "do not wrap"
    tally = Tally()
    session.ask(lambda client: _import(client, file, tally), makes_directory=True)
    for problem in tally.errors:
        print_error(f"line {problem['line']}: {problem['error']}")
    for told in tally.notes:
        note(f"line {told['line']}: {told['note']}")
    if as_json:
        print_json(tally)
    else:
        already = f", {tally.existing:,} were there already" if tally.existing else ""
        failed = f", {tally.failed:,} failed" if tally.failed else ""
        items = f", with {tally.items:,} items of collections" if tally.items else ""
        click.echo(f"{tally.added:,} added{items}{already}{failed}.")
    if tally.failed:
        sys.exit(1)


@click.command("export")
@pass_session
def export_charms(session: Session) -> None:
    """Print all charms as lines that `charm import` reads.

    With source, state, collections, links, and what the operator has said of limits and
    schedule; without secrets, history, waiting events and reminders. A backup has everything.
    """

    async def work(client: Client) -> None:
        async for piece in client.pieces("export"):
            click.echo(piece, nl=False)

    session.ask(work)


async def _import(client: Client, file: BinaryIO, tally: Tally) -> None:
    from bg_charm_service.api.responses import Imported

    new: dict[tuple[str, str], tuple[str, str]] = {}
    with _progress(file) as progress:
        for batch in batches(lines_of(file), base_directory(file), tally):
            if batch.charms:
                body = [charm for _, charm in batch.charms]
                response = await client.post("charms", "import", body=body)
                for (line, charm), one in zip(
                    batch.charms, response.read(list[Imported]), strict=True
                ):
                    if one.charm is None:
                        tally.fail(line, one.error or "")
                        continue
                    told = (*one.charm.unmet, *one.charm.notes)
                    tally.notes += [{"line": line, "note": each} for each in told]
                    tally.added += one.charm.created
                    tally.existing += not one.charm.created
                    tally.charms.append(f"{one.charm.space}/{one.charm.charm_id}")
                    if one.charm.created:
                        new[_name_of(charm)] = one.charm.space, one.charm.charm_id
            for line, given in batch.items:
                await _import_items(client, line, given, new, tally)
            progress.update(batch.read_bytes)


async def _import_items(
    client: Client,
    line: int,
    given: dict[str, Any],
    new: Mapping[tuple[str, str], tuple[str, str]],
    tally: Tally,
) -> None:
    """Write the items of a line into its charm, if that is new; `new` has those, by their names."""
    found = new.get(_name_of(given))
    if found is None:
        return
    for name, items in given["items"].items():
        try:
            await client.put("charms", *found, "items", name, body={"items": items})
        except (InvalidInput, NotFound, Conflict) as error:
            tally.fail(line, str(error))
        else:
            tally.items += len(items)


def _name_of(charm: Mapping[str, Any]) -> tuple[str, str]:
    cause = charm.get("cause") or Path(str(charm.get("file", ""))).stem
    return str(charm.get("space")), str(cause)


def lines_of(file: BinaryIO) -> Iterator[bytes]:
    """Give the lines of a file; raises InvalidInput for one that is too long to be a charm."""
    number = 0
    while line := file.readline(LARGEST_LINE_BYTES + 1):
        number += 1
        if len(line) > LARGEST_LINE_BYTES:
            raise InvalidInput(f"line {number}: longer than {size_text(LARGEST_LINE_BYTES)}.")
        yield line


def batches(lines: Iterable[bytes], directory: Path, tally: Tally) -> Iterator[Batch]:
    """Read lines into batches; a line that cannot be read is tallied."""
    sources: dict[str, str] = {}
    batch = Batch()
    content_bytes = 0
    for number, line in enumerate(lines, start=1):
        batch.read_bytes += len(line)
        if line.strip():
            try:
                charm = _read_line(line, directory, sources)
            except InvalidInput as error:
                tally.fail(number, str(error))
            else:
                if batch.items and "items" not in charm:
                    # Charms first, then their items: this one is of the next request.
                    yield batch
                    batch, content_bytes = Batch(), 0
                (batch.items if "items" in charm else batch.charms).append((number, charm))
                content_bytes += len(line) + len(str(charm.get("source", "")))
        if len(batch.charms) == BATCH_CHARMS or content_bytes >= BATCH_BYTES:
            yield batch
            batch = Batch()
            content_bytes = 0
    yield batch


def base_directory(file: BinaryIO) -> Path:
    """Give the directory that files named in an import are looked for in."""
    name = getattr(file, "name", "")
    return Path(name).parent if isinstance(name, str) and name not in ("", "<stdin>") else Path()


def _read_line(line: bytes, directory: Path, sources: dict[str, str]) -> dict[str, Any]:
    try:
        charm = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"this is not JSON: {error}") from None
    if not isinstance(charm, dict):
        raise InvalidInput("this is not a JSON object")
    if "items" in charm:
        items = charm["items"]
        if not isinstance(items, dict) or not all(isinstance(one, dict) for one in items.values()):
            raise InvalidInput("its items are no objects of values by their keys, by field")
        return charm
    name = charm.get("file")
    if not isinstance(name, str):
        return charm
    if "source" not in charm:
        if name not in sources:
            sources[name] = read_source(directory / name)
        charm["source"] = sources[name]
    charm["file"] = Path(name).name
    return charm


def _progress(file: BinaryIO) -> ProgressBar[int]:
    """Make a bar of the bytes read; it shows on a terminal only, and for a file only."""
    path = Path(str(getattr(file, "name", "")))
    size = path.stat().st_size if path.is_file() else 0
    hidden = not size or not sys.stderr.isatty()
    return click.progressbar(length=size, label="Importing", file=sys.stderr, hidden=hidden)
