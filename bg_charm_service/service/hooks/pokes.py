"""Polls that senders outside ask for: any number of them is one poll, and none is lost.

One that comes while its charm is polled stands in the row of its hook until that run is settled,
and then has it polled once more: what the run has read may be older. Told by the supervisor of what
is settled.
"""

from __future__ import annotations

from collections.abc import Sequence

from bg_charm_service.domain.model import POLL_EVENT, Origin
from bg_charm_service.storage.records import CharmRecord
from bg_charm_service.supervisor.completer import Settled
from bg_charm_service.supervisor.loop import Supervisor
from bg_charm_service.supervisor.planning.polled_charms import PolledCharms


class Pokes:
    """Has charms polled that were poked."""

    def __init__(self, supervisor: Supervisor, polled_charms: PolledCharms) -> None:
        self._supervisor = supervisor
        self._parts = supervisor.parts
        self._store = supervisor.parts.store
        self._queue = supervisor.parts.queue
        self._polled_charms = polled_charms
        #: Charms that were poked during a run, with their streams.
        self._poked: dict[int, str] = {}
        #: Those of them whose run is over.
        self._over: set[int] = set()

    def poke(self, charm: CharmRecord, stream: str) -> None:
        """Have a charm polled, unless it is off, paused or polled by nobody; on disk at the end."""
        with self._parts.database.transaction():
            is_put_off = self._is_polled_now(charm.charm_key)
            if is_put_off:
                self._store.hooks.poke(charm.charm_key, stream, is_poked=True)
            else:
                self._poll(charm)
        if is_put_off:
            self._poked[charm.charm_key] = stream
        self._supervisor.wake()

    def recover(self) -> None:
        """Have those polled that were poked when an earlier life of the service ended."""
        with self._parts.database.transaction():
            for charm_key, stream in self._store.hooks.poked():
                self._poll_poked(charm_key, stream)

    def settled(self, settled: Sequence[Settled]) -> None:
        """Have charms polled once more that were poked during a run that is over."""
        if not self._poked:
            return
        self._over |= {one.run.claim.charm_key for one in settled} & self._poked.keys()
        for charm_key in sorted(self._over):
            if self._is_polled_now(charm_key):
                continue
            # Where that cannot be written it stays noted, and is done after the next run of any.
            with self._supervisor.storage_health.noting():
                with self._parts.database.transaction():
                    self._poll_poked(charm_key, self._poked[charm_key])
                self._over.discard(charm_key)
                del self._poked[charm_key]
                self._supervisor.wake()

    def _poll_poked(self, charm_key: int, stream: str) -> None:
        self._store.hooks.poke(charm_key, stream, is_poked=False)
        charm = self._store.charms.get(charm_key)
        if charm is not None and charm.removed_at is None:
            self._poll(charm)

    def _is_polled_now(self, charm_key: int) -> bool:
        run = self._parts.runs.of_charm(charm_key)
        return run is not None and run.claim.job.origin is not Origin.SEND

    def _poll(self, charm: CharmRecord) -> None:
        key = charm.charm_key
        health = self._store.health.get(key)
        if charm.updater is None or key not in self._polled_charms or not health.is_enabled:
            return
        if self._store.pauses.over(charm.space_key, key) is not None:
            # Nothing of it is made up for.
            return
        steady = self._parts.clock.steady()
        run_at = max(steady, self._parts.waiting.not_before(key))
        if run_at == steady and self._queue.hasten(key, steady) is not None:
            return
        self._queue.put_poll(
            charm.space_key,
            key,
            charm.ref,
            charm.updater,
            POLL_EVENT,
            origin=Origin.POLL,
            run_at=run_at,
            now=self._parts.clock.now(),
        )
