"""The storage contract, its store: what is kept of charms, spaces and callers, group by group.

Part of `contract`, which says what holds for all of it: each method joins the transaction around
it, and none commits by itself. Times are float seconds since the epoch, due times by the steady
clock; JSON values are bytes. Engines implement the groups; everything above asks for `Store`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from bg_charm_service.domain.identity import Identity
from bg_charm_service.domain.items import ItemPage, SeenRange, StoredItem
from bg_charm_service.domain.limits import LimitChanges
from bg_charm_service.domain.model import (
    CharmHealth,
    CharmRef,
    CharmSchema,
    Registration,
    RunRecord,
)
from bg_charm_service.domain.notices import (
    SAME_THING_SECONDS,
    Incident,
    Line,
    Message,
    Notice,
    NoticeKind,
    Target,
)
from bg_charm_service.domain.oauth import SignInKey
from bg_charm_service.domain.outcomes.run_endings import Waiting
from bg_charm_service.domain.outcomes.suspicion import Life
from bg_charm_service.domain.schedules.words import ScheduleWords
from bg_charm_service.storage.records import (
    NO_ENDS,
    AuditEntry,
    BroughtNear,
    CellValue,
    CharmFilter,
    CharmOrder,
    CharmRecord,
    CollectionRecord,
    Delivery,
    FailureStreak,
    HookRecord,
    Link,
    LockRecord,
    OwnedSpace,
    Pause,
    Pausing,
    PollEnd,
    Pruned,
    Reminder,
    RunOutcome,
    ScheduledCharm,
    ScheduleEntry,
    SentBefore,
    SessionRecord,
    SignInRecord,
    Space,
    StoredClient,
    TokenRecord,
    WaitingCharm,
    WaitingNotice,
)


class Spaces(Protocol):
    """Spaces, their owners, and the documents (plain cells) of integrations in them.

    A space's own DID is never an owner: the private key of a named space can be computed by
    anyone from its name. Granting it raises InvalidInput.
    """

    def find(self, did: str) -> Space | None:
        """Look a space up by its DID."""

    def get(self, space_key: int) -> Space | None:
        """Look a space up by its key."""

    def ensure(self, did: str, *, name: str, owner: str, now: float) -> Space:
        """Give the space of a DID, created and owned by `owner` when it is new.

        A name is kept once there is one.
        """

    def names(self, space_keys: Collection[int]) -> dict[int, str]:
        """The names of several spaces, by key."""

    def page(self, after: int = 0, limit: int | None = None) -> list[OwnedSpace]:
        """Spaces with their owners, in order of creation from behind a key; all without a limit."""

    def grant(self, space_key: int, did: str, *, granted_by: str, now: float) -> None:
        """Make an identity an owner; granting twice changes nothing."""

    def owners(self, space_key: int) -> list[str]:
        """The DIDs of a space's owners, the creator first."""

    def is_owner(self, space_key: int, did: str) -> bool:
        """Whether an identity may act on a space."""

    def owned_by(self, did: str) -> frozenset[str]:
        """The DIDs of the spaces that an identity owns."""

    def hand_over(self, old: str, new: str) -> None:
        """Make one identity the owner of all that another owns, which owns nothing then.

        Raises InvalidInput for the DID of a space.
        """

    def document(self, space: str, cell_id: str) -> bytes | None:
        """The JSON of a plain cell; None when it was never written."""

    def write_document(self, space: str, cell_id: str, value: bytes, now: float) -> None:
        """Write the JSON of a plain cell."""


