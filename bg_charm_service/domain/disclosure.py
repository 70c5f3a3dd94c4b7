"""Which texts of a view are shown to whoever has no credential: those that the view declares.

A text is withheld unless its field says `OpenText`, so that one which a charm or a library may have
written (an error, a status, a reason) needs no thought to stay hidden. Pure. The views say what
they are made of; the API applies this to all that it answers without a credential.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

Given = TypeVar("Given")


@dataclass(frozen=True, slots=True)
class Instead:
    """What stands where a text is withheld: another field of its view, or words; else nothing.

    A text that is one of `unless` is shown: the service's own words.
    """

    field: str = ""
    words: str = ""
    unless: Collection[str] = frozenset()


#: Declares a member that everybody may see, whatever is in it.
OPEN: Final = object()

#: A text of the service's own, or one that operators and authors gave as a name.
OpenText = Annotated[str, OPEN]

#: How the error of a run is shown, in views that have its cause beside it.
CauseInstead = Annotated[str, Instead(field="cause")]

#: Makes of a value and the view that it is a field of what is shown of it.
_Cover = Callable[[Any, Any], Any]


def for_anybody(value: Given) -> Given:
    """Give a view as whoever has no credential may see it; views inside of it too.

    What has no declared type (a value in a list or dict that is no view itself, an object of
    another kind) is given as it is: it is not from a view.
    """
    covered: Any = value
    kind: Any = type(value)
    if _is_view(kind):
        fields = _covers(kind)
        changed = {name: cover(getattr(value, name), value) for name, cover in fields.items()}
        covered = _replaced(value, changed) if changed else value
    elif kind in (list, tuple):
        covered = kind(map(for_anybody, covered))
    elif kind is dict:
        covered = {name: for_anybody(one) for name, one in covered.items()}
    return covered  # type: ignore[no-any-return]


def withheld_fields(view: type) -> frozenset[str]:
    """Name the fields of a view of which something is withheld, in views inside of it too."""
    return frozenset(_covers(view))


def _is_view(kind: type) -> bool:
    return dataclasses.is_dataclass(kind) or issubclass(kind, msgspec.Struct)


def _replaced(view: Any, changed: dict[str, Any]) -> Any:
    if isinstance(view, msgspec.Struct):
        return msgspec.structs.replace(view, **changed)
    return dataclasses.replace(view, **changed)


def _hints(view: type) -> dict[str, Any]:
    known = (
        {field.name for field in dataclasses.fields(view)}
        if dataclasses.is_dataclass(view)
        else set(view.__struct_fields__)  # type: ignore[attr-defined]
    )
    hints = get_type_hints(view, include_extras=True)
    return {name: hint for name, hint in hints.items() if name in known}


@cache
def _covers(view: Any) -> dict[str, _Cover]:
    """What has to be done to the fields of a view, by name; nothing to those that are shown."""
    found = {name: _cover(hint) for name, hint in _hints(view).items()}
    return {name: cover for name, cover in found.items() if cover is not None}


def _cover(hint: Any) -> _Cover | None:
    """Give what covers a value of a type; None where it is shown as it is."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _cover_annotated(arguments)
    if origin in (Union, types.UnionType):
        kinds = [one for one in arguments if one is not type(None)]
        covers = [cover for one in kinds if (cover := _cover(one)) is not None]
        if not covers:
            return None
        # Of several kinds the one value could be any: then nothing of it is shown.
        only = covers[0] if len(kinds) == 1 else _nothing
        return lambda value, view: None if value is None else only(value, view)
    if origin in (tuple, list, frozenset, set):
        return _cover_each(arguments)
    if isinstance(hint, type):
        kind: Any = hint
        if issubclass(hint, Enum) or hint in (bool, int, float, type(None)):
            return None
        if _is_view(kind):
            return (lambda value, _: for_anybody(value)) if _covers(kind) else None
        if hint is str:
            return _withheld(Instead())
    return _nothing


def _cover_annotated(arguments: tuple[Any, ...]) -> _Cover | None:
    if OPEN in arguments:
        return None
    instead = next((one for one in arguments if isinstance(one, Instead)), None)
    return _withheld(instead) if instead is not None else _cover(arguments[0])


def _cover_each(arguments: tuple[Any, ...]) -> _Cover | None:
    kinds = [one for one in arguments if one is not Ellipsis]
    if len(kinds) != 1:
        return _nothing if any(_cover(one) is not None for one in kinds) else None
    inner = _cover(kinds[0])
    if inner is None:
        return None
    return lambda values, view: type(values)(inner(one, view) for one in values)


def _withheld(instead: Instead) -> _Cover:
    def cover(text: str, view: Any) -> str:
        if not text or text in instead.unless:
            return text
        return instead.words or (str(getattr(view, instead.field) or "") if instead.field else "")

    return cover


def _nothing(value: Any, _: Any) -> Any:
    """Withhold a value of any kind, in the form in which there is nothing of it."""
    if isinstance(value, Mapping | tuple | list | set | frozenset | str | bytes):
        return type(value)()
    return None
