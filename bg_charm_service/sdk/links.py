"""One run of a charm, from inside: what it has loaded so far, and the links it works through.

Values are loaded once, at first touch, and compared with what was stored when the run is over.
Used by Charm at the first read of a field, and by the worker's `charm_binding`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from pydantic_core import from_json, to_json

from bg_charm_service.domain.errors import StateError
from bg_charm_service.domain.items import TouchedItems
from bg_charm_service.domain.model import FieldKind, Remind, Send
from bg_charm_service.domain.oauth import fingerprint
from bg_charm_service.sdk.cells import Cell, Stream
from bg_charm_service.sdk.fields import SMALL_VALUE_BYTES, CharmField
from bg_charm_service.sdk.items import Items
from bg_charm_service.sdk.oauth import OAuth, read_sign_in
from bg_charm_service.sdk.run_items import ItemBudget, RunItems
from bg_charm_service.sdk.snapshot import LinkInfo, Snapshot

T = TypeVar("T")

_UNREAD: Final = object()


class Run:
    """What one run started from and has touched."""

    __slots__ = (
        "item_budget",
        "links",
        "loaded",
        "lock",
        "notices",
        "reminds",
        "sends",
        "snapshot",
    )

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.links = snapshot.links()
        self.loaded: dict[str, bytes | None] = {}
        self.sends: list[Send] = []
        self.reminds: list[Remind] = []
        self.notices: list[str] = []
        self.lock = threading.Lock()
        #: Made with the first collection that is touched, for all of them.
        self.item_budget: ItemBudget | None = None

    def stored(self, field: CharmField) -> bytes | None:
        """Give the stored JSON of a field, its default, or None when it has neither."""
        name, loaded = field.name, self.loaded
        if name not in loaded:
            # A handler may use threads, and the snapshot may ask over a socket.
            with self.lock:
                if name not in loaded:
                    try:
                        loaded[name] = self.snapshot.load(name)
                    except KeyError:
                        loaded[name] = field.default
        return loaded[name]

    def open(self, field: CharmField) -> object:
        """Give what the attribute of this name is: the value, or the link."""
        if field.kind.is_link:
            link = self.links.get(field.name)
            if link is None and field.default is not None:
                return None
            if field.kind is FieldKind.CELL:
                return LinkedCell[Any](self, field, link)
            if field.kind is FieldKind.ITEMS_CELL:
                return LinkedItems(self, field, link)
            return LinkedStream(self, field, link)
        if field.kind is FieldKind.ITEMS:
            return self.items(field, is_writable=True)
        if field.kind is FieldKind.OAUTH:
            return SignedIn(self, field)
        return self.value(field)

    def items(self, field: CharmField, *, is_writable: bool) -> RunItems[Any]:
        """Give a collection, the charm's own or one that it links to."""
        source = self.snapshot.items(field.name)
        return RunItems(field, source, self.budget(), is_writable=is_writable)

    def budget(self) -> ItemBudget:
        """Give what this run may still write of items."""
        if self.item_budget is None:
            self.item_budget = ItemBudget(self.snapshot.most_item_bytes)
        return self.item_budget

    def value(self, field: CharmField) -> Any:
        """Read a field's stored value; raises StateError when it has none or it does not fit."""
        stored = self.stored(field)
        if stored is None:
            raise StateError(f"{field.name}: it has no value, and no default")
        return field.load(stored)

    def changed(self, field: CharmField, value: object) -> bytes | None:
        """Give the JSON to write for a value that was touched; None when it did not change."""
        dumped = field.dump(value)
        if field.name not in self.loaded and len(dumped) > SMALL_VALUE_BYTES:
            field.check(value, dumped)  # replaced unread: fetching the old one gains nothing
            return dumped
        stored = self.stored(field)
        if dumped == stored:
            if len(dumped) <= SMALL_VALUE_BYTES:
                field.check_finite(value, dumped)
            return None
        if stored is not None and dumped == _normalized(field, stored):
            return None
        field.check(value, dumped)
        return dumped


