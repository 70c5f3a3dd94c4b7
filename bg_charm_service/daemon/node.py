"""A node of a database that several share: it waits until it is the active one, and says so.

While it waits it answers that it stands by, on its socket and its ports, and does nothing else.
Once it is active, it is so until it ends: when the lease is lost, the process ends at once, with
its workers, and whatever started it starts it again, as a node that remembers nothing. See
docs/decisions/0098-the-lease.md. Called by the daemon, and by commands while no service runs.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

from loguru import logger

from bg_charm_service.api.connections import ConnectionLimits
from bg_charm_service.api.server import serve
from bg_charm_service.api.standby import StandbyApp
from bg_charm_service.daemon.ports import open_ports
from bg_charm_service.daemon.settings import Settings
from bg_charm_service.daemon.systemd import notify, watchdog_interval_seconds
from bg_charm_service.domain.errors import Conflict, DatabaseUnusable, InvalidInput
from bg_charm_service.storage import engines
from bg_charm_service.storage.data_directory import DataDirectory
from bg_charm_service.storage.node_contract import Candidate, Holder, Lease

#: What the process ends with when it lost the lease: another failure than a start that is refused.
LEASE_LOST = 75

#: So often in the time of a lease a waiting node asks for it, and at least so often, in seconds.
_ASKS = 10
_LONGEST_WAIT_SECONDS = 0.5

#: How long the line about a lost lease may take to be written, in seconds.
_LAST_WORDS_SECONDS = 0.5

#: Clocks may differ by so much, in seconds, since charms may be due as much sooner or later.
_CLOCK_SECONDS = 5.0

#: A file with a password is not larger, in bytes.
_MOST_BYTES = 4096


@asynccontextmanager
async def active_node(settings: Settings) -> AsyncIterator[Lease | None]:
    """Wait until this node is the active one, and be it; None where no database is shared.

    Raises what a start is refused with: DatabaseUnusable, InvalidInput, and what ports and data
    directory raise. A database that fails while the node waits is waited for.
    """
    if settings.database is None:
        yield None
        return
    _refuse_backups(settings)
    with closing(make_candidate(settings)) as node:
        found = await asyncio.to_thread(node.ask, _end_without_lease)
        if isinstance(found, Holder):
            found = await _stand_by(settings, node, found)
        holder = found.holder
        logger.bind(event="active", node=holder.node, epoch=holder.epoch).info(
            "This node, {}, is the active one of {} (epoch {})",
            holder.node,
            node.shown,
            holder.epoch,
        )
    _warn_of_clock(time.time() - holder.since)
    with closing(found):
        yield found


def check_database(settings: Settings) -> None:
    """Raise what a start would refuse of the settings of a shared database; nobody is asked."""
    if settings.database is not None:
        _refuse_backups(settings)
        make_candidate(settings).close()


@contextmanager
def lease_of_a_command(settings: Settings) -> Iterator[Lease | None]:
    """Hold the lease for a command while no node is active; None where no database is shared.

    Raises Conflict when a node is active, DatabaseUnusable and InvalidInput.
    """
    if settings.database is None:
        yield None
        return
    with closing(make_candidate(settings)) as node:
        found = node.ask(lambda reason: None)
        if isinstance(found, Holder):
            raise Conflict(
                f"{node.shown} is in use: {_told(found)}. Run this on the machine of that node, "
                "or name its address with --url and a token."
            )
    with closing(found):
        yield found


def make_candidate(settings: Settings) -> Candidate:
    """Make a node of the database of the settings; raises InvalidInput, DatabaseUnusable."""
    assert settings.database is not None
    name = f"{socket.gethostname()}/{os.getpid()}"
    return engines.candidate(
        settings.database, _password(settings.database_password_file), name, settings.lease_seconds
    )


def _refuse_backups(settings: Settings) -> None:
    if settings.backup_every_seconds is not None:
        raise InvalidInput(
            "--backup-every copies a file, and --database has none: let the server make backups, "
            "by pg_dump or an archive of its log (docs/scaling.md)."
        )


async def _stand_by(settings: Settings, node: Candidate, holder: Holder) -> Lease:
    """Ask for the lease until it is this node's, and answer meanwhile."""
    app = StandbyApp()
    app.tell(holder, f"This node stands by: {_told(holder)}")
    logger.bind(event="standing_by", node=holder.node, epoch=holder.epoch).info(
        "Standing by for {}: {}", node.shown, _told(holder)
    )
    # Whoever reaches the ports learns nothing that takes a token.
    with (
        DataDirectory.open(settings.data_dir) as directory,
        open_ports(settings, has_token=True) as ports,
    ):
        limits = ConnectionLimits(settings.max_connections, settings.max_per_peer)
        async with serve(app, directory.socket_path, ports.sockets, limits):
            notify(READY=1, STATUS="standing by")
            feeding = asyncio.create_task(_feed_watchdog())
            try:
                return await _wait_for_lease(settings, node, app)
            finally:
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)


