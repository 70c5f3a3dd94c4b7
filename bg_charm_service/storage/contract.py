"""The storage contract: what an engine does for the service, and what it promises.

Transactions over everything, a durable queue of jobs, and a store (`store_contract`); a run's
effects and the end of its job commit together, or not at all. Everything above storage imports
this, `records` and `engines`. `tests/contract/` holds each promise of an engine.

**Who writes.** One process owns each charm, and every job and row of it, and what it remembers of
them is right because nobody else writes them. All that rests on this lies behind `SoleWriter`. The
embedded engine's process owns everything from the opening of the file to its end. An engine for
several nodes leases slots, each the charms of some spaces, to one node at a time: it fills its
sole writer's memory when it takes a slot, empties it when it loses one, refuses what a node still
wants to commit that has lost its lease, and leaves a person's change to the owner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bg_charm_service.domain.errors import StorageError
from bg_charm_service.domain.model import CharmRef, Job, Origin
from bg_charm_service.storage.records import (
    KEEP_DONE,
    NOTHING_PAUSED,
    Claim,
    DiskUsage,
    IsPaused,
    JobChoice,
    NewJob,
    Pausing,
    PollEnd,
    QueuedJob,
    Trouble,
)
from bg_charm_service.storage.store_contract import LimitOverrides, Packages, Pauses, Store

__all__ = [
    "Backlog",
    "ChangeMarks",
    "Commits",
    "Database",
    "Doctor",
    "DueTimes",
    "Engine",
    "JobQueue",
    "LimitOverrides",
    "Packages",
    "Pauses",
    "Running",
    "SoleWriter",
    "Storage",
    "Store",
]


class Database(Protocol):
    """The transactions of an engine, and what keeps the place in order that they write to.

    Every method here, of the queue and of the store raises StorageError when the engine itself
    fails (disk, connection), StorageFull where it had no room, and then it has told the listeners
    of `on_failure`.
    """

    #: Called when something that was written is undone: what was read of it is wrong now.
    on_undo: list[Callable[[], None]]
    #: Called with each failure of the engine itself, whoever ran into it.
    on_failure: list[Callable[[StorageError], None]]
    #: Called before something is committed, and by each probe: a StorageError from it refuses that,
    #: and is a failure of the engine.
    guards: list[Callable[[], None]]

    @property
    def sole_writer(self) -> SoleWriter:
        """What may be remembered because nobody else writes."""

    @property
    def commits(self) -> int:
        """How many transactions have written something."""

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open."""

    @property
    def disk_usage(self) -> DiskUsage:
        """What the data takes on disk now."""

    @property
    def schema_version(self) -> int:
        """The version of the schema as it is stored."""

    @property
    def newest_schema(self) -> int:
        """The version that this program works with."""

    def transaction(self) -> AbstractContextManager[None]:
        """Commit what is written inside, all or nothing; inside another one, join it.

        What is committed survives the death of the process and of the machine. What fails is not
        there, nor is it after a crash. Where an engine cannot promise that, it raises the
        StorageError ChangeInDoubt: the change is not there, but a crash before the next commit may
        bring it back. CommitInDoubt is raised when nobody can tell whether it was made; nothing
        more can be written then, in this life.
        """

    def savepoint(self) -> AbstractContextManager[None]:
        """Undo what is written inside when it fails, and only that; inside a transaction only.

        Callbacks that were asked for inside are forgotten with it. Savepoints nest.
        """

    def before_commit(self, callback: Callable[[], None]) -> None:
        """Call once, as the last part of the transaction, however often asked; at once outside."""

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call back, in the order of asking, once the transaction is on disk; at once outside."""

    def probe(self, *, write: bool) -> None:
        """Show that the engine answers, by a read or by a write; raises StorageError."""

    def ask_guards(self) -> None:
        """Ask what may refuse a commit, without one; raises StorageError."""

    @property
    def free_pages(self) -> int:
        """Pages on disk that hold nothing, of 4 kB; 0 where a server sees to these by itself."""

    def give_back(self, pages: int) -> None:
        """Return up to so many free pages, one at least; outside of a transaction only."""

    def copy_to(self, target: Path, should_stop: Callable[[], bool]) -> None:
        """Write all that is committed into a new file, from a thread, while it is in use.

        The copy is one moment of the database. One that fails, or is stopped, leaves no file.
        Raises BackupError, or ServiceStopping when asked to stop.
        """

    def close(self) -> None:
        """Let go; closing twice is fine."""


class ChangeMarks(Protocol):
    """Whether a charm was changed meanwhile by others than its own plain runs.

    Every write of a charm's row, cells, links or health leaves a mark, but for the methods of the
    store that say that they leave none. A mark too many costs a closer look, one too few an effect.
    """

    def since(self, charm_key: int) -> int:
        """A number to compare with a later one: it is the same while nothing was changed."""

    def mark(self, charm_key: int) -> None:
        """Note that a charm was changed."""

    def mark_all(self) -> None:
        """Note that any charm may have been changed."""


class Backlog(Protocol):
    """What is known of the jobs without a look at them: their numbers, and where some are ready.

    Numbers are those of committed jobs. Spaces are a superset of the truth.
    """

    @property
    def pending(self) -> int:
        """Jobs that wait."""

    @property
    def claimed(self) -> int:
        """Jobs that run."""

    @property
    def dead(self) -> int:
        """Dead letters."""

    def hot_spaces(self, now: float, *, without: Set[str] = frozenset()) -> set[int]:
        """Spaces that may have a job ready now, of other integrations than these."""

    def spaces_left_hot(self) -> set[int]:
        """Spaces that were hot at the last look and not found empty by it."""

    def ready_since(self, now: float) -> float | None:
        """Since when the oldest job that is ready may have been ready; None when none is.

        An estimate: it is right to the jobs that one look into a space sees.
        """

    def next_run_at(self) -> float | None:
        """When the next waiting job's time comes; None when none waits."""