class LinkedCell(Cell[T]):
    """A cell elsewhere, as a run sees it."""

    __slots__ = ("_baseline", "_field", "_link", "_run")

    def __init__(self, run: Run, field: CharmField, link: LinkInfo | None) -> None:
        self._run = run
        self._field = field
        self._link = link
        self._value: Any = _UNREAD
        self._baseline: bytes | None = None

    def get(self) -> T:
        if self._value is _UNREAD:
            link = self._linked()
            value = self._run.value(self._field)
            if not link.writable:
                self._baseline = self._field.dump(value)
            self._value = value
        value_: T = self._value
        return value_

    def set(self, value: T) -> None:
        if not self._linked().writable:
            raise StateError(f"{self._field.name}: this link may only be read")
        self._value = value

    def changed(self) -> bytes | None:
        """Give the JSON to write to the linked cell; None when it did not change."""
        if self._value is _UNREAD:
            return None
        if not self._linked().writable:
            if self._field.dump(self._value) != self._baseline:
                raise StateError(f"{self._field.name}: changed, but this link may only be read")
            return None
        dumped = self._run.changed(self._field, self._value)
        if dumped is None:
            return None
        stored = self._run.loaded.get(self._field.name)
        return dumped if stored is None else _keeping_unknown(self._field, stored, dumped)

    def _linked(self) -> LinkInfo:
        if self._link is None:
            raise _not_linked(self._field)
        return self._link


class LinkedItems(Cell[Items[Any]]):
    """A collection elsewhere, as a run sees it."""

    __slots__ = ("_field", "_items", "_link", "_run")

    def __init__(self, run: Run, field: CharmField, link: LinkInfo | None) -> None:
        self._run = run
        self._field = field
        self._link = link
        self._items: RunItems[Any] | None = None

    def get(self) -> RunItems[Any]:
        if self._items is None:
            if self._link is None:
                raise _not_linked(self._field)
            self._items = self._run.items(self._field, is_writable=self._link.writable)
        return self._items

    def set(self, value: Items[Any]) -> None:
        raise StateError(f"{self._field.name} is a collection: write {self._field.name}.get()[key]")

    def touched(self) -> TouchedItems | None:
        """Say what the run saw and wrote of it; None where it touched nothing."""
        return self._items.touched() if self._items is not None else None


class SignedIn(OAuth):
    """A sign-in, as a run sees it."""

    __slots__ = ("_field", "_run")

    def __init__(self, run: Run, field: CharmField) -> None:
        self._stored = None
        self._run = run
        self._field = field

    async def renew(self) -> None:
        seen = fingerprint(self.token)
        value = await self._run.snapshot.renew(self._field.name, seen)
        self._run.loaded[self._field.name] = value
        self._stored = read_sign_in(value)

    def _known(self) -> dict[str, Any]:
        if self._stored is None:
            stored = self._run.stored(self._field)
            if stored is None:
                raise StateError(f"{self._field.name}: nobody has signed in")
            self._stored = read_sign_in(stored)
        return self._stored


class LinkedStream(Stream):
    """A stream elsewhere, as a run sees it."""

    __slots__ = ("_field", "_is_linked", "_run")

    def __init__(self, run: Run, field: CharmField, link: LinkInfo | None) -> None:
        super().__init__()
        self._run = run
        self._field = field
        self._is_linked = link is not None

    def send(self, event: Any) -> None:
        if not self._is_linked:
            raise _not_linked(self._field)
        dumped = self._field.dump(event)
        self._field.check(event, dumped)
        self._run.sends.append(Send(self._field.name, dumped))


def _not_linked(field: CharmField) -> StateError:
    target = "stream" if field.kind is FieldKind.STREAM else "field"
    return StateError(
        f"{field.name}: not linked; set it with --link {field.name}=SPACE/CHARM/{target}"
    )


def _normalized(field: CharmField, stored: bytes) -> bytes | None:
    try:
        return field.normalize(stored)
    except StateError:
        return None  # what was stored does not fit: whatever replaces it is a change


def _keeping_unknown(field: CharmField, stored: bytes, dumped: bytes) -> bytes:
    """Carry over the members of a linked value that this charm's type does not know.

    Others share the cell, and their types may know more of it.
    """
    known = _normalized(field, stored)
    if known is None or known == stored:
        return dumped
    merged = _merged(from_json(stored), from_json(known), from_json(dumped))
    return to_json(merged)


def _merged(stored: Any, known: Any, new: Any) -> Any:
    if not (
        isinstance(stored, Mapping) and isinstance(known, Mapping) and isinstance(new, Mapping)
    ):
        return new
    unknown = {name: value for name, value in stored.items() if name not in known}
    return unknown | {
        name: _merged(stored.get(name), known.get(name), value) for name, value in new.items()
    }
