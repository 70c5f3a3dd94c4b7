"""Writes what somebody is to be told into the outbox, in the transaction that causes it.

Nothing is written while nobody is told of it: the targets are known in memory. What was told, and
whose end is to be told too, is known there as well, so that a run that concerns nobody costs a look
into a set. Called by the completer, the effects and the service's own watch; delivered elsewhere.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence

from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.model import CharmHealth, DisabledBy, Origin
from bg_charm_service.domain.notices import (
    MOST_OF_A_CHARM,
    SAME_THING_SECONDS,
    Incident,
    Notice,
    NoticeKind,
    Target,
    about_charm,
)
from bg_charm_service.domain.outcomes.policy import Decision, RunStatus, Step
from bg_charm_service.domain.text_limits import MOST_NOTICES, NOTICE_CHARACTERS, cut
from bg_charm_service.storage.contract import Storage
from bg_charm_service.storage.records import CharmRecord

#: Ways of being switched off that a notice tells of; by hand is none.
_SWITCHED_OFF = {
    DisabledBy.FAILURES: NoticeKind.DISABLED,
    DisabledBy.SERVICE: NoticeKind.DISABLED,
    DisabledBy.SIGN_IN: NoticeKind.SIGN_IN,
    DisabledBy.STOPPED: NoticeKind.STOPPED,
}

#: A charm is named by its cause where that is short and plain, else by its id.
_LONGEST_CAUSE = 40
_PLAIN = re.compile(r"[\w.-]+")

#: What of these is over once the charm succeeds.
_ENDS = (NoticeKind.DISABLED, NoticeKind.SIGN_IN)


class NoticeBook:
    """The outbox of notices, from the side of those that write into it."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._database = storage.database
        self._store = storage.store
        self._clock = clock
        #: Who is told of anything.
        self.targets: tuple[Target, ...] = tuple(self._store.notice_targets.all())
        self._incidents = {(one.kind, one.subject): one for one in self._store.notices.incidents()}
        #: The charms whose next success is to be told.
        self._broken = {one.charm_key for one in self._incidents.values() if one.kind in _ENDS}
        #: The same thing is told so often at most.
        self.again_seconds = SAME_THING_SECONDS
        #: Called when something was written.
        self.on_notice: list[Callable[[], None]] = []

    def __contains__(self, charm_key: object) -> bool:
        """Whether the next success of a charm is to be told."""
        return charm_key in self._broken

    def wants(self, kind: NoticeKind, space_key: int = 0) -> bool:
        """Whether anybody is told of things of a kind, of a space or of none."""
        return any(one.takes_kind(kind) and one.space_key in (0, space_key) for one in self.targets)

    def reload(self) -> None:
        """Read who is told, once that is on disk; inside the transaction that changes it."""

        def note() -> None:
            self.targets = tuple(self._store.notice_targets.all())
            for tell in self.on_notice:
                tell()

        self._database.after_commit(note)

    # What runs cause.

    def note_end(
        self, charm: CharmRecord, origin: Origin, before: CharmHealth, decision: Decision
    ) -> None:
        """Tell of what the end of a run did to its charm, and to its event."""
        if not self.targets:
            return
        health, key = decision.health, charm.charm_key
        if decision.disables and health.disabled_by in _SWITCHED_OFF:
            kind = _SWITCHED_OFF[health.disabled_by]
            why = decision.waiting.why if decision.waiting is not None else health.last_error
            self.tell_of_charm(kind, charm, why or health.status)
            if kind in _ENDS:
                self.open(Incident(kind, str(key), self._clock.now(), charm.space_key, key))
        elif key in self._broken and decision.status is RunStatus.SUCCESS:
            self._recovered(charm)
        if decision.step is Step.BURY and origin is Origin.SEND:
            self.tell_of_charm(NoticeKind.DEAD_LETTER, charm, health.last_error)

    def _recovered(self, charm: CharmRecord) -> None:
        for kind in _ENDS:
            self.close(kind, str(charm.charm_key))
        self.tell_of_charm(NoticeKind.RECOVERED, charm, "")

    def say(self, charm: CharmRecord, texts: Sequence[str]) -> None:
        """Tell what a run of a charm says to its space's targets, as often as it may."""
        if not self.wants(NoticeKind.CHARM, charm.space_key):
            return
        key = charm.charm_key
        since = self._clock.steady() - self.again_seconds
        said = self._store.notices.said_since(key, since, MOST_OF_A_CHARM)
        for text in texts[:MOST_NOTICES]:
            digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
            # What is too much is told as one, with the count, once the hour is over.
            subject = f"{key}:{digest}" if said < MOST_OF_A_CHARM else f"{key}:more"
            said += 1
            self.tell_of_charm(NoticeKind.CHARM, charm, text, subject)

    def tell_of_charm(
        self, kind: NoticeKind, charm: CharmRecord, why: str, subject: str = ""
    ) -> None:
        """Tell of something that happened to a charm."""
        if not self.wants(kind, charm.space_key):
            return
        space = self._store.spaces.get(charm.space_key)
        named = space.name if space is not None and space.name else charm.ref.space
        # Commands take the cause as well, which is mostly a name that somebody gave.
        is_short = len(charm.cause) <= _LONGEST_CAUSE and _PLAIN.fullmatch(charm.cause)
        place = f"{named}/{charm.cause if is_short else charm.ref.charm_id}"
        text = about_charm(kind, charm.name, place, why)
        self.tell(
            Notice(kind, subject or str(charm.charm_key), text, charm.space_key, charm.charm_key)
        )

    # What anybody causes.

    def tell(self, notice: Notice) -> None:
        """Have something told, where anybody is; inside the transaction that causes it."""
        if not any(one.takes(notice) for one in self.targets):
            return
        self._store.notices.put(
            notice,
            now=self._clock.now(),
            steady=self._clock.steady(),
            again_seconds=self.again_seconds,
        )
        self._database.after_commit(self._stir)

    def incident(self, kind: NoticeKind, subject: str) -> Incident | None:
        """What is remembered of something that was told, and is not over."""
        return self._incidents.get((kind, subject))

    def incidents(self, kind: NoticeKind) -> list[Incident]:
        """All of a kind that was told and is not over."""
        return [one for one in self._incidents.values() if one.kind is kind]

    def open(self, incident: Incident) -> None:
        """Remember that something is told whose end matters; inside its transaction."""
        self._store.notices.open(incident)

        def note() -> None:
            self._incidents[incident.kind, incident.subject] = incident
            if incident.kind in _ENDS:
                self._broken.add(incident.charm_key)

        self._database.after_commit(note)

    def close(self, kind: NoticeKind, subject: str) -> None:
        """Forget something that is over; inside a transaction."""
        if (kind, subject) not in self._incidents:
            return
        self._store.notices.close(kind, subject)

        def note() -> None:
            over = self._incidents.pop((kind, subject), None)
            if over is not None and not any((one, subject) in self._incidents for one in _ENDS):
                self._broken.discard(over.charm_key)

        self._database.after_commit(note)

    def forget_removed(self) -> None:
        """Forget what was told of charms that are gone; inside a transaction."""
        keys = {one.charm_key for one in self._incidents.values() if one.charm_key}
        charms = self._store.charms.get_many(sorted(keys)) if keys else {}
        for one in list(self._incidents.values()):
            charm = charms.get(one.charm_key)
            if one.charm_key and (charm is None or charm.removed_at is not None):
                self.close(one.kind, one.subject)

    def _stir(self) -> None:
        for tell in self.on_notice:
            tell()


def checked_texts(texts: Sequence[str]) -> list[str]:
    """Give what a run says as it may be told: on few lines, and not endless."""
    return [cut(text.strip(), NOTICE_CHARACTERS) for text in texts if text.strip()]