class Charms(Protocol):
    """Charms and their sources: identity, class description, where they stand in their life.

    A removed charm keeps its row and its key, so that its history stays readable, until it is
    purged.
    """

    def find(self, ref: CharmRef) -> CharmRecord | None:
        """Look a charm up; None for an unknown or removed one."""

    def key_of(self, ref: CharmRef) -> int | None:
        """The key of a charm, where no more is needed of it; None for an unknown or removed one."""

    def find_removed(self, ref: CharmRef) -> CharmRecord | None:
        """Look up a charm that was removed lately."""

    def get(self, charm_key: int) -> CharmRecord | None:
        """Look a charm up by its key, removed or not."""

    def get_many(self, charm_keys: Sequence[int]) -> dict[int, CharmRecord]:
        """Look several charms up, removed or not; gives those that there are, by key."""

    def find_by_cause(self, space_key: int, cause: str) -> CharmRecord | None:
        """Look up the charm of a space that was made for a cause."""

    def page(self, *, space: str | None, after: int, limit: int) -> list[CharmRecord]:
        """Charms in order of their keys, from behind key `after`."""

    def count_outside(self, space: str) -> int:
        """How many charms there are in other spaces than this one."""

    def add(
        self,
        ref: CharmRef,
        space_key: int,
        *,
        cause: str,
        file_name: str,
        source: str,
        schema: CharmSchema,
        now: float,
    ) -> CharmRecord:
        """Store a charm; one that was removed before comes back under its key."""

    def replace_source(
        self, charm_key: int, *, file_name: str, source: str, schema: CharmSchema, now: float
    ) -> None:
        """Give a charm new source; its id, state and history stay."""

    def source(self, source_hash: str) -> str:
        """The text of a stored source."""

    def mark_removed(self, charm_key: int, now: float) -> None:
        """End a charm's life; its state and its right to run are gone, its history stays."""

    def bring_near(self, now: float) -> None:
        """Let no charm have been removed after `now`: the clock was set back since."""

    def purge_removed(self, before: float, limit: int) -> int:
        """Delete charms removed before a moment, and sources nobody uses; gives the count."""


class CharmLists(Protocol):
    """Pages of charms: searched, filtered, in an order, quick for any number of them."""

    def page(
        self, wanted: CharmFilter, order: CharmOrder, cursor: str, limit: int
    ) -> tuple[list[CharmRecord], str | None]:
        """Charms from behind a cursor, and the next page's; None at the end.

        Pages follow each other without gap or repetition. Raises InvalidInput for a cursor that
        this order never gave.
        """


class Cells(Protocol):
    """The fields of charms, each with a version that grows with every write.

    A version is never used twice for a field, also not after it was dropped and made anew. Fields
    that their charm declares as secret are encrypted at rest, each bound to its place.
    """

    def snapshot(self, charm: CharmRecord) -> dict[str, CellValue]:
        """All fields of a charm; values over INLINE_BYTES are left out."""

    def snapshots(self, charms: Sequence[CharmRecord]) -> dict[int, dict[str, CellValue]]:
        """All fields of each of several charms, by the charm's key, as `snapshot` gives them."""

    def read(self, charm: CharmRecord, field: str) -> CellValue | None:
        """One field, however large; None when it was never written."""

    def versions(self, charm_key: int) -> dict[str, int]:
        """The version of each field of a charm."""

    def total_bytes(self, charm_key: int) -> int:
        """What all fields of a charm take together."""

    def write(self, charm: CharmRecord, field: str, value: bytes) -> None:
        """Write one field. Raises InvalidInput for what is no JSON."""

    def write_all(self, rows: Iterable[tuple[int, str, bytes]]) -> None:
        """Write fields, each given by its charm's key, its name and its JSON; leaves no marks.

        For what plain runs wrote into their own charms, once it was checked: no secret, and no
        field twice.
        """

    def drop(self, charm_key: int, field: str) -> None:
        """Delete one field."""

    def state(self, charm: CharmRecord) -> dict[str, msgspec.Raw]:
        """The whole state as people see it: `$NAME`, fields with secrets redacted, streams."""


