"""Commands about the operator's key."""

from __future__ import annotations

import os
from pathlib import Path

import click

from bg_charm_service.cli.printing import note, print_json
from bg_charm_service.cli.session import Session, json_option, pass_session
from bg_charm_service.cli.usage import OrderedGroup
from bg_charm_service.daemon.operator_identity import operator_identity
from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.identity import Identity


@click.command()
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--mnemonic", is_flag=True, help="Write the key as 24 words.")
@json_option
def new(file: Path | None, mnemonic: bool, as_json: bool) -> None:
    """Make a key and write it to FILE, or print it.

    The file is for its owner only, and never replaces another. IDENTITY=FILE makes the service
    use it.
    """
    identity = Identity.generate()
    text = f"{identity.to_mnemonic()}\n" if mnemonic else identity.to_pem().decode()
    if file is not None:
        _write_secret(file, text)
    if as_json:
        key = {} if file is not None else {"mnemonic" if mnemonic else "pem": text.strip()}
        print_json({"did": identity.did(), **key})
    elif file is not None:
        click.echo(identity.did())
    else:
        click.echo(text, nl=False)
        note(identity.did())


@click.command()
@json_option
@pass_session
def did(session: Session, as_json: bool) -> None:
    """Print the DID that the service acts as: of IDENTITY, or of OPERATOR_PASS."""
    try:
        found = operator_identity(session.settings, os.environ).did()
    except InvalidInput as error:
        raise click.UsageError(str(error)) from None
    if as_json:
        print_json({"did": found})
    else:
        click.echo(found)


def _write_secret(file: Path, text: str) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(file, flags, 0o600), "w") as opened:
            opened.write(text)
    except OSError as error:
        raise InvalidInput(f"{file}: cannot be written: {error.strerror}") from None


identity = OrderedGroup("identity", help="The operator's key.", commands=[new, did])
