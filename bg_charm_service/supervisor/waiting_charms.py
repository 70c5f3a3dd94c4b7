"""The charms that wait: stored with the end of the run that says so, and remembered for all others.

Each charm waits by itself, for its own time; a host only joins those that wait for the same one,
for whoever is told of it, and lets the others of its space be asked soon once one was answered.
Applies what the policy decided: to the store, the queue and the schedule. Called by the completer,
inside its transaction, and by the commands; asked by the status and the log.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from msgspec.structs import replace

from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.domain.outcomes.run_endings import (
    LONGEST_PAUSE_SECONDS,
    LONGEST_WAIT_SECONDS,
    SPREAD_SECONDS,
    EndingKind,
    HostDown,
    Waiting,
    WaitingView,
    brought_forward,
)
from bg_charm_service.storage.contract import Storage
from bg_charm_service.storage.records import Link
from bg_charm_service.supervisor.planning.poll_planner import PollPlanner

#: So many charms are brought forward by one success.
MOST_AT_ONCE = 200


class WaitingCharms:
    """What each charm waits for; nothing for most."""

    def __init__(self, storage: Storage, clock: Clock, planner: PollPlanner) -> None:
        self._database = storage.database
        self._store = storage.store
        self._queue = storage.queue
        self._clock = clock
        self._planner = planner
        #: What is on disk: read often, and changed once a transaction is over.
        self._known: dict[int, Waiting] = {}
        #: Of the hosts that are down, which charms wait for each, and since when.
        self._hosts: dict[str, dict[int, float]] = {}
        #: Hosts that were told to be down, and not told to be back; and since when they are.
        self._told: set[str] = set()
        self._since: dict[str, float] = {}
        #: By the charm whose change may be a sign-in: its field, or any, and who waits for it.
        self._credentials: defaultdict[int, list[tuple[str, int]]] = defaultdict(list)
        self._kinds: Counter[EndingKind] = Counter()
        #: Called with a host that is down, and why; with one that answers, and after how many
        #: seconds.
        self.on_down: list[Callable[[str, str], None]] = []
        self.on_up: list[Callable[[str, float], None]] = []
        for one in self._store.waits.all():
            self._remember(one.charm_key, one.waiting, self._links(one.charm_key, one.waiting))
        self._told.update(self._hosts)

    def recover(self) -> None:
        """Go on waiting where an earlier life ended, whose clock may have been another.

        Comes after the queue has brought its jobs near: those of charms that wait do so again.
        """
        if not self._known:
            return
        steady = self._clock.steady()
        with self._database.transaction():
            self._store.waits.bring_near(
                steady + LONGEST_WAIT_SECONDS, named=steady + LONGEST_PAUSE_SECONDS
            )
            for one in self._store.waits.all():
                links = self._links(one.charm_key, one.waiting)
                self._remember(one.charm_key, one.waiting, links)
                if one.waiting.holds_events:
                    self._queue.put_off(one.space_key, one.charm_key, one.waiting.until)

    def __contains__(self, charm_key: object) -> bool:
        return charm_key in self._known

    def get(self, charm_key: int) -> Waiting | None:
        """What a charm waits for; inside a transaction as that has changed it."""
        return self._store.waits.get(charm_key) if charm_key in self._known else None

    def not_before(self, charm_key: int) -> float:
        """When the next event of a charm may run, by the steady clock; 0 for at once."""
        known = self._known.get(charm_key)
        return known.until if known is not None and known.holds_events else 0.0

    def is_off(self, charm_key: int) -> bool:
        """Whether a charm is not polled because it stopped itself, or somebody has to sign in."""
        known = self._known.get(charm_key)
        return known is not None and known.kind in (EndingKind.SIGN_IN, EndingKind.STOP)

    def view(self, charm_key: int) -> WaitingView | None:
        """What a charm waits for, to be shown."""
        known = self._known.get(charm_key)
        if known is None:
            return None
        until = known.until and known.until - self._clock.steady() + self._clock.now()
        return WaitingView(known.kind, until, known.since, known.host, known.why, known.url)

    def hosts(self) -> list[HostDown]:
        """The hosts that are down, those first that the most charms wait for.

        A charm that nobody polls any more says nothing about its host once its time has come.
        """
        found = [
            HostDown(host, min(charms.values()), len(charms))
            for host, charms in self.down().items()
        ]
        return sorted(found, key=lambda one: (-one.charms, one.host))

    def down(self) -> dict[str, dict[int, float]]:
        """Which charms wait for each host that is down, and since when, as `hosts` has it."""
        steady, is_polled = self._clock.steady(), self._planner.is_polled
        found = {
            host: {
                key: began
                for key, began in charms.items()
                if is_polled(key) or self._known[key].until > steady
            }
            for host, charms in self._hosts.items()
        }
        return {host: charms for host, charms in found.items() if charms}

    def of_kind(self, kind: EndingKind) -> int:
        """How many charms wait for something of that kind."""
        return self._kinds[kind]

    def settle(
        self,
        ref: CharmRef,
        charm_key: int,
        space_key: int,
        before: Waiting | None,
        after: Waiting | None,
    ) -> None:
        """Let a charm wait as a run's end says, from what it waited for; inside a transaction.

        Its poll, and the first of its events, wait with it. The end of the job itself is the
        caller's, and comes before this.
        """
        if after is None:
            self._end(ref, charm_key, space_key, before)
            return
        self._store.waits.put(charm_key, space_key, after)
        self._move(space_key, charm_key, after)
        links = self._links(charm_key, after)
        self._database.after_commit(partial(self._note, charm_key, after, links))

    def forget(self, ref: CharmRef, charm_key: int, space_key: int) -> None:
        """Let a charm wait for nothing any more: a person decided it; inside a transaction."""
        before = self.get(charm_key)
        if before is not None:
            self._end(ref, charm_key, space_key, before)

    def host_answered(self, space_key: int, host: str) -> None:
        """Let the charms of a space be asked soon that wait for a host; inside a transaction.

        Spread over a minute. Those that are asked within one anyway are left alone; of very many
        some come with the next success, so that none holds up the loop.
        """
        steady = self._clock.steady()
        soon = steady + SPREAD_SECONDS
        waiting = self._store.waits.at_host(space_key, host, soon, MOST_AT_ONCE)
        for one, delay in zip(waiting, brought_forward(len(waiting)), strict=True):
            before = one.waiting
            after = replace(before, until=steady + delay)
            self._store.waits.put(one.charm_key, space_key, after)
            self._queue.bring_on(space_key, one.charm_key, before.until, after.until)
            self._planner.move(one.charm_key, after.until)
            self._database.after_commit(partial(self._remember, one.charm_key, after))
        self._database.after_commit(partial(self._tell_up, host))

    def signed_in_by(self, charm_key: int, fields: Iterable[str]) -> list[int]:
        """The charms that may be signed in again now that fields of a charm have changed.

        It itself, or those that have a link to one of the fields.
        """
        if charm_key not in self._credentials:
            return []
        changed = {"", *fields}
        return sorted({key for field, key in self._credentials[charm_key] if field in changed})

    @property
    def needs_sign_in(self) -> bool:
        """Whether any charm waits for a sign-in: only then a change may be one."""
        return bool(self._credentials)

    def _end(self, ref: CharmRef, charm_key: int, space_key: int, before: Waiting | None) -> None:
        if before is None:
            return
        self._store.waits.drop(charm_key)
        if before.until:
            # What waited with it need not any longer.
            self._queue.bring_on(space_key, charm_key, before.until, self._clock.steady())
            self._planner.resume(ref, charm_key, before.until)
        self._database.after_commit(lambda: self._forget(charm_key))

    def _move(self, space_key: int, charm_key: int, waiting: Waiting) -> None:
        if waiting.holds_events:
            self._queue.put_off(space_key, charm_key, waiting.until)
        if waiting.until:
            self._planner.move(charm_key, waiting.until)

    def _links(self, charm_key: int, waiting: Waiting) -> Sequence[Link]:
        """What a charm has links to that waits for a sign-in; read before anything is committed."""
        return self._store.links.of(charm_key) if waiting.kind is EndingKind.SIGN_IN else ()

    def _note(self, charm_key: int, waiting: Waiting, links: Sequence[Link]) -> None:
        """Remember what the end of a run has said, and tell of a host that is down anew."""
        if waiting.host not in self._hosts:
            # Who waited for it before is gone, and whether it answered meanwhile nobody saw.
            self._told.discard(waiting.host)
            self._since.pop(waiting.host, None)
        self._remember(charm_key, waiting, links)
        if waiting.kind is EndingKind.DOWN and waiting.host not in self._told:
            self._told.add(waiting.host)
            for tell in self.on_down:
                tell(waiting.host, waiting.why)

    def _tell_up(self, host: str) -> None:
        if host in self._told:
            self._told.discard(host)
            since = self._since.pop(host, self._clock.now())
            for tell in self.on_up:
                tell(host, self._clock.now() - since)

    def _remember(self, charm_key: int, waiting: Waiting, links: Sequence[Link] = ()) -> None:
        self._forget(charm_key)
        self._known[charm_key] = waiting
        self._kinds[waiting.kind] += 1
        if waiting.kind is EndingKind.DOWN:
            self._hosts.setdefault(waiting.host, {})[charm_key] = waiting.since
            self._since.setdefault(waiting.host, waiting.since)
        elif waiting.kind is EndingKind.SIGN_IN:
            self._credentials[charm_key].append(("", charm_key))
            for link in links:
                field = link.path[0] if link.path else ""
                self._credentials[link.target_key].append((field, charm_key))

    def _forget(self, charm_key: int) -> None:
        before = self._known.pop(charm_key, None)
        if before is None:
            return
        self._kinds[before.kind] -= 1
        if before.kind is EndingKind.DOWN:
            charms = self._hosts[before.host]
            del charms[charm_key]
            if not charms:
                del self._hosts[before.host]
        elif before.kind is EndingKind.SIGN_IN:
            for target, entries in list(self._credentials.items()):
                left = [one for one in entries if one[1] != charm_key]
                if left:
                    self._credentials[target] = left
                else:
                    del self._credentials[target]