class CharmItems(Protocol):
    """The collections of charms, keys in the order of their code points.

    The version of a collection grows with every write of it, and is that of the items that were
    written; none is used twice, also not by a collection that was dropped and made anew. These
    writes leave no marks: whatever a run saw of a collection is checked by versions.
    """

    def of(self, charm_key: int) -> dict[str, CollectionRecord]:
        """The collections of a charm that were written to, by field."""

    def get(self, charm_key: int, field: str) -> CollectionRecord:
        """One collection; one that was never written to is empty, at version 0."""

    def find(
        self, charm_key: int, field: str, keys: Sequence[str], *, has_values: bool
    ) -> list[StoredItem]:
        """Those of the keys that there are, with their versions."""

    def page(
        self, charm_key: int, field: str, after: str, limit: int, *, has_values: bool
    ) -> ItemPage:
        """Up to `limit` items from behind a key, fewer where they are large, one at least."""

    def holds(self, charm_key: int, field: str, seen: SeenRange) -> bool:
        """Whether a range is as it was seen: no key more, none less, and none written since."""

    def write(
        self, charm_key: int, field: str, writes: Mapping[str, bytes | None]
    ) -> CollectionRecord:
        """Write items of a charm that there is, and remove those whose value is None.

        The values are JSON that was checked. Gives the collection as it is then.
        """

    def drop(self, charm_key: int, field: str) -> None:
        """Take a collection from its charm; what was in it is deleted by and by."""

    def delete_dropped(self, limit: int) -> int:
        """Delete up to `limit` items of what was dropped; 0 once nothing of it is left."""

    @property
    def total_bytes(self) -> int:
        """What all collections count together, those with them that are not deleted yet."""


class Links(Protocol):
    """Rights of one charm on a cell or stream of another, given by a person, never by a run."""

    def put(self, charm_key: int, link: Link) -> None:
        """Make or replace a link."""

    def of(self, charm_key: int) -> list[Link]:
        """The links of a charm."""

    def writers_of(self, target_key: int) -> list[int]:
        """The charms that have a link to a charm by which they may write, by their keys."""

    def drop(self, charm_key: int, field: str) -> None:
        """Delete one link."""

    def read(self, target: CharmRecord, link: Link) -> CellValue:
        """The linked value at its version; raises InvalidInput when there is none."""

    def version(self, target: CharmRecord, link: Link) -> int:
        """The version of the linked value, 0 when there is none."""

    def write(self, target: CharmRecord, link: Link, value: bytes) -> None:
        """Write through a link into the target's field; raises InvalidInput for no such place."""


class Registrations(Protocol):
    """The entries that make the service poll a charm: one a charm, the last label wins."""

    def find(self, charm_key: int, ref: CharmRef) -> Registration | None:
        """The registration of a charm, if it has one."""

    def times(self, charm_keys: Sequence[int]) -> dict[int, float]:
        """When those of several charms that are registered were, by key."""

    def put(self, charm_key: int, integration: str, now: float) -> bool:
        """Register a charm, or again under another label; says whether it is new."""

    def drop(self, charm_key: int) -> bool:
        """Delete a registration; says whether there was one."""

    def labels(self) -> dict[int, str]:
        """The integration label of each registered charm, by its key."""


class HealthRecords(Protocol):
    """What the service remembers of each charm's runs, and when it is due."""

    def create(self, charm_key: int) -> None:
        """Start a charm's record afresh; only the number of its last run goes on."""

    def get(self, charm_key: int) -> CharmHealth:
        """A charm's record; an empty one when it has none."""

    def get_many(self, charm_keys: Sequence[int]) -> dict[int, CharmHealth]:
        """The records of several charms, by key; empty ones for those that have none."""

    def put(
        self, charm_key: int, health: CharmHealth, *, before: CharmHealth | None = None
    ) -> None:
        """Replace a charm's record; `before` is what it is now, where the caller has read it."""

    def put_all(
        self,
        changes: Sequence[tuple[int, CharmHealth, CharmHealth]],
        ends: Mapping[int, PollEnd] = NO_ENDS,
        runs: Sequence[tuple[int, RunRecord]] = (),
        *,
        keep: int = 1,
    ) -> None:
        """Replace records, each given by its key, as it is and as it is to be; leaves no marks.

        Only what differs is written. For what plain runs leave behind: `ends` is what the queue
        gave for their polls, and `runs` are recorded with them, one of each charm, as by
        `Runs.record_all`.
        """

    def set_due(self, charm_key: int, due_at: float | None) -> None:
        """Say when a charm is due next; None when it is not scheduled."""

    def set_due_all(self, rows: Sequence[tuple[float | None, int]]) -> None:
        """Say when charms are due next, each time before its charm's key.

        Where a due time stands for a live poll, the new one is stored when that ends.
        """

    def set_interval(self, charm_key: int, interval_seconds: float | None) -> None:
        """Give a charm its own polling interval; None for the service's."""

    def entry(self, charm_key: int) -> ScheduleEntry:
        """When a charm is due."""

    def entries(self, charm_keys: Sequence[int]) -> dict[int, ScheduleEntry]:
        """When each of several charms is due, by key."""

    def skip_all(self, rows: Sequence[tuple[float | None, int]]) -> None:
        """Count a poll of charms that fell due while another was live; due times as `set_due_all`.

        Leaves no marks: the run that is out leaves this number alone when it is settled.
        """

    def bring_near(self, now: float) -> None:
        """Let failures have disabled no charm after `now`: the clock was set back since.

        Leaves no marks: when a charm was disabled says nothing to a run that is out.
        """

    def disabled_before(self, moment: float, limit: int) -> list[int]:
        """Charms that failures disabled before a moment, without those removed."""

    def scheduled(self) -> list[ScheduledCharm]:
        """Every registered charm, in no order."""

    def most_failing(self, limit: int) -> list[FailureStreak]:
        """The charms with the most failures in a row, without those removed."""


