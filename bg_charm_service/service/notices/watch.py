"""Looks for what no run says: providers that stay down, charms that are stale, how the service is.

Looks every few seconds, at memory and along one index, and only while somebody is told of it.
What it finds is written together with what it remembers of it, so that a death in between tells
nothing twice and forgets nothing. Run by the service.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

from bg_charm_service.domain.notices import Incident, Notice, NoticeKind
from bg_charm_service.service.status.views import Problem, ProblemKind
from bg_charm_service.supervisor.loop import Parts
from bg_charm_service.supervisor.notices import NoticeBook
from bg_charm_service.supervisor.storage_health import StorageHealth

#: How often it is looked, in seconds.
LOOK_SECONDS = 5.0

#: So many stale fields are looked at.
_MOST_STALE = 1000

_BACKUPS = {ProblemKind.BACKUP, ProblemKind.BACKUP_HOOK}

#: Something to write, in one transaction with the others.
_Deed = Callable[[], None]


class NoticeWatch:
    """What is going on."""

    def __init__(
        self,
        parts: Parts,
        book: NoticeBook,
        problems: Callable[[], list[Problem]],
        storage_health: StorageHealth,
    ) -> None:
        self._parts = parts
        self._book = book
        self._problems = problems
        self._storage_health = storage_health

    def look(self) -> None:
        """Tell of what has begun or ended since the last look."""
        if not self._book.targets or self._storage_health.problem:
            # Without a disk nothing can be told, but by silence.
            return
        with self._storage_health.noting():
            deeds = [*self._providers(), *self._stale(), *self._health()]
            if deeds:
                with self._parts.database.transaction():
                    for deed in deeds:
                        deed()

    # Providers.

    def _providers(self) -> Iterator[_Deed]:
        down = self._parts.waiting.down()
        now = self._parts.clock.now()
        wanted: dict[int, set[float]] = {}
        for target in self._book.targets:
            if target.takes_kind(NoticeKind.DOWN) or target.takes_kind(NoticeKind.UP):
                wanted.setdefault(target.space_key, set()).add(target.down_after_seconds)
        for host, charms in down.items() if wanted else ():
            for space_key, moments in self._by_space(charms, wanted).items():
                for after in sorted(wanted[space_key]):
                    subject = f"{host} {after:g} {space_key}"
                    is_new = self._book.incident(NoticeKind.DOWN, subject) is None
                    if is_new and now - min(moments) >= after:
                        yield self._down(
                            host, subject, min(moments), len(moments), after, space_key
                        )
        for one in self._book.incidents(NoticeKind.DOWN):
            host = one.subject.partition(" ")[0]
            charms = down.get(host, {})
            if one.space_key:
                charms = {key: at for key, at in charms.items() if self._is_of(key, one.space_key)}
            if not charms:
                yield self._up(host, one)

    def _by_space(
        self, charms: dict[int, float], wanted: dict[int, set[float]]
    ) -> dict[int, list[float]]:
        """Since when charms wait: of all spaces together (0), and of each that has targets."""
        found = {0: list(charms.values())} if 0 in wanted else {}
        if any(wanted):
            for key, since in charms.items():
                charm = self._parts.store.charms.get(key)
                if charm is not None and charm.space_key in wanted:
                    found.setdefault(charm.space_key, []).append(since)
        return found

    def _is_of(self, charm_key: int, space_key: int) -> bool:
        charm = self._parts.store.charms.get(charm_key)
        return charm is not None and charm.space_key == space_key

    def _down(
        self, host: str, subject: str, since: float, charms: int, after: float, space_key: int
    ) -> _Deed:
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(since))
        many = "1 charm waits" if charms == 1 else f"{charms} charms wait"
        text = f"{host} is down since {moment}; {many} for it."

        def tell() -> None:
            self._book.tell(self._about_host(NoticeKind.DOWN, subject, text, after, space_key))
            self._book.open(
                Incident(NoticeKind.DOWN, subject, since, space_key, after_seconds=after)
            )

        return tell

    def _up(self, host: str, incident: Incident) -> _Deed:
        minutes = max(0.0, self._parts.clock.now() - incident.since) / 60
        text = f"{host} is back, after {minutes:.0f} min: no charm waits for it any more."

        def tell() -> None:
            self._book.tell(
                self._about_host(
                    NoticeKind.UP,
                    incident.subject,
                    text,
                    incident.after_seconds,
                    incident.space_key,
                )
            )
            self._book.close(NoticeKind.DOWN, incident.subject)

        return tell

    def _about_host(
        self, kind: NoticeKind, subject: str, text: str, after: float, space_key: int
    ) -> Notice:
        return Notice(
            kind, subject, text, space_key, is_for_space=space_key > 0, after_seconds=after
        )

    # Charms.

    def _stale(self) -> Iterator[_Deed]:
        told = {one.charm_key: one for one in self._book.incidents(NoticeKind.STALE)}
        is_wanted = any(one.takes_kind(NoticeKind.STALE) for one in self._book.targets)
        if not is_wanted and not told:
            return
        stale = self._parts.store.freshness.stale(self._parts.clock.now(), _MOST_STALE)
        for charm_key, since in stale.items():
            if charm_key not in told and is_wanted:
                deed = self._is_stale(charm_key, since)
                if deed is not None:
                    yield deed
        if len(stale) < _MOST_STALE:
            for charm_key, one in told.items():
                if charm_key not in stale:
                    yield partial(self._book.close, NoticeKind.STALE, one.subject)

    def _is_stale(self, charm_key: int, since: float) -> _Deed | None:
        store = self._parts.store
        charm = store.charms.get(charm_key)
        if charm is None or charm.removed_at is not None:
            return None
        if not store.health.get(charm_key).is_enabled:
            # That was told, and is why.
            return None

        def tell() -> None:
            why = "it did not change as its class expects"
            self._book.tell_of_charm(NoticeKind.STALE, charm, why)
            self._book.open(
                Incident(NoticeKind.STALE, str(charm_key), since, charm.space_key, charm_key)
            )

        return tell

    # The service.

    def _health(self) -> Iterator[_Deed]:
        problems = self._problems()
        others = [one.text for one in problems if one.kind not in _BACKUPS]
        told = self._book.incident(NoticeKind.UNHEALTHY, "")
        if others and told is None:
            yield self._service(NoticeKind.UNHEALTHY, f"The service is unhealthy: {others[0]}", "")
        elif told is not None and not others:
            yield self._healthy(told)
        for kind in _BACKUPS:
            texts = [one.text for one in problems if one.kind is kind]
            failed = self._book.incident(NoticeKind.BACKUP, kind)
            if texts and failed is None:
                yield self._service(NoticeKind.BACKUP, texts[0], kind)
            elif failed is not None and not texts:
                yield partial(self._book.close, NoticeKind.BACKUP, str(kind))

    def _service(self, kind: NoticeKind, text: str, subject: str) -> _Deed:
        def tell() -> None:
            self._book.tell(Notice(kind, subject, text))
            self._book.open(Incident(kind, subject, self._parts.clock.now()))

        return tell

    def _healthy(self, told: Incident) -> _Deed:
        minutes = max(0.0, self._parts.clock.now() - told.since) / 60

        def tell() -> None:
            text = f"The service is healthy again, after {minutes:.0f} min."
            self._book.tell(Notice(NoticeKind.HEALTHY, "", text))
            self._book.close(NoticeKind.UNHEALTHY, "")

        return tell
