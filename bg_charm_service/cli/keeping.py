"""Commands that keep the data safe: backup, restore and doctor."""

from __future__ import annotations

from pathlib import Path

import click

from bg_charm_service.cli.printing import note, print_json, print_text
from bg_charm_service.cli.session import Session, json_option, pass_session
from bg_charm_service.cli.wording import file_size


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
@pass_session
def backup(session: Session, file: Path, as_json: bool) -> None:
    """Copy everything into FILE, while the service runs or not, and verify it.

    An older backup in FILE is replaced, any other file is not. Secrets in it stay encrypted.
    """
    from bg_charm_service.backup_files import BackupFile

    body = {"path": str(file.absolute())}
    answer = session.ask(lambda client: client.post("backups", body=body))
    if as_json:
        print_json(answer.content)
        return
    made = answer.read(BackupFile)
    print_text(f"Backup made and verified: {made.path}, {file_size(made.size_bytes)}")


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--force", is_flag=True, help="Replace the database that is there, and keep it aside."
)
@json_option
@pass_session
def restore(session: Session, file: Path, force: bool, as_json: bool) -> None:
    """Make the backup FILE the data of this directory, while no service runs.

    Both are checked; jobs that were under way at the backup run again at the next start.
    """
    from bg_charm_service.restoring import restore_backup

    settings = session.settings
    if settings.service_url is not None:
        raise click.UsageError("restore works on a directory of this machine: leave --url out.")
    done = restore_backup(file.absolute(), settings.data_dir, force=force)
    if as_json:
        print_json(done)
        return
    print_text(f"Restored {file} to {done.database}")
    if done.kept_aside is not None:
        note(f"The database that was there is kept as {done.kept_aside}")
