"""What commands print: JSON for programs, aligned tables and facts of at most 100 columns.

Colours only add to what the words say. A library is imported when it is needed, not before.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import click

from bg_charm_service.cli.output.formatting import short_line, visible
from bg_charm_service.cli.session import typeable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

#: No line drawn here is wider, and lines that go elsewhere than to a terminal are no narrower.
WIDTH = 100

#: Columns that are never cut: what people copy from (an id has so many characters), and how it is.
_WHOLE = {"CHARM": 59, "STATUS": 8}

#: Names of things may be long: so wide their column is at the most, and they go on below.
_NAMES_WIDTH = 40

#: Columns of numbers stand to the right.
_NUMBERS = frozenset({"RUNS", "DURATION", "CHARMS", "SUCCESS", "AGE", "MEMORY", "JOB", "TRY"})


def print_json(value: object) -> None:
    """Print a value as indented JSON; bytes are JSON already."""
    import msgspec

    content = value if isinstance(value, bytes) else msgspec.json.encode(value)
    click.echo(msgspec.json.format(content, indent=2))


def print_text(text: str) -> None:
    """Print somebody's text as it is, but for control characters."""
    click.echo(visible(text))


def print_error(text: str) -> None:
    """Print the one line that says what went wrong."""
    click.echo(f"Error: {typeable(short_line(text))}", err=True)


def note(text: str) -> None:
    """Say something beside the result, where it is not taken for a part of it."""
    click.echo(visible(typeable(text)), err=True)


def print_line(*parts: str | Text) -> None:
    """Print texts and coloured cells on one line."""
    from rich.text import Text

    line = Text("  ").join(Text(visible(each)) if isinstance(each, str) else each for each in parts)
    _console().print(line, soft_wrap=True)


def coloured(text: str, style: str) -> Text:
    """Give a cell in a colour."""
    from rich.text import Text

    return Text(visible(text), style=style)


def print_facts(facts: Iterable[tuple[str, Any]]) -> None:
    """Print names and values in two columns; long values go on below themselves."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(name, _cell(value))
    _draw(table)


def print_table(
    headings: Sequence[str],
    rows: Iterable[Sequence[Any]],
    notes: Sequence[Text | None] = (),
) -> None:
    """Print rows in columns; what does not fit is cut, but never an id.

    Each row may have a note, which stands below it and takes no column's room.
    """
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        table.add_column(
            heading,
            justify="right" if heading in _NUMBERS else "left",
            no_wrap=True,
            min_width=_WHOLE.get(heading),
        )
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    _draw(table, dict(enumerate(notes, start=1)))


def print_named(headings: tuple[str, str], rows: Sequence[tuple[str, str]]) -> None:
    """Print values by their names: a name is never cut, a value is where it does not fit."""
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    names = [visible(name) for name, _ in rows]
    width = min(max(map(cell_len, (headings[0], *names))), _NAMES_WIDTH)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(headings[0], width=width, overflow="fold")
    table.add_column(headings[1], no_wrap=True)
    room = max(1, _console().width - width - 2)
    for name, (_, value) in zip(names, rows, strict=True):
        # Rich would take as much from the names as from what is long.
        text = Text(visible(value))
        text.truncate(room, overflow="ellipsis")
        table.add_row(name, text)
    _draw(table)


def _draw(table: Table, notes: Mapping[int, Text | None] = MappingProxyType({})) -> None:
    """Draw a table, and below some of its lines, by their numbers, a note."""
    console = _console()
    with console.capture() as drawn:
        console.print(table)
    for number, line in enumerate(drawn.get().splitlines()):
        # Tables are filled up with spaces, which nobody wants to copy.
        click.echo(line.rstrip())
        below = notes.get(number)
        if below is not None:
            with console.capture() as drawn_below:
                console.print(below, no_wrap=True, overflow="ellipsis")
            click.echo(drawn_below.get().rstrip())


def _console() -> Console:
    from rich.console import Console

    console = Console(markup=False, emoji=False, highlight=False)
    console.width = min(console.width, WIDTH) if sys.stdout.isatty() else WIDTH
    return console


def _cell(value: Any) -> Any:
    return visible(value) if isinstance(value, str) else value