class Runs(Protocol):
    """Run history: the newest runs of each charm, with what they logged."""

    def record(self, charm_key: int, run: RunRecord, keep: int) -> None:
        """Store a run, and drop the charm's runs beyond the newest `keep`.

        Its number is greater than those of all runs of the charm before it.
        """

    def record_all(self, rows: Sequence[tuple[int, RunRecord]], keep: int) -> None:
        """Store runs, each with its charm's key, as `record` does."""

    def of(self, charm_key: int, *, before: int | None = None, limit: int = 20) -> list[RunRecord]:
        """A charm's runs, newest first, from before run number `before`."""

    def numbered(self, charm_key: int, number: int) -> RunRecord | None:
        """One run by its number; None when it is not kept."""

    def outcomes(self, charm_key: int, limit: int) -> list[RunOutcome]:
        """How a charm's newest runs ended, the oldest of them first.

        A cancelled run says nothing about its charm, and is left out.
        """

    def find(self, charm_key: int, run_id: str) -> RunRecord | None:
        """The newest record of a run id."""

    def note_retired(self, charm_key: int, run_id: str, why: str) -> None:
        """Note why a run's worker was replaced, where that shows only later."""

    def prune(self, before: float, limit: int, *, keep: int) -> Pruned:
        """Look at runs that finished before a moment, `limit` or a few times as many.

        Deletes them but for the newest `keep` of each charm there is, where it may keep some of the
        newest eight that are not asked for: a clock that was wrong for a moment must not cost the
        whole history. Goes on where the last call ended, and begins anew after the one that says
        that it is over.
        """

    def bring_near(self, now: float, limit: int) -> BroughtNear:
        """Let runs that finished after `now` have finished now, `limit` or a few times as many.

        To be called again until it is over.
        """


class Totals(Protocol):
    """Counters of the service that only grow, never computed from rows.

    What is counted collects until `flush` writes it with the transaction around, once.
    """

    def add(self, name: str, amount: float = 1) -> None:
        """Count something; it is durable with the next flush that commits."""

    def mark(self) -> Counter[str]:
        """Remember what is counted and not flushed, for `undo`."""

    def undo(self, mark: Counter[str]) -> None:
        """Go back to a mark: what was counted since did not happen."""

    def discard(self) -> None:
        """Forget what was counted since the last flush: its transaction was rolled back."""

    def flush(self) -> None:
        """Write what was counted; inside the transaction that it belongs to."""

    def get(self, name: str) -> int:
        """The value of a counter."""

    def with_prefix(self, prefix: str) -> dict[str, int]:
        """The committed counters whose names begin so, the prefix cut off."""


class Secrets(Protocol):
    """The key that encrypts secret fields at rest, sealed to each identity that may open it."""

    def exist(self) -> bool:
        """Whether the store has its data key already; a new one has none."""

    def create(self, did: str) -> None:
        """Make the data key of a new store, sealed to its first owner; raises Conflict later."""

    def unlock(self, identity: Identity) -> None:
        """Open the data key with an identity; raises AuthorizationError when it was not granted."""

    def grant(self, did: str) -> None:
        """Seal the data key to one more identity."""

    def hand_over(self, old: str, new: str) -> None:
        """Seal the data key to one identity in the place of another; raises InvalidInput."""

    def encrypt(self, value: bytes, place: str) -> bytes:
        """Encrypt a value, bound to the place where it is stored."""

    def decrypt(self, value: bytes, place: str) -> bytes:
        """Decrypt a value that was encrypted for that place; raises InvalidInput for another."""


