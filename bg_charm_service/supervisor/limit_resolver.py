"""Which limits count for a charm, and who set them; and the folder of its packages.

The operator's word counts, the nearest to the charm: service, space, charm. A class may ask for
less. No query where nothing is set: runs ask here each time. Asked by the dispatcher, the
inspections and the commands.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from msgspec.structs import replace

from bg_charm_service.domain.limits import LIMIT_NAMES, NO_CHANGES, LimitChanges, LimitName, Limits
from bg_charm_service.domain.views import LimitsView, LimitView
from bg_charm_service.storage.contract import LimitOverrides
from bg_charm_service.storage.records import CharmRecord


class LimitResolver:
    """Joins what the service, its operator and a charm's class say."""

    def __init__(
        self,
        service: Limits,
        overrides: LimitOverrides,
        folder_of: Callable[[int], str] = lambda _: "",
    ) -> None:
        self._service = service
        self._folder_of = folder_of
        self._overrides = overrides
        #: Ports that no charm may reach, the service's own: known once it listens.
        self.closed_ports: frozenset[int] = frozenset()

    def of(self, charm: CharmRecord) -> Limits:
        """The limits of a charm's runs: the same object for all that have the same."""
        limits = _narrowed(self.allowed(charm.space_key, charm.charm_key), charm.schema.asks)
        folder = self._folder_of(charm.charm_key)
        return _with_packages(limits, folder) if folder else limits

    def allowed(
        self,
        space_key: int | None = None,
        charm_key: int | None = None,
        changes: LimitChanges = NO_CHANGES,
    ) -> Limits:
        """What the operator allows in a space, to a charm; by default what anybody is.

        `changes` are those that a charm is to be added with.
        """
        limits = _overridden(self._set(space_key, charm_key), changes)
        return _closed(limits, self.closed_ports) if self.closed_ports else limits

    def set_ports(self, space_key: int | None, charm_key: int | None) -> tuple[int, ...]:
        """The ports that the operator has opened, whoever else may have closed some."""
        return self._set(space_key, charm_key).ports

    def is_set_for_charm(self, charm_key: int, name: str) -> bool:
        """Whether a limit, by its name, is set for a charm itself."""
        changes = self._overrides.of_charm(charm_key)
        return any(_has(changes, each) for each in LIMIT_NAMES if each.name == name)

    def _set(self, space_key: int | None, charm_key: int | None) -> Limits:
        limits = self._service
        if space_key is not None:
            limits = _overridden(limits, self._overrides.of_space(space_key))
        if charm_key is not None:
            limits = _overridden(limits, self._overrides.of_charm(charm_key))
        return limits

    def shown_for_space(self, space_key: int | None) -> LimitsView:
        """The limits of a space for people, with who set each; None for one that is not there."""
        return self._shown(self.allowed(space_key), space_key, None, NO_CHANGES)

    def shown_for_charm(self, charm: CharmRecord) -> LimitsView:
        """The limits of a charm's runs for people, with who set each."""
        asks = charm.schema.asks
        return self._shown(self.of(charm), charm.space_key, charm.charm_key, asks)

    def _shown(
        self, limits: Limits, space_key: int | None, charm_key: int | None, asks: LimitChanges
    ) -> LimitsView:
        of_charm = self._overrides.of_charm(charm_key) if charm_key is not None else NO_CHANGES
        of_space = self._overrides.of_space(space_key) if space_key is not None else NO_CHANGES
        allowed = self.allowed(space_key, charm_key)
        layers = (("charm", of_charm), ("space", of_space))
        if asks.processors is None:
            # It has one, which nobody has said: what it might ask for is what was set.
            limits = replace(limits, processors=allowed.processors)
        shown = []
        for each in LIMIT_NAMES:
            set_by = next((who for who, what in layers if _has(what, each)), "service")
            value = getattr(limits, each.member)
            if value != getattr(allowed, each.member):
                set_by = "class"
            shown.append(LimitView(each.name, each.write(value), set_by, each.about))
        return LimitsView(tuple(shown), tuple(unmet_wishes(allowed, asks)))


def unmet_wishes(allowed: Limits, asks: LimitChanges) -> list[str]:
    """Say what a class asks for and does not get, a sentence each."""
    unmet = []
    for each in LIMIT_NAMES:
        wanted, most = getattr(asks, each.member), getattr(allowed, each.member)
        if wanted is None:
            continue
        if each.member == "ports":
            missing = [str(port) for port in wanted if port not in most]
            if missing:
                unmet.append(
                    f"It asks for port{'s' * (len(missing) > 1)} {', '.join(missing)}, which the "
                    "operator does not allow: it runs without."
                )
        elif wanted > most:
            unmet.append(
                f"It asks for {each.name} {each.write(wanted)}, and the operator allows "
                f"{each.write(most)}: a class can only ask for less."
            )
    return unmet


def _has(changes: LimitChanges, name: LimitName) -> bool:
    return getattr(changes, name.member) is not None


# Nearly every charm has the service's limits: what is asked for most costs no hash of them.
def _overridden(limits: Limits, by: LimitChanges) -> Limits:
    return limits if by is NO_CHANGES or by == NO_CHANGES else _joined(limits, by)


def _narrowed(limits: Limits, by: LimitChanges) -> Limits:
    if by is NO_CHANGES or by == NO_CHANGES:
        return limits if limits.processors == 1 else _on_one_processor(limits)
    return _lowered(limits, by)


@lru_cache(maxsize=1024)
def _joined(limits: Limits, by: LimitChanges) -> Limits:
    return limits.overridden(by)


@lru_cache(maxsize=1024)
def _lowered(limits: Limits, by: LimitChanges) -> Limits:
    return limits.narrowed(by)


@lru_cache(maxsize=1024)
def _on_one_processor(limits: Limits) -> Limits:
    return replace(limits, processors=1)


@lru_cache(maxsize=1024)
def _closed(limits: Limits, ports: frozenset[int]) -> Limits:
    return limits.without_ports(ports)


@lru_cache(maxsize=1024)
def _with_packages(limits: Limits, folder: str) -> Limits:
    return limits.with_packages(folder)
