"""Commands that keep the data safe: backup, restore and doctor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bg_charm_service.cli.output.formatting import file_size
from bg_charm_service.cli.output.json_output import json_option
from bg_charm_service.cli.output.printing import coloured, note, print_json, print_line, print_text
from bg_charm_service.cli.session import Session, pass_session, typeable
from bg_charm_service.storage.records import Finding, Severity

if TYPE_CHECKING:
    from bg_charm_service.service.maintenance.health_checks import Report

#: 1 and 2 mean the same as with every command: it failed; it was called wrongly.
_CODES = {Severity.NOTE: 0, Severity.WARNING: 3, Severity.ERROR: 4}
_COLOURS = {Severity.NOTE: "blue", Severity.WARNING: "yellow", Severity.ERROR: "red"}


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
@pass_session
def backup(session: Session, file: Path, as_json: bool) -> None:
    """Copy everything into FILE, while the service runs or not, and verify it.

    The service writes FILE itself where it may, else it sends it to this command, which does.
    An older backup in FILE is replaced, any other file is not. Secrets in it stay encrypted.
    """
    from bg_charm_service.cli.backup_file import make_backup

    _refuse_shared_database(session, "backup", "make one by `pg_dump --format=custom`")

    made = make_backup(session, file.absolute())
    if as_json:
        print_json(made)
        return
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
    from bg_charm_service.storage.engines import restore_backup

    settings = session.settings
    _refuse_shared_database(session, "restore", "let `pg_restore` do it while no node runs")
    if settings.service_url is not None:
        raise click.UsageError(
            "restore works on a directory of this machine: leave --url out, or service_url of "
            "the configuration file."
        )
    done = restore_backup(file.absolute(), settings.data_dir, force=force)
    if as_json:
        print_json(done)
        return
    print_text(f"Restored {file} to {done.database}")
    if done.kept_aside is not None:
        note(f"The database that was there is kept as {done.kept_aside}")
    _print_findings(done.findings)
    _exit_by_severity(done.findings)


@click.command()
@click.option("--repair", is_flag=True, help="Mend what is safe to mend.")
@click.option("--full", is_flag=True, help="Read every page, of a directory that no service has.")
@json_option
@pass_session
def doctor(session: Session, repair: bool, full: bool, as_json: bool) -> None:
    """Check what must always hold of the data, while the service runs or not.

    A running service has its newest backup read from end to end, a stopped one's database is
    with --full. Exit code: 0 nothing but notes, 3 warnings, 4 errors; what was repaired does not
    count.
    """
    report = _report(session, repair=repair, is_full=full)
    if as_json:
        print_json(report)
    else:
        _print_findings(report.findings)
        if report.checked_file is not None:
            note(f"Every page of {report.checked_file} was read.")
    _exit_by_severity(report.findings)


def _report(session: Session, *, repair: bool, is_full: bool) -> Report:
    """Ask the service that runs, or else look into its directory."""
    import asyncio

    from bg_charm_service.cli.client import connect_if_running
    from bg_charm_service.service.maintenance.health_checks import Report
    from bg_charm_service.service.maintenance.offline_check import examine_stopped

    async def ask() -> Report | None:
        async with connect_if_running(session.settings) as client:
            if client is None:
                return None
            if is_full:
                raise click.UsageError(
                    "--full reads the database of a directory that no service has open. Of a "
                    "running service the newest backup is read, also without it."
                )
            response = await (client.post("doctor") if repair else client.get("doctor"))
            return response.read(Report)

    asked = asyncio.run(ask())
    if asked is not None:
        return asked
    _refuse_shared_database(session, "doctor of a stopped service", "start a node, and ask that")
    return examine_stopped(session.settings.data_dir, repair=repair, is_full=is_full)


def _refuse_shared_database(session: Session, what: str, instead: str) -> None:
    """Refuse what works on the file of a database, and say what to use; raises UsageError."""
    if session.settings.database is not None and session.settings.service_url is None:
        raise click.UsageError(
            f"{what} works on the file of a data directory, and --database has none: {instead}. "
            "See docs/scaling.md."
        )


def _print_findings(findings: Sequence[Finding]) -> None:
    for one in findings:
        after = ""
        if one.repaired:
            after = " (repaired)"
        elif one.repairable:
            after = " (--repair mends it)"
        colour = _COLOURS[one.severity] if not one.repaired else "green"
        text = typeable(f"{one.check}: {one.text}{after}")
        print_line(coloured(f"{one.severity:7}", colour), text)
    if not findings:
        print_text("All is well.")


def _exit_by_severity(findings: Sequence[Finding]) -> None:
    left = {one.severity for one in findings if not one.repaired}
    code = max((_CODES[severity] for severity in left), default=0)
    if code:
        raise click.exceptions.Exit(code)
