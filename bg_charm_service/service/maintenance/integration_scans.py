"""Scans of integrations: what they list becomes what is polled; each cycle asks for them.

What one describes is added where it is not there yet, by its space and its cause.

A scan that fails, or lists what is not known here, costs nothing but a line in the log, told once.
Keeps how the last scan of each integration went, for the status and the commands.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from loguru import logger

from bg_charm_service.domain.errors import ServiceError, ServiceStopping
from bg_charm_service.domain.identity import space_did
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.domain.views import AddedCharm, NewCharm
from bg_charm_service.scanning.protocol import DescribedCharm
from bg_charm_service.scanning.scanner import Scanner, ScanResult
from bg_charm_service.service.charm_names import find_named
from bg_charm_service.storage.records import CharmRecord
from bg_charm_service.supervisor.loop import Supervisor
from bg_charm_service.supervisor.planning.polled_charms import PolledCharms

#: Adds charms, as `service.commands` does; gives for each what became of it.
AddCharms = Callable[[list[NewCharm]], Awaitable[list[AddedCharm | ServiceError]]]


@dataclass(slots=True)
class ScanState:
    """What is known of an integration's last scan; times in seconds since the epoch."""

    initialised: bool = True
    last_scan_at: float = 0.0
    last_error: str = ""
    told: set[str] = field(default_factory=set)


class IntegrationScans:
    """Scans the integrations that are active, and has polled what they list."""

    def __init__(
        self,
        supervisor: Supervisor,
        polled_charms: PolledCharms,
        scanner: Scanner,
        integrations: tuple[str, ...],
        add_charms: AddCharms,
    ) -> None:
        self.states: dict[str, ScanState] = {name: ScanState() for name in integrations}
        self._supervisor = supervisor
        self._database = supervisor.parts.database
        self._store = supervisor.parts.store
        self._planner = supervisor.parts.planner
        self._clock = supervisor.parts.clock
        self._polled_charms = polled_charms
        self._scanner = scanner
        self._add_charms = add_charms

    async def scan(self, integration_id: str) -> None:
        """Take over the charms that an integration lists now."""
        state = self.states[integration_id]
        try:
            result = await self._scanner.scan(integration_id)
        except ServiceStopping:
            return
        except ServiceError as error:
            state.last_scan_at, state.last_error = self._clock.now(), str(error)
            self._tell_once(state, integration_id, f"Scan of {integration_id} failed: {error}")
            return
        state.last_scan_at, state.last_error = self._clock.now(), ""
        state.initialised = result.initialised
        level = "WARNING" if result.initialised else "INFO"
        for problem in result.problems:
            self._tell_once(
                state, integration_id, f"Integration {integration_id}: {problem}", level
            )
        described = await self._described(integration_id, result)
        self._take_list(integration_id, (*result.charms, *described))

    async def _described(self, integration_id: str, result: ScanResult) -> list[CharmRef]:
        """Add what is described and not there yet; gives all of it that is there then."""
        # A name's DID takes a signature.
        spaces = {name: space_did(name) for name in {one.space for one in result.described}}
        refs = [CharmRef(spaces[one.space], one.cause) for one in result.described]
        missing = [
            _new_charm(one, result.sources[one.source])
            for one, ref in zip(result.described, refs, strict=True)
            if find_named(self._store, ref) is None
        ]
        if not missing:
            return refs
        added = await self._add_charms(missing)
        for new, outcome in zip(missing, added, strict=True):
            if isinstance(outcome, ServiceError):
                text = f"Integration {integration_id}: {new.cause} was not added: {outcome}"
                self._tell_once(self.states[integration_id], integration_id, text)
        return [ref for ref in refs if find_named(self._store, ref) is not None]

    def _take_list(self, integration_id: str, refs: tuple[CharmRef, ...]) -> None:
        found = {}
        state = self.states[integration_id]
        for ref in refs:
            charm = find_named(self._store, ref)
            if charm is None or charm.updater is None:
                reason = "is not known here" if charm is None else "has no updater stream"
                text = f"Integration {integration_id} lists {ref}, which {reason}"
                self._tell_once(state, integration_id, text)
                continue
            found[charm.charm_key] = charm
        before = self._polled_charms.listed(integration_id)
        gone = self._polled_charms.replace_list(integration_id, found)
        try:
            self._plan_anew(gone, found)
        except BaseException:
            # What is gone is found by comparing lists, so the next scan has to see the old one.
            self._polled_charms.replace_list(integration_id, before)
            raise

    def _plan_anew(self, gone: set[int], found: dict[int, CharmRecord]) -> None:
        new = [
            charm
            for key, charm in found.items()
            if not self._planner.is_polled(key) and self._store.health.get(key).is_enabled
        ]
        if not gone and not new:
            return
        with self._database.transaction():
            for charm_key in gone:
                self._planner.drop(charm_key)
            self._planner.ensure([(charm.charm_key, charm.ref.space) for charm in new])
        self._supervisor.wake()

    def _tell_once(
        self, state: ScanState, integration_id: str, text: str, level: str = "WARNING"
    ) -> None:
        if text not in state.told:
            state.told.add(text)
            bound = logger.bind(event="scan", integration=integration_id)
            bound.log(level, "{}", text)


def _new_charm(described: DescribedCharm, source: str) -> NewCharm:
    return NewCharm(
        source=source,
        file_name=described.file_name,
        space=described.space,
        class_name=None,
        values=described.values,
        links={},
        writable_links={},
        cause=described.cause,
        register=False,
        integration="",
        may_name_any=True,
    )
