"""Between a worker and a charm class: bind it to a snapshot, find its handler, see what it changed.

Also answers what `charm add` and `charm set` need to know of a class. Not for authors, and it
runs no handler itself; the worker does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from inspect import cleandoc
from typing import Any, Final

from bg_charm_service.domain.class_words import Said
from bg_charm_service.domain.errors import NotFound
from bg_charm_service.domain.items import TouchedItems
from bg_charm_service.domain.model import (
    UPDATER_STREAMS,
    CharmSchema,
    FieldKind,
    FieldSchema,
    Remind,
    Send,
)
from bg_charm_service.sdk.charm import Charm, CharmContext, attach, class_schema, run_of
from bg_charm_service.sdk.class_words import hidden_names, said_by
from bg_charm_service.sdk.events.event_types import event_problem, read_event_types
from bg_charm_service.sdk.events.hooks import read_hooks
from bg_charm_service.sdk.expectations import read_expectations
from bg_charm_service.sdk.fields import CharmField
from bg_charm_service.sdk.links import LinkedCell, LinkedItems, Run
from bg_charm_service.sdk.run_items import RunItems, normalize_items
from bg_charm_service.sdk.snapshot import LinkInfo, MemorySnapshot, Snapshot
from bg_charm_service.workers.runtime.class_loader import (
    author_traceback,
    load_class,
    missing_module_hint,
    show_source,
)

#: Asked of its enum, a member takes many times as long (Python 3.11), and these are for each run.
_VALUE: Final = FieldKind.VALUE
_SECRET: Final = FieldKind.SECRET

__all__ = [
    "Changes",
    "LinkInfo",
    "MemorySnapshot",
    "Snapshot",
    "author_traceback",
    "bind",
    "changes",
    "check_event",
    "describe",
    "handler",
    "load_class",
    "missing_module_hint",
    "names_used",
    "validate_field",
]


@dataclass(frozen=True, slots=True)
class Changes:
    """What a run leaves behind; fields that link stand for the values they link to."""

    reads: tuple[str, ...] = ()
    writes: dict[str, bytes] = field(default_factory=dict)
    sends: tuple[Send, ...] = ()
    reminds: tuple[Remind, ...] = ()
    items: tuple[TouchedItems, ...] = ()
    notices: tuple[str, ...] = ()


def describe(cls: type[Charm]) -> CharmSchema:
    """Say what a class declares."""
    declared = class_schema(cls)
    updater = next((name for name in UPDATER_STREAMS if name in declared.streams), None)
    return CharmSchema(
        class_name=cls.__name__,
        name=cls.__name__,
        doc=cleandoc(cls.__dict__.get("__doc__") or ""),
        fields=tuple(
            FieldSchema(
                one.name,
                one.kind,
                one.default,
                one.needs.provider if one.needs else "",
                one.needs.scopes if one.needs else (),
            )
            for one in declared.fields.values()
        ),
        streams=tuple(declared.streams),
        asks=declared.requested_limits,
        expects=read_expectations(cls, declared.fields),
        events=read_event_types(cls, declared.streams),
        hooks=read_hooks(cls, declared.streams, declared.fields, updater),
        columns=_columns(declared.fields.values()),
    )


def _columns(fields: Iterable[CharmField]) -> dict[str, tuple[tuple[str, str], ...]]:
    collections = [one for one in fields if one.kind is FieldKind.ITEMS]
    if not collections:
        return {}
    # Loaded for charms that have collections, when they are described.
    from bg_charm_service.sdk.item_columns import columns_of

    found = {one.name: columns_of(one.item_type) for one in collections}
    return {name: columns for name, columns in found.items() if columns}


def names_used(cls: type[Charm]) -> tuple[dict[str, Said], tuple[str, ...], tuple[str, ...]]:
    """Give the words that a class says, the names of Charm that it hides, the streams withheld."""
    declared = class_schema(cls)
    said = said_by(cls, Charm, declared.fields)
    return said, hidden_names(cls, Charm), tuple(declared.withheld)


def validate_field(cls: type[Charm], name: str, value: bytes) -> bytes:
    """Give the JSON of a field's value in normal form; raises StateError when it does not fit."""
    field = _field(cls, name)
    if field.kind is FieldKind.ITEMS:
        return normalize_items(field, value)
    return field.normalize(value)


def check_event(cls: type[Charm], stream: str, event: bytes) -> str:
    """Say what of an event does not fit its handler's type; empty where all does."""
    declared = class_schema(cls)
    return event_problem(cls, {**declared.withheld, **declared.streams}, stream, event)


def bind(
    cls: type[Charm], snapshot: Snapshot, context: CharmContext | Callable[[], CharmContext]
) -> Charm:
    """Make a charm that works on a snapshot; nothing is loaded, or made, before it is touched."""
    class_schema(cls)
    # Another charm's file of the same name may have been shown in between.
    show_source(cls)
    charm = cls.__new__(cls)
    attach(charm, Run(snapshot), context)
    return charm


def handler(charm: Charm, stream: str) -> Callable[[Any], Any]:
    """Give the handler of a stream, by its outside name; raises NotFound.

    What it returns must be awaited when it is awaitable.
    """
    schema = class_schema(type(charm))
    # The service sends to no others than were streams when the charm was added.
    name = schema.streams.get(stream) or schema.withheld.get(stream)
    if name is None:
        there = ", ".join(schema.streams) or "none"
        raise NotFound(f"{type(charm).__name__} has no stream {stream}; it has {there}")
    method: Callable[[Any], Any] = getattr(charm, name)
    return method


def changes(charm: Charm) -> Changes:
    """Compare what a run touched with what it started from.

    Raises StateError for what cannot be stored: it fits no JSON, or not its field's type.
    """
    run = run_of(charm)
    fields = class_schema(type(charm)).fields
    writes: dict[str, bytes] = {}
    items: list[TouchedItems] = []
    for name, value in list(charm.__dict__.items()):
        one = fields.get(name)
        if one is None:
            continue
        written = touched = None
        if one.kind is _VALUE or one.kind is _SECRET:
            written = run.changed(one, value)
        elif isinstance(value, LinkedCell):
            written = value.changed()
        elif isinstance(value, RunItems | LinkedItems):
            touched = value.touched()
        if written is not None:
            writes[name] = written
        if touched is not None:
            items.append(touched)
    return Changes(
        tuple(run.loaded),
        writes,
        tuple(run.sends),
        tuple(run.reminds),
        tuple(items),
        tuple(run.notices),
    )


def _field(cls: type[Charm], name: str) -> CharmField:
    fields = class_schema(cls).fields
    if name not in fields:
        raise NotFound(f"{cls.__name__} has no field {name}; it has {', '.join(fields) or 'none'}")
    return fields[name]
