"""Asks integrations for their charms, each in a process of its own, within the scans' limits.

A fetch or check that is late, fails or crashes costs that integration's scan and nothing else: its
process is killed, and the list of the last minutes stands in. Must not plan jobs or log results.
Called by the supervisor and the command line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from bg_charm_service.domain.clock import Clock
from bg_charm_service.domain.errors import FrameError, NotFound, ServiceStopping
from bg_charm_service.domain.model import CharmRef
from bg_charm_service.scanning.charm_list import MAX_PROBLEMS
from bg_charm_service.scanning.discovery import MANUAL_ID, Source
from bg_charm_service.scanning.protocol import (
    CellWrite,
    Check,
    Checked,
    DescribedCharm,
    Fetch,
    Find,
    Found,
    Initialize,
    Initialized,
    IntegrationInfo,
    Listed,
    Load,
    Loaded,
    Request,
)
from bg_charm_service.scanning.scan_client import ReadCellCallback, ScanChild, ScanError

#: Gives a charm's stored state as JSON, secrets redacted; None when there is no such charm.
ReadCharmCallback = Callable[[CharmRef], bytes | None]

#: Charms checked in one request, and how many bytes of state at most beyond the first one.
_BATCH_CHARMS = 200
_BATCH_BYTES = 8 * 1024 * 1024

Expected = TypeVar("Expected")


@dataclass(frozen=True, slots=True)
class ScanLimits:
    """How long a scan may take, the fetch inside it, and how old a list may be that stands in.

    With no such list to fall back on, a late fetch may use up the whole scan's time.
    """

    fetch_seconds: float = 5.0
    scan_seconds: float = 20.0
    cache_seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The integrations that can be run, and what is wrong with the others."""

    integrations: tuple[IntegrationInfo, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ScanResult:
    """The charms that an integration contributes; `from_cache` when an earlier list stands in.

    Those that it describes are to be added where they are not there; they are its own, so it is not
    asked whether they are valid.
    """

    charms: tuple[CharmRef, ...]
    problems: tuple[str, ...] = ()
    initialised: bool = True
    from_cache: bool = False
    described: tuple[DescribedCharm, ...] = ()
    sources: tuple[str, ...] = ()


@dataclass(slots=True)
class _IntegrationState:
    """One integration: its process while there is one, its last good list."""

    info: IntegrationInfo
    source: Source
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    child: ScanChild | None = None
    last: ScanResult | None = None
    last_at: float = 0.0


class Scanner:
    """Runs integrations' code in scan processes; processes start at their first use."""

    def __init__(
        self,
        *,
        read_cell: ReadCellCallback,
        read_charm: ReadCharmCallback,
        clock: Clock,
        integrations_dir: Path | None = None,
        manual_charms: Sequence[CharmRef] = (),
        limits: ScanLimits | None = None,
    ) -> None:
        self._group = _ScanGroup(read_cell)
        self._read_charm = read_charm
        self._clock = clock
        self._directory = integrations_dir
        self._manual = tuple(manual_charms)
        self._limits = limits or ScanLimits()
        self._discovery = asyncio.Lock()
        self._catalogue: Catalogue | None = None
        self._states: dict[str, _IntegrationState] = {}

    async def describe(self) -> Catalogue:
        """Load every integration once, in a process that ends afterwards; remembered."""
        async with self._discovery:
            if self._catalogue is None:
                self._catalogue = await self._discover()
            return self._catalogue

    async def scan(self, integration_id: str) -> ScanResult:
        """Give the valid charms that an integration lists.

        Raises ScanError when it fails and no list of the last minutes stands in.
        """
        if integration_id == MANUAL_ID:
            return ScanResult(self._manual)
        state = await self._state_of(integration_id)
        async with state.lock:
            try:
                result = await _within_seconds(
                    self._limits.scan_seconds, "scan", self._scan_now(state)
                )
            except ScanError as error:
                recent_list = self._recent_list(state)
                if recent_list is None:
                    raise
                return replace(recent_list, problems=(str(error),), from_cache=True)
            state.last, state.last_at = result, self._clock.steady()
            return result

    async def initialize(self, integration_id: str) -> tuple[CellWrite, ...]:
        """Run an integration's `initialize` and give what is to be written for it."""
        if integration_id == MANUAL_ID:
            return ()
        state = await self._state_of(integration_id)
        async with state.lock:
            request = self._ask(state, Initialize(), Initialized)
            answer = await _within_seconds(self._limits.scan_seconds, "initialize", request)
        return answer.writes

    async def check(self, integration_id: str, charms: Sequence[bytes]) -> Checked:
        """Tell which of these stored charms, each as JSON, the integration counts as valid."""
        state = await self._state_of(integration_id)
        async with state.lock:
            request = self._ask(state, Check(tuple(charms)), Checked)
            return await _within_seconds(self._limits.scan_seconds, "check", request)

    async def stop(self) -> None:
        """Kill all processes and wait for their end; may be called twice."""
        await self._group.stop()

    async def _discover(self) -> Catalogue:
        infos = {MANUAL_ID: IntegrationInfo(MANUAL_ID, "Manual", "--charms")}
        child = await self._group.start("discovery")
        try:
            directory = str(self._directory.absolute()) if self._directory else None
            found = await self._load_limited(child, Find(directory), Found)
            problems = list(found.problems)
            for source in found.sources:
                if not child.is_alive:
                    child = await self._group.start("discovery")
                try:
                    info = (await self._load_limited(child, Load(source), Loaded)).info
                except ScanError as error:
                    problems.append(f"{source} cannot be used: {error}")
                    continue
                if info.id in infos:
                    taken = infos[info.id].source
                    problems.append(f"{source} is not used: {taken} has the id {info.id} already")
                    continue
                infos[info.id] = info
                self._states[info.id] = _IntegrationState(info, source)
        finally:
            self._group.end(child)
        return Catalogue(tuple(infos[key] for key in sorted(infos)), tuple(problems))

    async def _load_limited(
        self, child: ScanChild, request: Find | Load, expected: type[Expected]
    ) -> Expected:
        asked = self._group.ask(child, request, expected)
        return await _within_seconds(self._limits.scan_seconds, "load", asked)

    async def _state_of(self, integration_id: str) -> _IntegrationState:
        catalogue = await self.describe()
        if integration_id not in self._states:
            known = ", ".join(info.id for info in catalogue.integrations)
            raise NotFound(f"Unknown integration: {integration_id}. Available: {known}")
        return self._states[integration_id]

    async def _scan_now(self, state: _IntegrationState) -> ScanResult:
        await self._running_child(state)
        # Only where a list can stand in is it better to give up early.
        fetch_seconds = self._limits.fetch_seconds if self._recent_list(state) else None
        fetch = self._ask(state, Fetch(), Listed)
        listed = await _within_seconds(fetch_seconds, "fetch", fetch)
        if not all(0 <= one.source < len(listed.sources) for one in listed.described):
            raise ScanError("it describes a charm without its source")
        refs = [CharmRef(space, charm_id) for space, charm_id in listed.charms]
        if not state.info.checks_charms:
            return ScanResult(
                tuple(refs),
                listed.problems,
                listed.initialised,
                described=listed.described,
                sources=listed.sources,
            )
        valid: list[CharmRef] = []
        problems = list(listed.problems)
        for batch in self._batches(refs, problems):
            charm_states = tuple(charm_state for _, charm_state in batch)
            checked = await self._ask(state, Check(charm_states), Checked)
            problems += checked.problems
            valid += [ref for (ref, _), good in zip(batch, checked.valid, strict=True) if good]
        return ScanResult(
            tuple(valid),
            _shortened(problems),
            listed.initialised,
            described=listed.described,
            sources=listed.sources,
        )

    def _batches(
        self, refs: list[CharmRef], problems: list[str]
    ) -> Iterator[list[tuple[CharmRef, bytes]]]:
        batch: list[tuple[CharmRef, bytes]] = []
        size = 0
        for ref in refs:
            charm_state = self._read_charm(ref)
            if charm_state is None:
                problems.append(f"{ref} is listed, but there is no such charm.")
                continue
            batch.append((ref, charm_state))
            size += len(charm_state)
            if len(batch) == _BATCH_CHARMS or size > _BATCH_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def _recent_list(self, state: _IntegrationState) -> ScanResult | None:
        age_seconds = self._clock.steady() - state.last_at
        return state.last if age_seconds <= self._limits.cache_seconds else None

    async def _running_child(self, state: _IntegrationState) -> ScanChild:
        if state.child is None or not state.child.is_alive:
            child = await self._group.start(state.info.id)
            try:
                await self._group.ask(child, Load(state.source), Loaded)
            except ScanError:
                self._group.end(child)
                raise
            state.child = child
        return state.child

    async def _ask(
        self, state: _IntegrationState, request: Request, expected: type[Expected]
    ) -> Expected:
        return await self._group.ask(await self._running_child(state), request, expected)


class _ScanGroup:
    """Owns every scan process, from its start until nothing of it is left.

    A process whose answer nobody waits for any more is killed, so that an answer that comes late
    is never taken for the next one. Knows nothing of what an answer means.
    """

    def __init__(self, read_cell: ReadCellCallback) -> None:
        self._read_cell = read_cell
        self._children: set[ScanChild] = set()
        self._endings: set[asyncio.Task[None]] = set()
        self._stopped = False

    async def start(self, label: str) -> ScanChild:
        """Start a process; raises ServiceStopping after `stop`."""
        self._refuse_if_stopped()
        child = await ScanChild.start(label, self._read_cell)
        self._children.add(child)
        try:
            self._refuse_if_stopped()
        except ServiceStopping:
            self.end(child)
            raise
        return child

    async def ask(self, child: ScanChild, request: Request, expected: type[Expected]) -> Expected:
        """Ask a process; raises ScanError, after which it lives on only if its code raised."""
        try:
            return await child.ask(request, expected)
        except ScanError:
            if not child.is_alive:
                self.end(child)
            raise
        except FrameError as error:
            self.end(child)
            raise ScanError(f"its process does not answer as agreed: {error}") from None
        except BaseException:
            self.end(child)
            raise

    def end(self, child: ScanChild) -> None:
        """Kill a process and what it started; its end is awaited by `stop`."""
        child.kill()
        if child in self._children:
            self._children.remove(child)
            ending = asyncio.get_running_loop().create_task(child.wait_closed())
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)

    async def stop(self) -> None:
        """Kill all processes and wait for their end; may be called twice."""
        self._stopped = True
        for child in list(self._children):
            self.end(child)
        while self._endings:
            await asyncio.wait(self._endings)

    def _refuse_if_stopped(self) -> None:
        if self._stopped:
            raise ServiceStopping("The service is stopping.")


async def _within_seconds(
    seconds: float | None, what: str, answer: Coroutine[None, None, Expected]
) -> Expected:
    try:
        async with asyncio.timeout(seconds):
            return await answer
    except TimeoutError:
        raise ScanError(f"its {what} took longer than {seconds:g} s") from None


def _shortened(problems: list[str]) -> tuple[str, ...]:
    different = list(dict.fromkeys(problems))
    more = len(different) - MAX_PROBLEMS
    return (*different[:MAX_PROBLEMS], *([f"… and {more} more problems."] if more > 0 else []))
