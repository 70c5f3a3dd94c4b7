"""Every error that the service raises on purpose, one class per cause.

An error's text is written for the person who reads it: what was wrong, and what to do.
Edges (CLI, API) print it as it stands; nothing below them prints.
"""

from __future__ import annotations

from enum import StrEnum


class ServiceError(Exception):
    """Base of all errors of this package."""


class InvalidInput(ServiceError):
    """Something that a person gave is not usable; nothing was changed."""


class NotFound(InvalidInput):
    """The thing that was named does not exist."""


class Conflict(InvalidInput):
    """The request contradicts what is stored; nothing was changed."""


class NotShared(Conflict):
    """A file is where the service cannot write, or where it sees another folder than its caller."""


class AuthorizationError(ServiceError):
    """This identity may not do that."""


class NotSignedIn(AuthorizationError):
    """This needs a credential, or a better one than was given."""


class TooManyAttempts(ServiceError):
    """Too many bad credentials, or registrations without one, came from there; try again later."""

    def __init__(self, text: str, *, retry_after_seconds: float = 0.0) -> None:
        super().__init__(text)
        self.retry_after_seconds = retry_after_seconds


class CompilerError(InvalidInput):
    """A charm's source cannot be loaded: the text names file, line and reason."""


class PackageError(InvalidInput):
    """The packages that a charm needs cannot be had: the text says which, and why."""


class StateError(InvalidInput):
    """A charm's state is not JSON, or does not fit the types of its fields."""


class StateTooLarge(StateError):
    """What a run left to be stored is larger than allowed."""


class DataDirectoryError(ServiceError):
    """The data directory cannot be used: no permission, wrong owner, unreadable."""


class DataDirectoryBusy(DataDirectoryError):
    """Another process has the data directory open."""


class SchemaTooNew(DataDirectoryError):
    """The database was written by a newer version of the service."""


class StorageError(ServiceError):
    """The database cannot be written or read now: disk full, I/O error; nothing was changed."""

    @property
    def problem(self) -> str:
        """What is wrong with the storage, whatever was to be done with it."""
        return str(self)


class ChangeInDoubt(StorageError):
    """The disk failed while a change was written: it is gone, but a crash may bring it back."""

    def __init__(self, reason: object) -> None:
        self._problem = f"The database cannot be used: {reason}"
        super().__init__(
            f"{self._problem}. It is in doubt whether this change was made: "
            "it is not there now, and may be there if the service dies before it can store "
            "something again. Look for it then, before you ask again."
        )

    @property
    def problem(self) -> str:
        return self._problem


class StorageFull(StorageError):
    """The disk has no room for what was to be written; nothing was changed."""


class LeaseLost(StorageError):
    """This node is not the active one any more: what it wanted to commit is refused."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"This node lost the lease of its database: {reason}")


class DatabaseUnusable(ServiceError):
    """The database of --database cannot be used: nobody answers, or it lets nobody in."""


class ClaimLost(ServiceError):
    """A job is not held by the claim that was to end it: its answer came too late."""


class BackupError(ServiceError):
    """A copy of the database could not be made, or is not whole; what was there before still is."""


class CannotExamine(BackupError):
    """A database file could not be read to its end: nothing is known of it, good or bad."""

    def __init__(self, path: object, reason: object) -> None:
        super().__init__(
            f"{path} could not be looked at to its end: {reason}. Whether it is sound is not known."
        )


class CommitInDoubt(ServiceError):
    """Nobody can tell whether the last change is on disk: only a new start can find out."""

    def __init__(self) -> None:
        super().__init__(
            "The database failed in the middle of a commit, and cannot be asked whether it was "
            "made. Start the service again: it goes on from what is on disk."
        )


class WorkerBootError(ServiceError):
    """Workers die before they are ready, again and again: the service cannot run charms."""


class SandboxError(ServiceError):
    """A wall around charms cannot be raised; nothing may run without it."""


class ServiceStopping(ServiceError):
    """The service is stopping and takes no new work."""


class StandingBy(ServiceStopping):
    """Of the nodes that share a database, this one is not the active one."""


class NotReady(ServiceError):
    """The service runs, and cannot do its work now."""


class ProviderFailed(ServiceError):
    """A provider at which people sign in cannot be asked now, or gives no answer of use."""


class LoopStandsStill(ServiceError):
    """The service answers, but the loop that runs charms does not advance."""


class FrameError(ServiceError):
    """A peer sent bytes that are not a valid frame of the protocol."""


class FailureCause(StrEnum):
    """Why an attempt failed; stored with the run, shown to people."""

    ERROR = "error"  #: the handler raised
    STATE = "state"  #: the state it left is not JSON, or does not fit its field's type
    STATE_SIZE = "state_size"  #: the state it left is larger than allowed
    COMPILER = "compiler"  #: its source cannot be loaded
    TIMEOUT = "timeout"  #: it ran into its deadline and was stopped
    CPU = "cpu"  #: it was stopped for using more processor time than allowed
    MEMORY = "memory"  #: it was stopped for using more memory than allowed
    FILES = "files"  #: it tried to have more files and connections open than allowed
    THREADS = "threads"  #: it was stopped for running more threads than allowed
    LOG = "log"  #: it was stopped for flooding its log
    SCRATCH = "scratch"  #: it was stopped for writing more to its scratch directory than allowed
    FORBIDDEN = "forbidden"  #: it tried what its walls do not allow
    TLS = "tls"  #: a connection could not be made safe: a certificate, a version
    DOWN = "down"  #: its provider could not be reached, or failed itself; no failure of the charm
    WAIT = "wait"  #: it, or its provider, asked to wait; no failure
    SIGN_IN = "sign_in"  #: a person has to sign in again; no failure
    STOP = "stop"  #: it said that there is nothing to do any more; no failure
    EXIT = "exit"  #: the worker process exited during the run
    SIGNAL = "signal"  #: the worker process was ended by a signal nobody here sent
    PROTOCOL = "protocol"  #: what came back from the worker was not a valid answer
    PACKAGES = "packages"  #: its packages were taken away while it was about to run
    SUPERVISOR = "supervisor"  #: the supervisor died during it, alone with it, again and again


#: After these causes a worker is replaced, even when it answered.
SPENT_WORKER = frozenset(
    {
        FailureCause.TIMEOUT,
        FailureCause.CPU,
        FailureCause.MEMORY,
        FailureCause.FILES,
        FailureCause.THREADS,
        FailureCause.LOG,
        FailureCause.SCRATCH,
    }
)