async def _wait_for_lease(settings: Settings, node: Candidate, app: StandbyApp) -> Lease:
    pause_seconds = min(settings.lease_seconds / _ASKS, _LONGEST_WAIT_SECONDS)
    problem = ""
    while True:
        await asyncio.sleep(pause_seconds)
        try:
            # Elsewhere, because a server that does not answer must not keep others waiting here.
            found = await asyncio.to_thread(node.ask, _end_without_lease)
        except DatabaseUnusable as error:
            if str(error) != problem:
                problem = str(error)
                logger.bind(event="database_away").warning("{} It is asked again", problem)
            continue
        if problem:
            problem = ""
            logger.bind(event="database_back").info("{} answers again", node.shown)
        if not isinstance(found, Holder):
            return found
        if found != app.holder:
            logger.bind(event="holder_changed", node=found.node, epoch=found.epoch).info(
                "Standing by: {}", _told(found)
            )
        app.tell(found, f"This node stands by: {_told(found)}")


async def _feed_watchdog() -> None:
    interval_seconds = watchdog_interval_seconds()
    while interval_seconds is not None:
        notify(WATCHDOG=1)
        await asyncio.sleep(interval_seconds)


def _end_without_lease(reason: str) -> None:
    """End this process, whatever it is doing: another node may be active by now.

    No part of it is asked to do anything, since any may be what waits for the database. Workers end
    with it, as they do after `kill -9`.
    """
    words = threading.Thread(target=_say_why, args=(reason,), daemon=True)
    words.start()
    words.join(_LAST_WORDS_SECONDS)
    os._exit(LEASE_LOST)


def _say_why(reason: str) -> None:
    logger.bind(event="lease_lost").error(
        "This node is not the active one any more: {}. It ends at once; what its runs had not "
        "stored yet runs again. Started again, it stands by",
        reason,
    )


def _warn_of_clock(ahead_seconds: float) -> None:
    """Say it where this machine's clock is not the database's: by it charms are due."""
    if abs(ahead_seconds) > _CLOCK_SECONDS:
        logger.bind(event="clock_differs").warning(
            "The clock of this machine is {:.0f} s {} that of the database: charms are due by it. "
            "Let both be set by NTP",
            abs(ahead_seconds),
            "ahead of" if ahead_seconds > 0 else "behind",
        )


def _told(holder: Holder) -> str:
    if not holder.node:
        return "another node is about to be active"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder.since))
    return f"{holder.node} is active since {since}"


def _password(file: Path | None) -> str | None:
    """Read the password from its file, without the end of its line; raises InvalidInput."""
    if file is None:
        return None
    source = "--database-password"
    try:
        with file.expanduser().open("rb") as opened:
            content = opened.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InvalidInput(f"{source}: the file cannot be read: {error.strerror}.") from None
    try:
        text = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        text = ""
    if not text or len(content) > _MOST_BYTES or not text.isprintable():
        raise InvalidInput(f"{source}: expected a file with the password on one line.")
    return text