class DueTimes(Protocol):
    """When each charm is due, by the steady clock; durable in the health records.

    The planner of polls fills it when a service starts, and changes it once the transaction that
    stores a time is on disk.
    """

    def __contains__(self, charm_key: object) -> bool:
        """Whether a charm is scheduled."""

    def at(self, charm_key: int) -> float | None:
        """When a charm is due; None when it is not scheduled."""

    @property
    def next_due(self) -> float | None:
        """When the next charm is due; None when none is scheduled."""

    def place(self, charm_key: int, due: float) -> None:
        """Say when a charm is due, instead of what was said before."""

    def forget(self, charm_key: int) -> None:
        """Let a charm be due no more."""

    def take(self, now: float, limit: int) -> list[tuple[float, int]]:
        """Take out up to `limit` charms that are due, the first ones first, each with its time.

        Each is to be placed, forgotten or restored.
        """

    def restore(self, taken: Sequence[tuple[float, int]]) -> None:
        """Put back what was taken out."""


class Commits(Protocol):
    """Commits that have numbers, so that one that failed can be told from one that only said so."""

    def check(self) -> None:
        """Raise CommitInDoubt after a commit that nobody can tell of.

        What is remembered may contradict what is on disk: nothing more may be decided by it.
        """


class SoleWriter(Protocol):
    """All that rests on this process being the only writer of what it owns."""

    @property
    def changes(self) -> ChangeMarks:
        """Tells a run's settlement whether what it read still holds."""

    @property
    def backlog(self) -> Backlog:
        """Tells the loop where to look for jobs; the queue keeps it, and answers for it."""

    @property
    def due_times(self) -> DueTimes:
        """Tells the planner whose turn it is."""

    @property
    def commits(self) -> Commits:
        """Tells whether what is remembered is what is on disk."""