class Tokens(Protocol):
    """Names and rights of those who come over the network; of their tokens only hashes."""

    def add(
        self,
        hashed: bytes,
        *,
        name: str,
        space: str | None,
        read_only: bool,
        made_by: str,
        expires_at: float | None,
        now: float,
    ) -> TokenRecord:
        """Add a token under a name that no live one has."""

    def find(self, hashed: bytes) -> TokenRecord | None:
        """Look a token up by the hash of its text, also one that is valid no more."""

    def get(self, token_id: int) -> TokenRecord | None:
        """Look a token up by its number."""

    def named(self, name: str) -> TokenRecord | None:
        """Look up the token of a name that was not revoked; it may have expired."""

    def all(self) -> list[TokenRecord]:
        """Every token that was ever made, the oldest first."""

    def revoke(self, token_id: int, now: float) -> None:
        """Let a token be valid no more."""

    def note_use(self, token: TokenRecord, now: float) -> None:
        """Remember that a token was used; written once a minute at most."""


class Sessions(Protocol):
    """Sessions of browsers, by the hash of their cookie."""

    def add(self, hashed: bytes, token_id: int | None, *, expires_at: float, now: float) -> None:
        """Begin a session; those that are over are dropped."""

    def find(self, hashed: bytes, now: float) -> SessionRecord | None:
        """Look up a session that is not over."""

    def drop(self, hashed: bytes) -> bool:
        """End a session; says whether there was one."""

    def all(self, now: float) -> list[tuple[bytes, SessionRecord]]:
        """The sessions that are not over, with their hashes, the newest first."""


class Nonces(Protocol):
    """Nonces of signatures that were taken: durable, because a replay may come after a restart."""

    def take(self, did: str, nonce: str, *, expires_at: float, now: float) -> bool:
        """Take a nonce of a signer; says whether it was unused."""


class Audit(Protocol):
    """Who changed what. Entries are appended in the transaction of their change.

    No entry is ever changed; the oldest go when there are more than KEPT_AUDIT_ENTRIES.
    """

    def append(
        self,
        *,
        at: float,
        caller: str,
        action: str,
        space: str = "",
        charm_id: str = "",
        detail: str = "",
    ) -> None:
        """Add an entry, inside the transaction of the change."""

    def newest(self, before: int | None, limit: int) -> list[AuditEntry]:
        """Entries older than one, or the newest of all; the newest first."""


class LimitOverrides(Protocol):
    """Limits that the operator set for a space or for one charm; a change shows once committed."""

    def of_space(self, space_key: int) -> LimitChanges:
        """What is set for a space."""

    def of_charm(self, charm_key: int) -> LimitChanges:
        """What is set for a charm itself."""

    def put_space(self, space_key: int, changes: LimitChanges) -> None:
        """Set the limits of a space, all of them."""

    def put_charm(self, charm_key: int, changes: LimitChanges) -> None:
        """Set the limits of a charm itself, all of them."""


class Schedules(Protocol):
    """What the operator says of when single charms run; a change shows once committed."""

    def of_charm(self, charm_key: int) -> ScheduleWords:
        """What is said of a charm; the one object `NO_WORDS` for nothing."""

    def put(self, charm_key: int, words: ScheduleWords) -> None:
        """Say it anew, all of it."""


