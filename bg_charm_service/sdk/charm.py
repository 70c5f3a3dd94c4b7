"""The class that every charm is a subclass of.

Owns what authors may do with its attributes: read and assign fields, keep scratch names.
Loading and comparing values is the business of `links`; storing them is not done here at all.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from difflib import get_close_matches
from inspect import getattr_static, isfunction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, dataclass_transform

from pydantic import Field

from bg_charm_service.domain.model import FieldKind
from bg_charm_service.sdk.cells import Cell, Stream
from bg_charm_service.sdk.class_schema import ClassSchema, read_class_schema
from bg_charm_service.sdk.fields import CharmField
from bg_charm_service.sdk.links import Run
from bg_charm_service.sdk.snapshot import MemorySnapshot

# Keys in an instance's own dict that no attribute of an author's can collide with.
_RUN: Final = "$run"
_CONTEXT: Final = "$context"
_CLASS_SCHEMA: Final = "$class_schema"


def _any_scratch() -> Path:
    return Path(tempfile.gettempdir())


@dataclass(frozen=True, slots=True, kw_only=True)
class CharmContext:
    """Which run this is: `self.context` in a handler.

    `run_id` names the attempt, and is the same when the service has to run it again after a crash:
    use it as the idempotency key of whatever you do outside. `job_id` is the same for all attempts.
    `last_success` is when this charm last succeeded, in seconds since the epoch; None for never.
    `scratch` is a directory to write files to, which is emptied after the run; nothing else can be
    written to. A charm made by hand has the system's directory for temporary files there.
    """

    run_id: str = "1.1"
    job_id: int = 1
    attempt: int = 1
    space: str = ""
    charm_id: str = ""
    last_success: float | None = None
    scratch: Path = field(default_factory=_any_scratch)


@dataclass_transform(kw_only_default=True, field_specifiers=(Field,))
class Charm:
    """A small program that the service runs again and again, and whose fields it keeps.

        from typing import Any
        from bg_charm_service import Charm

        class Counter(Charm):
            \"\"\"Counts its polls.\"\"\"

            counter: int = 0

            async def bg_updater(self, event: dict[str, Any]) -> None:
                self.counter += event.get("delta", 1)

    **Fields** are the annotated names of the class. Their values are stored between runs, as JSON,
    and checked against their types: plain types, lists, dicts, datetimes, dataclasses, pydantic
    models, `X | None`. A field without a default must be given when the charm is added. Changing a
    value in place, `self.items.append(...)`, counts as writing it. What a run writes is stored when
    it succeeds, all of it or nothing.

    **Streams** are the public methods that take `(self, event)`, sync or async. The service polls
    `bg_updater` with `{}`; other streams run when somebody sends to them. Outside, names are in
    camelCase: `bg_updater` is the stream `bgUpdater`.

    **Helpers** are methods whose names begin with `_`. Attributes whose names begin with `_` are
    scratch: they last for one run. Assigning any other undeclared name is an error, so that a typo
    cannot lose data. `ClassVar` annotations and plain class attributes are constants.

    **Asking for less** than the operator allows: `limits = {"timeout": 5, "memory": "64M"}` and
    `network = (443,)`, or `network = False` for a charm that connects to nothing.

    A charm has no `__init__` of its own. To test one, make it by hand, run a handler, and look:

        charm = Counter(counter=2)
        await charm.bg_updater({})
        assert charm.counter == 3
    """

    def __init__(self, **values: Any) -> None:
        fields = class_schema(type(self)).fields
        stored: dict[str, bytes] = {}
        links: dict[str, Any] = {}
        for name, value in values.items():
            field = fields.get(name)
            if field is None:
                raise TypeError(_no_such_field(type(self), name))
            if field.kind in (FieldKind.CELL, FieldKind.STREAM):
                if not isinstance(value, Cell | Stream | None):
                    raise TypeError(f"{name} is a link: give it a Cell or a Stream")
                links[name] = value
            else:
                stored[name] = field.dump(value)
                field.check(value, stored[name])
        attach(self, Run(MemorySnapshot(stored)), CharmContext())
        self.__dict__.update(links)

    @property
    def context(self) -> CharmContext:
        """Which run this is."""
        context: CharmContext = self.__dict__[_CONTEXT]
        return context

    # Hidden from type checkers, which would take it for leave to assign any name.
    if not TYPE_CHECKING:

        def __setattr__(self, name, value):
            field = class_schema(type(self)).fields.get(name)
            if field is not None:
                if field.kind is FieldKind.CELL:
                    raise AttributeError(f"{name} is a link: write with self.{name}.set(...)")
                if field.kind is FieldKind.STREAM:
                    raise AttributeError(f"{name} is a link: send with self.{name}.send(...)")
                self.__dict__[name] = value
            elif name.startswith("_"):
                object.__setattr__(self, name, value)
            else:
                raise AttributeError(_no_such_field(type(self), name))

        def __delattr__(self, name):
            if not name.startswith("_"):
                raise AttributeError(f"{name} cannot be deleted: assign an empty value instead")
            object.__delattr__(self, name)


def class_schema(cls: type[Charm]) -> ClassSchema:
    """Give what a class declares; raises DeclarationError when that cannot work."""
    known: ClassSchema | None = cls.__dict__.get(_CLASS_SCHEMA)
    if known is None:
        known = read_class_schema(cls, Charm, _open)
        type.__setattr__(cls, _CLASS_SCHEMA, known)
    return known


def attach(charm: Charm, run: Run, context: CharmContext) -> None:
    """Make an instance work on a run."""
    charm.__dict__[_RUN] = run
    charm.__dict__[_CONTEXT] = context


def run_of(charm: Charm) -> Run:
    """Give the run that an instance works on."""
    run: Run = charm.__dict__[_RUN]
    return run


def _open(charm: Charm, field: CharmField) -> object:
    value = run_of(charm).open(field)
    # Two threads may come here at once: both must go on with the same object.
    return charm.__dict__.setdefault(field.name, value)


def _no_such_field(cls: type[Charm], name: str) -> str:
    constant = getattr_static(cls, name, None)
    if constant is not None and not isfunction(constant) and not hasattr(Charm, name):
        return (
            f"{name} is a constant of {cls.__name__}, not a field: "
            f"declare it as `{name}: {type(constant).__name__} = ...` to have it stored"
        )
    close = get_close_matches(name, class_schema(cls).fields, n=1)
    hint = f"did you mean {close[0]!r}?" if close else "declare it with a type in the class"
    return (
        f"{cls.__name__} has no field {name!r}: {hint} (names that begin with _ last for one run)"
    )