class JobQueue(Backlog, Protocol):
    """The durable queue of what is asked of charms, until it is done or given up on.

    A charm has one live poll at most, and never overlaps itself. Its sends are never merged or
    dropped, and run in their order: while one waits, runs or is between attempts, the later ones
    wait. A claim has a fence, a number that proves that it is the job's newest: one that is not
    changes nothing, and is told so by False. All methods join the transaction around them.
    """

    def close(self) -> None:
        """Let the next life go on with the id that is next; closing twice is fine."""

    def recount(self) -> None:
        """Count and hint anew, after a repair changed what is stored."""

    def look_everywhere(self) -> None:
        """Take it that each space with a job that may run has one ready now."""

    def look_again(self, space_key: int) -> None:
        """Take it that a space may have a job ready now."""

    def has_suspect(self, now: float, *, is_paused: IsPaused | None = None) -> bool:
        """Whether `claim_suspect` would find one."""

    def is_live(self, job_id: int) -> bool:
        """Whether a job waits or runs."""

    def holds(self, job: Job) -> bool:
        """Whether a job's claim is still the newest one; a late answer is refused by this."""

    def claimed_jobs(self) -> list[Claim]:
        """Jobs that are claimed: at start, those of the last supervisor, for it to rescue."""

    def find(self, job_id: int) -> Claim | None:
        """Look a job up by its id, whatever its status."""

    def dead_letters(self, after: int = 0, limit: int = 100) -> list[Claim]:
        """The dead letters of all charms, oldest first, from behind job id `after`."""

    def dead_letters_of(self, charm_key: int, after: int = 0, limit: int = 100) -> list[Claim]:
        """The dead letters of a charm, oldest first, from behind job id `after`."""

    def count_dead_letters(self, charm_key: int) -> int:
        """How many dead letters a charm has."""

    def has_room_for_dead(self, charm_key: int) -> bool:
        """Whether one more event of a charm may become a dead letter."""

    def waiting(self, charm_key: int) -> int:
        """How many jobs of a charm wait or run."""

    def has_waiting(self, charm_key: int, most: int) -> bool:
        """Whether so many jobs of a charm, or more, wait or run."""

    def live_polls(self, charm_keys: Sequence[int]) -> set[int]:
        """Those of the charms that have a poll waiting, running or between retries."""

    def put_poll(
        self,
        space_key: int,
        charm_key: int,
        ref: CharmRef,
        stream: str,
        event: bytes,
        *,
        origin: Origin,
        run_at: float,
        now: float,
    ) -> int | None:
        """Queue a poll; None when the charm has a live one already, which is left alone."""

    def put_polls(self, polls: Sequence[NewJob], *, now: float) -> None:
        """Queue polls of charms that have no live one; they may be claimed at once.

        With each is stored when its charm is due next. An engine may let a plain one rest on its
        charm's stored due time until it ends: a crash leaves the charm due. What begins again has
        its old id all the same.
        """

    def put_send(
        self,
        space_key: int,
        charm_key: int,
        ref: CharmRef,
        stream: str,
        event: bytes,
        *,
        run_at: float,
        now: float,
        is_held: bool,
        not_before: float = 0.0,
        is_accepted: bool = False,
    ) -> int:
        """Queue an event behind the charm's earlier ones; `is_held` while the charm is disabled.

        The first in line runs `not_before` a moment. Raises Conflict where a charm has
        MOST_DEAD_SENDS dead letters of events, unless the event was accepted before.
        """

    def note_integrations(self) -> None:
        """Note of each job whose its charm is, so that claims can leave out integrations."""

    def claim(
        self,
        space_key: int,
        limit: int,
        now: float,
        *,
        without: Set[str] = frozenset(),
        choose: JobChoice | None = None,
        pausing: Pausing = NOTHING_PAUSED,
    ) -> Sequence[Claim]:
        """Take up to `limit` ready jobs of a space, one a charm: by priority, then age.

        Those of the integrations `without` which it is, once they are noted, wait on, and so do
        those that `choose` leaves out, suspects, and what is paused but for runs by hand. Where
        nothing more is found the space is cool: `look_again` once something is paused no more.
        """

    def claim_job(self, job_id: int, *, is_alone: bool = False) -> Claim | None:
        """Take one job by its id, whatever its time; a suspect only where it is to run alone."""

    def claim_suspect(self, now: float, *, is_paused: IsPaused | None = None) -> Claim | None:
        """Take one job that was handed out SUSPECT_DELIVERIES times; it is to run alone.

        What is paused is passed over, but for runs by hand.
        """

    def ack(self, claim: Claim) -> bool:
        """End a claim as done."""

    def ack_all(self, claims: Sequence[Claim]) -> Mapping[int, PollEnd]:
        """End claims of polls as done; raises ClaimLost, with some of it written, for a late one.

        The caller undoes what was written then. Gives what `put_all` of the health records has to
        store with some of their charms, in the same transaction.
        """

    def retry(self, claim: Claim, run_at: float) -> bool:
        """End a claim and let the job run again at `run_at`, as its next attempt."""

    def release(self, claim: Claim, run_at: float) -> bool:
        """Give a job back unharmed: same attempt, and this delivery does not count."""

    def rescue(self, claim: Claim, run_at: float) -> bool:
        """Give a dead supervisor's job back to the queue; the delivery stays counted."""

    def suspect(self, job_id: int) -> None:
        """Let a claimed job be a suspect if it is rescued; any other is left as it is."""

    def bury(self, claim: Claim, error: str = "", cause: str = "") -> bool:
        """End a claim as a dead letter: the newest of a charm's polls replaces an older one.

        Those of sends are each kept. `error` is what its last attempt failed with, and `cause` of
        which kind that was.
        """

    def drop_dead_poll(self, charm_key: int) -> None:
        """Forget the dead letter of a charm's poll, as a later success does."""

    def drop_dead_polls(self, charm_keys: Sequence[int]) -> None:
        """Forget those of the polls of charms whose runs were claimed before this transaction."""

    def drop_dead_letter(self, job_id: int) -> bool:
        """Drop one dead letter for good; says whether there was one."""

    def requeue(self, job_id: int, now: float) -> int | None:
        """Bring a dead letter back; None where it is none, or its charm has a live poll.

        It becomes a new job, so that its runs get ids of their own. A send goes behind those that
        wait, and waits with them while the charm is disabled; a poll runs all the same.
        """

    def put_off(self, space_key: int, charm_key: int, until: float) -> None:
        """Let a charm's waiting poll, and the first of its sends, run no sooner than a moment.

        A run that a person has asked for is left alone.
        """

    def bring_on(self, space_key: int, charm_key: int, was: float, until: float) -> None:
        """Let what was put off until one moment run from another one on."""

    def hasten(self, charm_key: int, now: float) -> int | None:
        """Let a charm's waiting poll run now; gives the live poll's job id, None without one."""

    def hasten_jobs(self, wanted: Mapping[int, int], now: float) -> None:
        """Let those of some jobs run now that wait for their time; by job, the key of its space."""

    def hold(self, charm_key: int) -> None:
        """Take a disabled charm's waiting poll out and keep its sends from running.

        A job under way may end, but does not come back: a poll is dropped then, a send waits.
        """

    def drop_poll(self, charm_key: int) -> None:
        """Take an unregistered charm's poll out; one under way may end, but is not retried."""

    def unhold(self, space_key: int, charm_key: int, now: float) -> None:
        """Undo `hold`: the charm's first waiting send may run."""

    def drop_some_polls(self, space_key: int, limit: int) -> int:
        """Take up to so many waiting polls of a space out, and say how many."""

    def newest(self) -> int:
        """The id of the newest job; 0 without any."""

    def drop_waiting_poll(self, charm_key: int) -> None:
        """Take a charm's waiting poll out; one under way goes on as if nothing was."""

    def page(self, after: int, limit: int, *, charm_key: int | None = None) -> list[QueuedJob]:
        """Jobs from behind an id, by their ids, whatever their status; of all charms, or of one."""

    def write_out(self, charm_key: int) -> None:
        """Let no poll of a charm rest on its due time any more, since that is about to move."""

    def withdraw(self, charm_key: int, job_ids: Sequence[int]) -> int:
        """Delete those of some jobs of a charm that wait; gives how many did.

        What waited behind them may run then.
        """

    def discard(self, charm_key: int) -> None:
        """Delete every job of a removed charm that is not claimed, dead letters too."""

    def forget_deliveries(self) -> None:
        """Let no waiting job be a suspect: those that are count as never handed out."""

    def bring_near(self, now: float, latest: float) -> None:
        """Let no retry wait beyond `latest`, and no other job for its time at all.

        After the clock was set back. A retry that comes before that keeps its time.
        """