class Pauses(Protocol):
    """What is paused: everything, spaces, single charms. Known without a look at the disk.

    A change shows once it is committed.
    """

    @property
    def are_any(self) -> bool:
        """Whether anything is paused."""

    def all(self) -> list[Pause]:
        """Every pause, the widest first."""

    def of_spaces(self) -> list[Pause]:
        """The pauses of whole spaces."""

    def at(self, space_key: int = 0, charm_key: int = 0) -> Pause | None:
        """The pause of exactly that charm, space, or everything."""

    def over(self, space_key: int, charm_key: int) -> Pause | None:
        """The widest pause that keeps a charm from running."""

    def within(self, space_key: int) -> Pausing:
        """What of a space is paused."""

    def put(self, pause: Pause) -> None:
        """Pause; where that is paused already, the older word stays."""

    def drop(self, space_key: int, charm_key: int) -> None:
        """Lift the pause of exactly that charm, space, or everything."""


class Reminders(Protocol):
    """Events to be sent to streams of charms at moments to come, by the wall clock."""

    def put(
        self,
        charm_key: int,
        *,
        name: str | None,
        stream: str,
        event: bytes,
        remind_at: float,
        now: float,
    ) -> Reminder:
        """Add a reminder; one of the same name is replaced, and one without a name is not."""

    def drop(self, charm_key: int, name: str) -> bool:
        """Drop the reminder that is shown under a name; says whether there was one."""

    def drop_stream(self, charm_key: int, stream: str) -> int:
        """Drop the reminders of a charm that go to a stream; gives how many these were."""

    def of(self, charm_key: int) -> list[Reminder]:
        """The reminders of a charm, the next one first."""

    def size(self, charm_key: int) -> tuple[int, int]:
        """How many reminders a charm has, and how many bytes their events take."""

    def next_at(self) -> float | None:
        """When the next reminder of all is due, or a moment before; None without any."""

    def due(self, now: float, limit: int) -> list[Reminder]:
        """Up to so many reminders whose time has come, the oldest first."""

    def take(self, reminders: Sequence[Reminder]) -> None:
        """Drop reminders whose events are sent in the same transaction."""


class Freshness(Protocol):
    """Until when the state of charms counts as fresh, for those whose class says how often it
    should change. By field, empty where any of them counts; moments by the wall clock.
    """

    def put(self, charm_key: int, stale_at: Mapping[str, float]) -> None:
        """Say when each field that is expected to change is stale, instead of what was said."""

    def renew(self, rows: Sequence[tuple[int, str, float]]) -> None:
        """Say of fields that changed when they are stale: charm's key, field, moment."""

    def of(self, charm_key: int) -> dict[str, float]:
        """When each field of a charm that is expected to change is stale."""

    def first(self, charm_keys: Sequence[int]) -> dict[int, float]:
        """When the first field of each of several charms is stale; none for those without."""

    def count_stale(self, now: float) -> int:
        """How many charms have a field that is stale."""

    def stale(self, now: float, limit: int) -> dict[int, float]:
        """Charms that have a field that is stale, and since when the first one is.

        Looks at up to so many fields, those first that are stale the longest.
        """


class Lives(Protocol):
    """The lives of the service since its last good end: all but the newest ended in death."""

    def all(self) -> list[Life]:
        """Every life that is remembered, the oldest first."""

    def begin(self, life: Life) -> None:
        """Add a life, which is the newest then."""

    def note(self, lived_seconds: float) -> None:
        """Say how long the newest life has lasted."""

    def forget(self) -> None:
        """Forget all of them: the service ended well, or has outlived those that died."""


class Waits(Protocol):
    """What charms wait for: times by the steady clock, 0 for those that no time ends."""

    def all(self) -> list[WaitingCharm]:
        """Every charm that waits, in no order."""

    def get(self, charm_key: int) -> Waiting | None:
        """What a charm waits for."""

    def put(self, charm_key: int, space_key: int, waiting: Waiting) -> None:
        """Say what a charm waits for, instead of what was said before."""

    def drop(self, charm_key: int) -> None:
        """Let a charm wait for nothing."""

    def later(self, charm_keys: Sequence[int], moment: float) -> dict[int, float]:
        """Until when those of some charms wait that do so beyond a moment, by key."""

    def at_host(self, space_key: int, host: str, after: float, limit: int) -> list[WaitingCharm]:
        """Charms of a space that wait for a host beyond a moment, those first that come first."""

    def bring_near(self, latest: float, *, named: float) -> None:
        """Let nobody be waited for beyond `latest`; a time that a charm named, beyond `named`."""


