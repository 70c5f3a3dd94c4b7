"""Commands about the operator's key."""

from __future__ import annotations

import os
from pathlib import Path

import click

from bg_charm_service.cli.key_rotation import rotate
from bg_charm_service.cli.output.json_output import json_option
from bg_charm_service.cli.output.printing import note, print_json
from bg_charm_service.cli.session import Session, pass_session
from bg_charm_service.cli.usage import OrderedGroup
from bg_charm_service.daemon.key_rotation import write_key
from bg_charm_service.daemon.operator_identity import operator_identity
from bg_charm_service.domain.errors import InvalidInput
from bg_charm_service.domain.identity import DEFAULT_PASSPHRASE, Identity


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
        write_key(file, text)
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
    """Print the DID that the service acts as.

    That of the service that runs, unless IDENTITY or OPERATOR_PASS is set for this command: then,
    and while none runs, the DID that a service would act as when it is started like this command.
    """
    found = _did_of_service(session)
    is_asked = found is not None
    if found is None:
        try:
            found = operator_identity(session.settings, os.environ).did()
        except InvalidInput as error:
            raise click.UsageError(str(error)) from None
    if as_json:
        print_json({"did": found})
        return
    click.echo(found)
    if not is_asked and found == Identity.from_passphrase(DEFAULT_PASSPHRASE).did():
        note(f"The public default: no service runs in {session.settings.data_dir}, and no key.")


def _did_of_service(session: Session) -> str | None:
    """Ask the service that runs, unless this command was given a key of its own."""
    import asyncio

    from bg_charm_service.cli.client import connect_if_running
    from bg_charm_service.service.status.views import ServiceStatus

    if any(os.environ.get(name) for name in ("IDENTITY", "OPERATOR_PASS")):
        return None

    async def ask() -> str | None:
        async with connect_if_running(session.settings) as client:
            if client is None:
                return None
            return (await client.get("status")).read(ServiceStatus).operator

    return asyncio.run(ask())


identity = OrderedGroup("identity", help="The operator's key.", commands=[new, did, rotate])
