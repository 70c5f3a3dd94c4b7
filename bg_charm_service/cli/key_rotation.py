"""The command that replaces the operator's key, and the order in which it does so.

The files are the business of `daemon.key_rotation`, which says what a kill leaves; the database is
that of the service, which is asked over its socket, or opened.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bg_charm_service.cli.output.error_output import one_line_errors
from bg_charm_service.cli.output.json_output import json_option
from bg_charm_service.cli.output.printing import note, print_json, print_text
from bg_charm_service.cli.session import Session, pass_session
from bg_charm_service.daemon.key_rotation import ready_key, take_place, write_key
from bg_charm_service.daemon.operator_identity import (
    identity_of_file,
    key_file,
    operator_identity,
)
from bg_charm_service.domain.errors import Conflict, InvalidInput
from bg_charm_service.domain.identity import Identity, rotation_text

if TYPE_CHECKING:
    from bg_charm_service.cli.client import Client


@click.command()
@click.option(
    "--to",
    "target",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Take the key in FILE, which is made where there is none, and leave IDENTITY alone.",
)
@json_option
@pass_session
def rotate(session: Session, target: Path | None, as_json: bool) -> None:
    """Give all that the operator owns to a new key, while the service runs or not.

    The file of IDENTITY gets the new key; the old one is kept beside it, for backups that were
    made before. Killed at any moment, the same command goes on where it was.
    """
    settings = session.settings
    if settings.service_url is not None:
        raise click.UsageError(
            "identity rotate is done on the service's own machine, not by --url."
        )
    is_in_place = target is None
    file = key_file(settings) if target is None else target
    if file is None:
        raise click.UsageError(
            "The operator's key is in no file: it comes from OPERATOR_PASS, or is the default. "
            "--to FILE gives all to the key in FILE; start the service with IDENTITY=FILE then."
        )
    old = operator_identity(settings, os.environ)
    new = ready_key(file) if is_in_place else _key_in(file)
    _apart_from_root(
        settings.data_dir, lambda: _hand_over(session, old, new, is_in_place=is_in_place)
    )
    kept = _kept(file, new) if is_in_place else None
    _told(old, new, file, kept, as_json=as_json)


def _key_in(file: Path) -> Identity:
    # False for what can be no name at all, too: writing says so then.
    if not os.path.exists(file):
        write_key(file, Identity.generate().to_pem().decode())
    return identity_of_file(file)


def _kept(file: Path, new: Identity) -> Path | None:
    """Give the new key its place; None where opening the directory has done so already."""
    if identity_of_file(file).did() == new.did():
        return None
    try:
        return take_place(file)
    except OSError as error:
        raise InvalidInput(
            f"The data belong to the key in {file}.next now, which cannot be moved to {file}: "
            f"{error.strerror}. Move it there, and keep the old one for backups made before."
        ) from None


def _hand_over(session: Session, old: Identity, new: Identity, *, is_in_place: bool) -> None:
    """Have the service, or the directory, belong to the new key; once it does, nothing is done."""

    async def ask(client: Client) -> None:
        from bg_charm_service.service.status.views import ServiceStatus

        operator = (await client.get("status")).read(ServiceStatus).operator
        if operator == new.did():
            return
        if is_in_place and operator != old.did():
            raise Conflict(
                f"The service acts as {operator}, and the key of IDENTITY is that of {old.did()}: "
                "give this command the IDENTITY that the service has."
            )
        proof = new.sign(rotation_text(operator, new.did())).hex()
        await client.post("identity", body={"did": new.did(), "proof": proof})

    session.ask(ask)


def _apart_from_root(data_dir: Path, work: Callable[[], None]) -> None:
    """Do work by which root becomes the owner of the data directory, for good, in a child.

    This process stays root, who can give the key's file its place.
    """
    if os.geteuid() != 0 or not data_dir.exists() or data_dir.stat().st_uid == 0:
        work()
        return
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with one_line_errors():
                work()
            code = 0
        except click.ClickException as error:
            error.show()
        finally:
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if status:
        raise click.exceptions.Exit(1)


def _told(old: Identity, new: Identity, file: Path, kept: Path | None, *, as_json: bool) -> None:
    if as_json:
        print_json({"did": new.did(), "file": str(file), "kept": str(kept) if kept else None})
        return
    print_text(new.did())
    note(f"The data belong to the key in {file} now, and no longer to {old.did()}.")
    if kept is not None:
        note(f"Its key is kept as {kept}: backups that were made before open with that one only.")
    else:
        note("Keep the old key: backups that were made before open with that one only.")
