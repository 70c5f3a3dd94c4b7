"""The lease of a database: which of its nodes is active.

It is an advisory lock of a session of the server. The server ends the session when nothing is heard
of it for the time of the lease, and the lock with it: losing the lease, and not being able to
commit any more, are one event, by one clock. The active node does everything through that very
session. Each holder has an epoch, a number that grows, which each commit checks once more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psycopg

from bg_charm_service.domain.errors import DatabaseUnusable, LeaseLost
from bg_charm_service.storage.node_contract import Holder
from bg_charm_service.storage.postgres.server import (
    PATIENCE,
    DatabaseAddress,
    SessionConnection,
    Watch,
    open_session,
    set_limits,
    steady,
)

#: The lock: of this service, for all of the database. Other databases of the server have their own.
_LOCK = (77, 0)

#: So often in the time of a lease the server is asked something, if nobody else does.
_ASKED = 5

#: And so often it is looked whether it has answered.
_LOOKS = 20

#: Of the time of the lease, so much may pass without an answer before the lease counts as lost:
#: sooner than the server ends the session, so that nobody else is active yet.
_SILENCE = 0.9

_MAKE_TABLE = """\
CREATE TABLE IF NOT EXISTS node_lease (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch bigint NOT NULL,
    node text NOT NULL,
    since timestamptz NOT NULL
)"""

_TAKE = """\
INSERT INTO node_lease (epoch, node, since) VALUES (1, %s, now())
ON CONFLICT (only_row) DO UPDATE
    SET epoch = node_lease.epoch + 1, node = excluded.node, since = excluded.since
RETURNING epoch, extract(epoch FROM since)::float8"""


class Lease:
    """The lease, held; `connection` is the session that holds it, and all goes through that one.

    It is kept by a thread of its own, so that a loop that is busy for a while does not lose it.
    Once it is lost it stays so: `on_loss` is called, by whatever thread finds out, with a reason.
    Until `begin` a statement may take as long as it wants: opening a database is such work.
    """

    def __init__(
        self,
        connection: SessionConnection,
        holder: Holder,
        lease_seconds: float,
        on_loss: Callable[[str], None],
    ) -> None:
        self.connection = connection
        self.holder = holder
        #: Why it was lost; empty while it is held.
        self.lost = ""
        self._seconds = lease_seconds
        self._on_loss = on_loss
        self._turn = threading.Lock()
        self._is_closed = False
        connection.on_end = self._ended
        set_limits(connection, statement_timeout=0)
        self._watches = [Watch(lease_seconds / _ASKED, self._keep)]

    def begin(self) -> None:
        """Lose the lease from now on when the server does not answer, sooner than it says so."""
        set_limits(self.connection, statement_timeout=int(self._seconds * PATIENCE * 1000))
        self._watches.append(Watch(self._seconds / _LOOKS, self._look))

    def fence(self) -> None:
        """Refuse a commit of a node that lost the lease; inside the transaction, as its last part.

        Raises LeaseLost. Nobody can take the lease between this and the end of the transaction.
        """
        if self.lost:
            raise LeaseLost(self.lost)
        if not is_newest(self.connection, self.holder.epoch):
            self._lose("another node took it")
            raise LeaseLost(self.lost)

    def close(self) -> None:
        """Give the lease up, at once; closing twice is fine."""
        self._is_closed = True
        for watch in self._watches:
            watch.close()
        self.connection.close()

    def _keep(self) -> None:
        """Let the server hear of this session, if nobody else did."""
        line = self.connection
        is_quiet = steady() - line.answered_at >= self._seconds / _ASKED and not line.asked_at
        # What is sent in a pipeline is answered when its sender looks.
        if not is_quiet or line.pgconn.pipeline_status:
            return
        try:
            line.execute("SELECT 1")
        except psycopg.Error:
            # Of a transaction that failed the server says so, which is an answer too; of a session
            # that is over the connection has told already.
            return

    def _look(self) -> None:
        silent_seconds = steady() - self.connection.answered_at
        if silent_seconds > self._seconds * _SILENCE:
            self._lose(f"the database has not answered for {silent_seconds:.1f} s")
            self.connection.give_up()

    def _ended(self, reason: str) -> None:
        self._lose(f"the database ended its session ({reason})")

    def _lose(self, reason: str) -> None:
        with self._turn:
            if self.lost or self._is_closed:
                return
            self.lost = reason
        self._on_loss(reason)


class Candidate:
    """A node that wants the lease: each `ask` is one try."""

    def __init__(self, address: DatabaseAddress, node: str, lease_seconds: float) -> None:
        self.address = address
        self.node = node
        self.lease_seconds = lease_seconds
        self._session: SessionConnection | None = None
        self._watch = Watch(lease_seconds / _LOOKS, self._look)

    @property
    def shown(self) -> str:
        return self.address.shown

    def ask(self, on_loss: Callable[[str], None]) -> Lease | Holder:
        """Take the lease, or say who has it; `on_loss` is told when it is lost later.

        Raises DatabaseUnusable, and InvalidInput for an address that is none. May be asked again
        after each.
        """
        if self._session is None or self._session.is_over:
            self._session = open_session(self.address, self.lease_seconds)
        try:
            is_taken, holder = self._take(self._session)
            if not is_taken:
                return holder
            session, self._session = self._session, None
            return Lease(session, holder, self.lease_seconds, on_loss)
        except psycopg.Error as error:
            if self._session is not None:
                self._session.close()
            reason = str(error).strip().partition("\n")[0]
            raise DatabaseUnusable(
                f"The database {self.address.shown} cannot be used: {reason}."
            ) from None

    def close(self) -> None:
        """Want it no more; closing twice is fine."""
        self._watch.close()
        if self._session is not None:
            self._session.close()
            self._session = None

    def _take(self, session: SessionConnection) -> tuple[bool, Holder]:
        """Try to; says whether it is this node's now, and who has it."""
        if not _value(session, "SELECT pg_try_advisory_lock(%s, %s)", _LOCK):
            if _value(session, "SELECT to_regclass('node_lease') IS NULL"):
                # Its first node is about to say who it is.
                return False, Holder()
            row = session.execute(
                "SELECT node, extract(epoch FROM since)::float8, epoch FROM node_lease"
            ).fetchone()
            return False, Holder(*row) if row is not None else Holder()
        session.execute(_MAKE_TABLE)
        row = session.execute(_TAKE, (self.node,)).fetchone()
        assert row is not None
        epoch, since = row
        return True, Holder(self.node, since, epoch)

    def _look(self) -> None:
        session = self._session
        if session is None:
            return
        asked_at = session.asked_at
        if asked_at and steady() - asked_at > self.lease_seconds * PATIENCE:
            session.give_up()


def is_newest(connection: psycopg.Connection[Any], epoch: int) -> bool:
    """Whether nobody took the lease after this epoch; nobody can until the transaction ends."""
    row = connection.execute(
        "SELECT 1 FROM node_lease WHERE epoch = %s FOR SHARE", (epoch,)
    ).fetchone()
    return row is not None


def _value(session: SessionConnection, sql: str, parameters: tuple[Any, ...] = ()) -> Any:
    row = session.execute(sql, parameters).fetchone()
    assert row is not None
    return row[0]
