"""Links and secrets, as charm and integration authors see them: Cell, Stream, Secret.

The classes here stand on their own, holding their value in memory, which is what tests of a
charm use and what integrations are given. The ones that a run works through are in `links`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass, replace
from typing import Annotated, Any, Final, Generic, TypeVar

from pydantic import BaseModel

from bg_charm_service.domain.errors import StateError

T = TypeVar("T")


class _SecretMarker:
    """Marks an annotation: the field is encrypted at rest and never shown."""

    def __repr__(self) -> str:
        return "SECRET"


#: What `Secret[T]` adds to an annotation.
SECRET: Final = _SecretMarker()

#: A field that is encrypted at rest and left out of every listing: `token: Secret[str] = ""`.
#: In the charm's own code it is a plain `T`.
Secret = Annotated[T, SECRET]


class Cell(Generic[T]):
    """A value that lives somewhere else, with the right to read it and maybe to write it.

    As the type of a charm's field it is a link that a person sets with `--link`:

        class Mail(Charm):
            auth: Cell[Auth]                     # must be linked
            archive: Cell[list[str]] | None = None  # may be linked

            async def bg_updater(self, event: dict[str, Any]) -> None:
                token = self.auth.get().token
                self.auth.update({"token": renewed(token)})

    What is written through it is stored together with everything else the run writes, or not at
    all. In a test of your charm, `Cell(value)` is a cell of its own: `Mail(auth=Cell(Auth(...)))`.
    """

    __slots__ = ("_value", "_writable")

    def __init__(self, value: T, *, writable: bool = True) -> None:
        self._value = value
        self._writable = writable

    def get(self) -> T:
        """Give the value; changing it in place counts as writing it."""
        return self._value

    def set(self, value: T) -> None:
        """Replace the value; raises StateError when this cell may only be read."""
        if not self._writable:
            raise StateError("this cell may only be read")
        self._value = value

    def update(self, changes: Mapping[str, Any]) -> None:
        """Replace some members of a dict, model or dataclass and leave the others as they are."""
        self.set(_with_members(self.get(), changes))

    def key(self, name: str | int) -> Cell[Any]:
        """Give the member `name` as a cell: `cell.key("settings").key("limit").get()`.

        A member that a dict or list does not have reads as None.
        """
        return _Member(self, name)


class _Member(Cell[Any]):
    """One member of the value of another cell."""

    __slots__ = ("_name", "_parent")

    def __init__(self, parent: Cell[Any], name: str | int) -> None:
        self._parent = parent
        self._name = name

    def get(self) -> Any:
        whole = self._parent.get()
        if whole is None:
            return None
        if isinstance(whole, Mapping):
            return whole.get(self._name)
        if isinstance(whole, list | tuple):
            index = _index(self._name, len(whole))
            return None if index is None else whole[index]
        if (isinstance(whole, BaseModel) or is_dataclass(whole)) and isinstance(self._name, str):
            return getattr(whole, self._name)
        return None

    def set(self, value: Any) -> None:
        whole = self._parent.get()
        if isinstance(whole, list | tuple):
            index = _index(self._name, len(whole))
            if index is None:
                raise StateError(f"there is no item {self._name!r} in a list of {len(whole)}")
            members = list(whole)
            members[index] = value
            self._parent.set(members)
        else:
            self._parent.set(_with_members(whole, {str(self._name): value}))


class Stream:
    """A stream of another charm, to send events to.

    As the type of a field it is a link that a person sets with `--link`. What a run sends goes
    out when the run has succeeded, exactly once and in order. In a test of your charm, `Stream()`
    keeps what was sent in `sent`.
    """

    __slots__ = ("sent",)

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, event: Any) -> None:
        """Send an event: anything that is JSON, usually a dict."""
        self.sent.append(event)


def _index(name: str | int, length: int) -> int | None:
    return name if isinstance(name, int) and -length <= name < length else None


def _with_members(whole: Any, changes: Mapping[str, Any]) -> Any:
    """Copy a value with some of its members replaced."""
    if whole is None:
        return dict(changes)
    if isinstance(whole, Mapping):
        return {**whole, **changes}
    names = set(type(whole).model_fields) if isinstance(whole, BaseModel) else None
    if names is None and is_dataclass(whole):
        names = set(vars(type(whole)).get("__dataclass_fields__", ()))
    if names is None:
        raise StateError(f"a {type(whole).__name__} has no members to write")
    if unknown := sorted(set(changes) - names):
        raise StateError(f"{type(whole).__name__} has no member {unknown[0]!r}")
    if isinstance(whole, BaseModel):
        return whole.model_copy(update=dict(changes))
    return replace(whole, **changes)