class Running(Protocol):
    """What a running service holds in memory beside its database, as the doctor asks for it."""

    def in_flight(self) -> frozenset[int]:
        """The ids of the jobs whose runs are under way."""

    def is_polled(self, charm_key: int) -> bool:
        """Whether a charm has a next due time."""

    def schedule(self, charm_key: int, space: str) -> None:
        """Give a charm a next due time; inside a transaction."""

    def next_reminder(self) -> float | None:
        """When the service next looks for reminders that are due, by the wall clock."""

    def remember_reminders(self) -> None:
        """Let the service look when the first reminder that is stored is due."""


class Doctor(Protocol):
    """Checks what must always hold of stored data, and mends it where that is safe.

    `now` is by the steady clock; `running` is None where no service runs.
    """

    def examine(self, now: float, running: Running | None) -> Iterator[Trouble | None]:
        """Make every check: None after each slice of some 20 ms at most, and what is found.

        Reads and never writes; the service may go on between two slices.
        """

    def mend(self, trouble: Trouble, now: float, running: Running | None) -> Iterable[None]:
        """Put right what was found, a few things in one transaction, with a pause after each."""


@dataclass(frozen=True, slots=True)
class Storage:
    """An engine that is open: its transactions, and what they are over."""

    database: Database
    store: Store
    queue: JobQueue
    doctor: Doctor

    def close(self) -> None:
        """Let go; closing twice is fine."""
        self.queue.close()
        self.database.close()


class Engine(Protocol):
    """Opens storage."""

    def open(self, path: Path, *, keep_done: int = KEEP_DONE) -> Storage:
        """Open what lies there, or make it, in the form of this version; keeps so many done jobs.

        Raises SchemaTooNew for what a later version made, DataDirectoryError for what cannot be
        opened, BackupError when it has to be brought up to date and no copy can be made.
        """
