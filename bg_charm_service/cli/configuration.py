"""Commands about the configuration: what counts and where it comes from, and what is wrong with it.

Nothing is started or opened by them, and no rule lives here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from bg_charm_service.cli.output.json_output import json_option
from bg_charm_service.cli.output.printing import note, print_error, print_json, print_text
from bg_charm_service.cli.session import Session, pass_session
from bg_charm_service.cli.usage import OrderedGroup
from bg_charm_service.daemon.settings import SETTINGS, Setting, SourceKind

#: What stands where a secret would.
_HIDDEN = "..."

#: A value that is longer moves what stands behind it.
_VALUE_CHARACTERS = 32

#: Not a setting, so that no object holds it; people look for it here all the same.
_PASSPHRASE = "OPERATOR_PASS"


@click.command()
@click.option("--toml", "as_toml", is_flag=True, help="Print a file that gives these settings.")
@json_option
@pass_session
def show(session: Session, as_toml: bool, as_json: bool) -> None:
    """Show each setting, its value, and where that comes from.

    That is a flag, a variable, the file, or the default. Secrets are not shown.
    """
    from bg_charm_service.daemon.config_text import config_text

    found = session.configuration
    if as_toml:
        given = {name: getattr(found.settings, name) for name in found.given}
        click.echo(config_text(given), nl=False)
        return
    rows = [_row(session, setting) for setting in SETTINGS if setting.name != "config_file"]
    if os.environ.get(_PASSPHRASE):
        rows.append(_Row("operator_pass", _HIDDEN, SourceKind.ENVIRONMENT, _PASSPHRASE))
    if as_json:
        members = ("name", "value", "source", "from")
        settings = [
            dict(zip(members, (r.name, r.value, r.kind, r.place), strict=True)) for r in rows
        ]
        print_json({"file": str(found.file) if found.file else None, "settings": settings})
        return
    # Nothing is cut or wrapped: these are looked for, and copied.
    names = max(len(row.name) for row in rows)
    for row in rows:
        print_text(f"{row.name:{names}}  {row.shown:{_VALUE_CHARACTERS}}  {row.place or row.kind}")
    note(f"The configuration file is {found.file}." if found.file else "No configuration file.")


class _Row:
    """One setting as it is shown; `place` is empty for a default."""

    def __init__(
        self, name: str, value: object, kind: SourceKind, place: str, shown: str = ""
    ) -> None:
        self.name = name
        self.value = value
        self.kind = kind
        self.place = place
        self.shown = shown or str(value)


def _row(session: Session, setting: Setting) -> _Row:
    from bg_charm_service.daemon.config_text import toml_value

    found = session.configuration
    value = setting.shown(getattr(found.settings, setting.name))
    given = found.given.get(setting.name)
    kind = given.kind if given is not None else SourceKind.DEFAULT
    place = given.name if given is not None else ""
    if kind is SourceKind.FILE:
        place = f"{found.file}: {place}"
    if value is None:
        return _Row(setting.name, None, kind, place, shown="-")
    if setting.is_secret:
        return _Row(setting.name, _HIDDEN, kind, place)
    return _Row(setting.name, _json_value(value), kind, place, shown=toml_value(setting, value))


def _json_value(value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    return value if isinstance(value, bool | int | float) else str(value)


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@json_option
@pass_session
def check(session: Session, file: Path | None, as_json: bool) -> None:
    """Say what a start would find wrong, in FILE or the file that counts, and in the environment.

    Nothing is started. Exit code: 0 nothing is wrong, 2 something is; all of it is told.
    """
    from bg_charm_service.daemon.start_checks import check_start

    flags = dict(session.flags)
    if file is not None:
        flags["config_file"] = file.absolute()
    path, problems = check_start(flags, os.environ)
    if as_json:
        answer: dict[str, Any] = {"file": str(path) if path else None, "problems": problems}
        print_json(answer)
    else:
        for problem in problems:
            print_error(problem)
        if not problems:
            print_text(f"Nothing is wrong with {path}." if path else "Nothing is wrong; no file.")
    if problems:
        raise click.exceptions.Exit(2)


config = OrderedGroup(
    "config", help="The configuration: what counts, and what is wrong.", commands=[show, check]
)
