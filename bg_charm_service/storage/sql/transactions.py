"""Transactions that join, savepoints, and who is called around them: the same in every database.

An engine's database brings the statements, and its commits. Nothing here knows a driver.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Protocol

from bg_charm_service.domain.errors import ChangeInDoubt, StorageError, StorageFull
from bg_charm_service.storage.sql.plain_polls import PlainPolls
from bg_charm_service.storage.sql.sole_writer import SoleWriter


class Commits(Protocol):
    """Makes the commits of one connection."""

    def begin(self) -> None:
        """Begin a transaction that may write."""

    @property
    def has_changes(self) -> bool:
        """Whether the transaction that is open has changed a row."""

    def make(self) -> bool:
        """Commit; says whether a row was changed."""

    def check(self) -> None:
        """Raise CommitInDoubt after a commit that nobody can tell of."""


class Transactions(ABC):
    """The transactions of a connection in autocommit mode."""

    #: What the driver raises.
    driver_error: type[Exception]

    def __init__(self, commits: Commits, failures: StorageErrors) -> None:
        #: So many transactions have written something.
        self.commits = 0
        self._depth = 0
        self._commits = commits
        #: Takes back what was remembered in the transaction that is open, the newest last.
        self._on_rollback: list[Callable[[], None]] = []
        #: What may be remembered because nobody else writes.
        self.sole_writer = SoleWriter(commits, PlainPolls(self.on_rollback))
        #: Kept as keys, in order, so that asking twice gives one call.
        self._before_commit: dict[Callable[[], None], None] = {}
        self._after_commit: list[Callable[[], None]] = []
        #: Called when something that was written is undone: what was read of it is wrong now.
        self.on_undo: list[Callable[[], None]] = []
        #: Called with each failure of the database itself, whoever ran into it.
        self.on_failure: list[Callable[[StorageError], None]] = failures.listeners
        #: Called before something is committed, and by each probe.
        self.guards: list[Callable[[], None]] = []
        self._failures = failures

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what is written inside, all or nothing; inside another one, join it.

        Raises StorageError when the database itself fails, ChangeInDoubt when a crash could bring
        the change back, CommitInDoubt when nobody can tell whether it was made.
        """
        if self._depth:
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
            return
        self._commits.check()
        try:
            with self._failures:
                self._undo()
                self._commits.begin()
                self._depth = 1
                yield
                self._check_transaction()
                for callback in self._before_commit:
                    callback()
                if self._commits.has_changes:
                    self.ask_guards()
                has_written = self._commit()
                self.commits += has_written
                if has_written:
                    self._is_committed()
        except BaseException:
            self._after_commit.clear()
            with suppress(self.driver_error):
                self._undo()
            self._take_back(0)
            self._tell_undone()
            raise
        finally:
            self._depth = 0
            self._before_commit.clear()
            self._on_rollback.clear()
        callbacks, self._after_commit = self._after_commit, []
        for callback in callbacks:
            callback()

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo what is written inside when it fails, and only that; inside a transaction only."""
        if not self._depth:
            raise RuntimeError("a savepoint needs a transaction around it")
        mark, memory = len(self._after_commit), len(self._on_rollback)
        self._run("SAVEPOINT step")
        try:
            with self._failures:
                yield
        except BaseException:
            del self._after_commit[mark:]
            self._take_back(memory)
            if self._can_go_on:
                self._run("ROLLBACK TO step")
                self._run("RELEASE step")
            self._tell_undone()
            raise
        self._run("RELEASE step")

    def before_commit(self, callback: Callable[[], None]) -> None:
        """Call once, as the last part of the transaction, however often asked; at once outside."""
        if self._depth:
            self._before_commit[callback] = None
        else:
            callback()

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call back once the surrounding transaction is on disk; at once outside of one."""
        if self._depth:
            self._after_commit.append(callback)
        else:
            callback()

    def on_rollback(self, callback: Callable[[], None]) -> None:
        """Take back what was remembered, the newest first, if what is open is undone."""
        if self._depth:
            self._on_rollback.append(callback)

    @property
    def in_transaction(self) -> bool:
        return self._depth > 0

    def ask_guards(self) -> None:
        """Ask what may refuse a commit, without one; raises StorageError."""
        try:
            for guard in self.guards:
                guard()
        except StorageError as error:
            self._failures.tell(error)
            raise

    @abstractmethod
    def _run(self, statement: str) -> object:
        """Run a statement without parameters in the transaction that is open."""

    @property
    @abstractmethod
    def _can_go_on(self) -> bool:
        """Whether the transaction can be led back to a savepoint."""

    @abstractmethod
    def _check_transaction(self) -> None:
        """Raise StorageError where the database has undone the transaction by itself."""

    @abstractmethod
    def _undo(self) -> None:
        """Roll back what is open, also what an earlier failure could not roll back."""

    def _commit(self) -> bool:
        return self._commits.make()

    @abstractmethod
    def _is_committed(self) -> None:
        """Note that something was committed."""

    def _take_back(self, mark: int) -> None:
        while len(self._on_rollback) > mark:
            self._on_rollback.pop()()

    def _tell_undone(self) -> None:
        for listener in self.on_undo:
            listener()


class StorageErrors:
    """Raises StorageError where the database is to blame, and leaves mistakes of ours alone.

    `is_to_blame` and `is_for_room` are asked of what the driver raises.
    """

    def __init__(
        self,
        is_to_blame: Callable[[BaseException], bool],
        is_for_room: Callable[[BaseException], bool],
    ) -> None:
        self.listeners: list[Callable[[StorageError], None]] = []
        self._is_to_blame = is_to_blame
        self._is_for_room = is_for_room

    def __enter__(self) -> None:
        """Watch over what is done inside."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, ChangeInDoubt):
            self.tell(error)
        elif error is not None and self._is_to_blame(error):
            kind_told = StorageFull if self._is_for_room(error) else StorageError
            reason = " ".join(str(error).split())
            told = kind_told(f"The database cannot be used: {reason}")
            self.tell(told)
            raise told from error

    def tell(self, error: StorageError) -> None:
        """Tell everybody who listens."""
        for listener in self.listeners:
            listener(error)
