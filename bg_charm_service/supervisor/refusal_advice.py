"""What to do about a refusal or a limit, with the command that does it where one does.

A worker says what was refused; which ports are open and whose word that is stands here, so the
command names the real space and all its ports. Used where runs are settled and sources inspected.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from bg_charm_service.domain.errors import FailureCause
from bg_charm_service.domain.limits import LIMIT_NAMES, Limits
from bg_charm_service.domain.model import Failure
from bg_charm_service.domain.outcomes.refusals import Refusal, RefusalKind, told
from bg_charm_service.domain.quantities import ports_text
from bg_charm_service.domain.text_limits import STORED_ERROR_CHARACTERS
from bg_charm_service.storage.contract import Store
from bg_charm_service.storage.records import CharmRecord
from bg_charm_service.supervisor.limit_resolver import LimitResolver

#: Limits that a source may need more of while it is loaded, by the failure that says so.
_LIMITS: Final = {
    FailureCause.TIMEOUT: "timeout",
    FailureCause.CPU: "cpu",
    FailureCause.MEMORY: "memory",
    FailureCause.FILES: "files",
    FailureCause.THREADS: "threads",
    FailureCause.SCRATCH: "scratch",
}

_ABOUT: Final = {each.name: each for each in LIMIT_NAMES}

#: A cause that names its charm on a command line as it stands.
_PLAIN_CAUSE: Final = re.compile(r"[A-Za-z0-9][\w.-]*")

_OF_A_PORT: Final = (RefusalKind.PORT, RefusalKind.NAMES)


@dataclass(frozen=True, slots=True)
class Place:
    """Whom limits are set for: a space by its name, and the charm, where it is there already."""

    space: str
    space_key: int | None = None
    charm: CharmRecord | None = None

    @property
    def charm_key(self) -> int | None:
        return self.charm.charm_key if self.charm is not None else None


class RefusalAdvice:
    """Puts behind an error what was refused, and what to do about it."""

    def __init__(self, store: Store, limits: LimitResolver) -> None:
        self._store = store
        self._limits = limits

    def place_of(self, charm: CharmRecord) -> Place:
        """Where the limits of a charm that is there are set."""
        space = self._store.spaces.get(charm.space_key)
        name = space.name if space is not None else ""
        return Place(name or charm.ref.space, charm.space_key, charm)

    def allowed(self, place: Place) -> Limits:
        """What the operator allows there."""
        return self._limits.allowed(place.space_key, place.charm_key)

    def of_run(self, charm: CharmRecord, failure: Failure) -> Failure:
        """Give the failure of a run with what was refused to it, in words."""
        refusal = failure.refusal
        if refusal is None and failure.cause is FailureCause.FORBIDDEN:
            refusal = Refusal(RefusalKind.CALL)
        if refusal is None:
            return failure
        asks = charm.schema.asks.ports
        said = self._told(refusal, self.place_of(charm), asks)
        return replace(failure, message=with_hint(failure.message, said), refusal=None)

    def of_hidden(self, charm: CharmRecord, refused: tuple[Refusal, ...]) -> str:
        """Give lines for the log of a run to which something was refused that it passed over."""
        place, asks = self.place_of(charm), charm.schema.asks.ports
        return "".join(f"[refused] {self._told(each, place, asks)}\n" for each in refused)

    def of_loading(self, place: Place, within: Limits, failure: Failure) -> str:
        """Give the error of a source that did not load within these limits, and what to do."""
        if failure.refusal is not None:
            return with_hint(failure.message, self._told(failure.refusal, place, None))
        name = _LIMITS.get(failure.cause)
        if name is None:
            return failure.message
        known = _ABOUT[name]
        more = known.write(2 * getattr(within, known.member))
        return with_hint(failure.message, f"allow more: {self._command(place, name, more)}")

    def _told(self, refusal: Refusal, place: Place, asks: tuple[int, ...] | None) -> str:
        said = told(refusal)
        if refusal.kind not in _OF_A_PORT:
            return said
        port = refusal.port
        if port in self._limits.closed_ports:
            return f"{said}: it is this service's own, and closed to every charm"
        allowed = self._limits.set_ports(place.space_key, place.charm_key)
        in_class = "" if asks is None or port in asks else f"name {port} in `network` of its class"
        if port in allowed:
            return f"{said}: {in_class}" if in_class else said
        ports = ports_text(tuple(sorted({*allowed, port})))
        command = self._command(place, "network", ports)
        return f"{said}: {command}" + (f", and {in_class}" if in_class else "")

    def _command(self, place: Place, name: str, value: str) -> str:
        """The command that sets a limit where it counts."""
        charm, where = place.charm, shlex.quote(place.space)
        if charm is not None and self._limits.is_set_for_charm(charm.charm_key, name):
            is_plain = _PLAIN_CAUSE.fullmatch(charm.cause) is not None
            where = f"{where}/{charm.cause}" if is_plain else str(charm.ref)
        return f"`bg-charm-service limits {where} --{name}={value}`"


def with_hint(text: str, hint: str) -> str:
    """Put a hint behind an error, which is cut rather than the hint."""
    behind = f" ({hint})"
    return text[: STORED_ERROR_CHARACTERS - len(behind)] + behind