class Packages(Protocol):
    """The locks of packages by their hashes, and which charm has which; most have none.

    Who has one shows once it is on disk, to whoever asks without a query.
    """

    @property
    def are_any(self) -> bool:
        """Whether any charm has a lock."""

    def of_charm(self, charm_key: int) -> str:
        """The hash of a charm's lock; empty for none."""

    def of_space(self, space_key: int) -> Mapping[int, str]:
        """The hashes of the locks of a space, by charm."""

    def used(self) -> dict[str, set[int]]:
        """The locks that charms have, with the spaces of those."""

    def used_bytes(self, *, without: Collection[str] = ()) -> int:
        """What the locks take that charms have, but for some of them."""

    def get(self, lock_hash: str) -> LockRecord | None:
        """Look a lock up."""

    def sizes(self, space_key: int, *, without: int) -> dict[str, int]:
        """What each lock takes that charms of a space have, but for one of them; in bytes."""

    def keep(self, lock_hash: str, lock: bytes, size_bytes: int, now: float) -> None:
        """Keep a lock; one that is there stays as it is."""

    def put(self, charm_key: int, space_key: int, lock_hash: str) -> None:
        """Give a charm a lock that is kept, or none by an empty hash."""

    def drop_unused(self) -> int:
        """Forget the locks that no charm has; gives how many."""


class SignIns(Protocol):
    """Sign-ins at providers, whose tokens are cells, and the clients that the operator has there.

    A client is encrypted at rest, as secrets are.
    """

    def get(self, key: SignInKey) -> SignInRecord | None:
        """What is known of a sign-in; None where nobody has signed in."""

    def all(self) -> list[SignInRecord]:
        """Every sign-in."""

    def put(self, record: SignInRecord) -> None:
        """Say what is known of a sign-in, instead of what was said before."""

    def drop(self, key: SignInKey) -> bool:
        """Forget a sign-in; says whether there was one."""

    def client(self, provider: str) -> StoredClient | None:
        """The client at a provider."""

    def clients(self) -> list[str]:
        """The providers at which there is a client."""

    def put_client(self, client: StoredClient, now: float) -> None:
        """Keep the client at a provider, instead of the one before."""

    def drop_client(self, provider: str) -> bool:
        """Forget the client at a provider; says whether there was one."""


class Notices(Protocol):
    """What somebody is to be told, and what was told and is not over.

    Whoever causes a notice writes it in that transaction. The same thing, which is what has the
    same kind and subject, is one notice while it waits, and is told once an hour.
    """

    def put(
        self,
        notice: Notice,
        *,
        now: float,
        steady: float,
        again_seconds: float = SAME_THING_SECONDS,
    ) -> None:
        """Have something told; where the same waits, it is counted there, with its newest text.

        What was told within `again_seconds` waits until these are over. Where very many wait, it is
        counted with the others of its kind and space.
        """

    def said_since(self, charm_key: int, steady: float, limit: int) -> int:
        """How many different things a charm has said since a moment; `limit` for as many."""

    def next_due(self) -> float | None:
        """When the next notice is to be told, by the steady clock; None without any."""

    def due(self, steady: float, limit: int) -> list[WaitingNotice]:
        """Up to so many notices that are to be told, those first that wait the longest."""

    def take(self, notices: Sequence[WaitingNotice], steady: float) -> None:
        """Note that notices are in messages, which the same transaction writes."""

    def prune(self, steady: float, limit: int) -> int:
        """Delete up to so many that were told long enough ago; gives how many these were."""

    def bring_near(self, steady: float) -> None:
        """Let nothing have been told after `steady`, nor be told more than an hour after it."""

    def incidents(self) -> list[Incident]:
        """All that was told and is not over."""

    def open(self, incident: Incident) -> None:
        """Remember that something is told whose end matters."""

    def close(self, kind: NoticeKind, subject: str) -> None:
        """Forget it: it is over."""


class NoticeTargets(Protocol):
    """Where notices go; the addresses are encrypted at rest, as secrets are."""

    def all(self) -> list[Target]:
        """Every target, the oldest first."""

    def url(self, target_id: int) -> str | None:
        """The address of a target; None where there is no such target any more."""

    def add(self, target: Target, url: str) -> Target:
        """Add a target, which is given its id; its name is nobody else's."""

    def change(self, target: Target) -> None:
        """Say anew what a target is called, and what it gets; its address stays."""

    def drop(self, target_id: int) -> None:
        """Forget a target, and give up what was to be sent to it."""


class NoticeMessages(Protocol):
    """What is sent to one target in one go, and what became of it."""

    def add(
        self, target: Target, lines: Sequence[Line], counts: Mapping[str, int], now: float
    ) -> Message:
        """Have something sent to a target, at once."""

    def put(self, message: Message) -> None:
        """Say what became of a message, or what else is in it."""

    def get(self, message_id: int) -> Message | None:
        """One message; None where it is not kept any more."""

    def open(self) -> list[Message]:
        """All that are to be sent or are being sent, the oldest first."""

    def bring_near(self, steady: float) -> None:
        """Let nothing be sent more than an hour after a moment, which may be of another clock."""

    def newest(self, before: int, limit: int) -> list[Message]:
        """The newest messages, from before an id; 0 for from the newest."""

    def prune(self, before: float, keep: int) -> None:
        """Delete what is older than a moment, and all but the newest `keep`; not what is open."""


class IdempotencyKeys(Protocol):
    """Keys that senders gave with their events, for a day; of each only a hash.

    `now` is by the steady clock.
    """

    def find(self, charm_key: int, key_hash: bytes, now: float) -> SentBefore | None:
        """What was sent to a charm with a key, within the last day."""

    def put(
        self, charm_key: int, key_hash: bytes, request_hash: bytes, job_id: int, now: float
    ) -> None:
        """Note the job of an event that came with a key."""


class Hooks(Protocol):
    """The addresses of streams, each encrypted at rest and found by its hash."""

    def put(self, charm: CharmRecord, stream: str, address: str, now: float) -> None:
        """Give a stream an address, instead of the one before."""

    def of(self, charm: CharmRecord) -> list[HookRecord]:
        """The hooks of a charm with their addresses."""

    def find(self, address_hash: bytes) -> HookRecord | None:
        """The hook of an address, without the address."""

    def drop(self, charm_key: int, stream: str) -> None:
        """Forget the address of a stream."""

    def lease(self, hook_key: int, until: float) -> None:
        """Note how long a hub sends to an address."""

    def poke(self, charm_key: int, stream: str, *, is_poked: bool) -> None:
        """Note that a charm is to be polled for what came to an address, or that it will be."""

    def poked(self) -> list[tuple[int, str]]:
        """The charms that are to be polled for what came, with their streams."""


class Deliveries(Protocol):
    """The ids of what came to addresses, each for a day; only hashes of them.

    `now` is by the steady clock.
    """

    def find(self, hook_key: int, id_hash: bytes, now: float) -> Delivery | None:
        """What came to an address with an id, within the last day."""

    def put(self, hook_key: int, id_hash: bytes, job_id: int, now: float) -> None:
        """Note the job that a delivery became, instead of what it was before."""

    def note_dead(self, job_id: int) -> None:
        """Note that the event of a delivery was given up: it may be delivered again."""

    def note_requeued(self, job_id: int, new_job_id: int) -> None:
        """Note that the event of a delivery that was given up is tried again, as another job."""


@dataclass(frozen=True, slots=True)
class Store:
    """The durable state of the service, by kind."""

    spaces: Spaces
    charms: Charms
    charm_lists: CharmLists
    cells: Cells
    items: CharmItems
    links: Links
    registrations: Registrations
    health: HealthRecords
    runs: Runs
    totals: Totals
    secrets: Secrets
    tokens: Tokens
    sessions: Sessions
    nonces: Nonces
    audit: Audit
    limits: LimitOverrides
    schedules: Schedules
    lives: Lives
    pauses: Pauses
    reminders: Reminders
    freshness: Freshness
    waits: Waits
    packages: Packages
    sign_ins: SignIns
    notices: Notices
    notice_targets: NoticeTargets
    notice_messages: NoticeMessages
    idempotency_keys: IdempotencyKeys
    hooks: Hooks
    deliveries: Deliveries
